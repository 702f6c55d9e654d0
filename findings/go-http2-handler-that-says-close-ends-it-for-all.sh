#!/usr/bin/env bash
# A Go handler that sets "Connection: close" ends the whole HTTP/2 connection; "keep-alive, close" does nothing there.
#
# Seen with: net/http of Go 1.26.8, cleartext HTTP/2.
# RFC 9113 section 8.2.2: fields about the connection have no use in HTTP/2 and are not sent; RFC 9110 section 7.6.1 makes the
# Connection field a list. The server does leave the field out, but for the exact value "close" it also sends GOAWAY: streams that are
# under way end in peace, and every later request needs a new connection. A list that has close in it, which ends a
# connection of HTTP/1.1, has no effect.
# Why a proxy cares: over HTTP/1.1 the field costs the one client a connection. Over HTTP/2 the proxy carries all its clients' requests
# on few connections, and one route of an origin that says close makes it open one after another, for everybody.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module goaway

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func main() {
	release := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("X-Answer"); v != "" {
			w.Header().Set("Connection", v)
		}
		if r.URL.Path == "/slow" {
			w.(http.Flusher).Flush()
			<-release
		}
		io.WriteString(w, r.RemoteAddr) // tells connections apart
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t := &http.Transport{Protocols: s.Config.Protocols}
	get := func(path, connection string) *http.Response {
		r, err := http.NewRequest("GET", s.URL+path, nil)
		check(err)
		r.Header.Set("X-Answer", connection)
		answer, err := t.RoundTrip(r)
		check(err)
		return answer
	}
	content := func(r *http.Response) string {
		b, err := io.ReadAll(r.Body)
		check(err)
		return string(b)
	}
	failed := false
	for _, row := range []struct {
		connection string
		ends       bool
	}{{"", false}, {"keep-alive, close", false}, {"close", true}} {
		slow := get("/slow", "")
		said := get("/", row.connection)
		first := content(said)
		time.Sleep(200 * time.Millisecond) // for the GOAWAY
		next := content(get("/", ""))
		release <- struct{}{}
		whole := content(slow)
		fmt.Printf("Connection: %q (sent: %v): the next request on the same connection: %v; the one under way ended well: %v\n",
			row.connection, said.Header["Connection"] != nil, next == first, whole == first)
		failed = failed || (next != first) != row.ends || whole != first || said.Header["Connection"] != nil
	}
	if failed {
		fmt.Println(`expected a new connection after "close" alone: the behaviour has changed`)
		os.Exit(1)
	}
}
GO
go version
go run .
