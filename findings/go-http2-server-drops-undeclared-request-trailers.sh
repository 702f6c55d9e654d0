#!/usr/bin/env bash
# Go's HTTP/2 server drops request trailers that no Trailer field announced; its HTTP/1.1 server keeps them.
#
# Seen with: net/http of Go 1.26.8, HTTP/1.1 and cleartext HTTP/2.
# http.Request.Trailer is documented for both versions alike: at first the keys that the client declared, after the end of Body
# the values that it sent. What becomes of others is not said, so one expects the same for both.
# RFC 9110 section 6.6.2 only asks a sender to announce trailers (SHOULD), RFC 9113 section 8.1 nothing of the kind. One
# handler, one request with the trailer X-Sum that was not announced: over HTTP/1.1 the handler finds it in r.Trailer, over
# HTTP/2 the map has only what was announced, and nobody is told.
# Why a proxy cares: it passes on a chunked request with its trailers. If it speaks HTTP/2 to a Go origin, or if it drops or
# shortens the Trailer field on the way, checksums and signatures behind the content vanish there that the same origin
# gets over HTTP/1.1.
#
# Needs Go and nothing else. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module trailers

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
)

// content is "a"; at its end the trailers get their values, one of them under a name that was not announced.
type content struct {
	r    *http.Request
	sent bool
}

func (c *content) Read(p []byte) (int, error) {
	if !c.sent {
		c.sent = true
		return copy(p, "a"), nil
	}
	c.r.Trailer.Set("X-Announced", "1")
	c.r.Trailer.Set("X-Sum", "2")
	return 0, io.EOF
}

func main() {
	seen := make(chan http.Header, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen <- r.Trailer
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	failed := false
	for _, v2 := range []bool{false, true} {
		var p http.Protocols
		p.SetHTTP1(!v2)
		p.SetUnencryptedHTTP2(v2)
		c := &content{}
		r, err := http.NewRequest("POST", s.URL, c)
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		c.r, r.Trailer = r, http.Header{"X-Announced": nil}
		answer, err := (&http.Transport{Protocols: &p}).RoundTrip(r)
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		t := <-seen
		fmt.Printf("%s: the handler sees %v\n", answer.Proto, t)
		failed = failed || t.Get("X-Announced") != "1" || (t.Get("X-Sum") == "2") == v2
	}
	if failed {
		fmt.Println("expected X-Sum over HTTP/1.1 alone: the behaviour has changed")
		os.Exit(1)
	}
}
GO
go version
go run .
