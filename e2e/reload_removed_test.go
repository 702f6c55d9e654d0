package e2e

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
)

// A reload that removes a route gives what is under way on it the time it says: then a WebSocket is
// closed with code 1001, and a response is cut off. On other routes both go on.
func TestReloadRemoves(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		origin := webOrigin(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Header.Get("Upgrade") != "" {
				echoMessages(w, q)
				return
			}
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
			<-q.Context().Done()
		}))
		text := "listeners: [{address: LISTEN}]\nupstreams: {app: {endpoints: [{address: \"" + origin + "\"}]}}\n" +
			"routes: [{path: \"/*\", upstream: app}, {path: \"/gone/*\", upstream: app}]\n"
		z := start(t, backend, text)
		open := func(path string) *gorilla.Conn {
			ws, _, err := gorilla.DefaultDialer.Dial("ws://"+z.addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ws.Close() })
			_ = ws.SetReadDeadline(time.Now().Add(patience))
			return ws
		}
		gone, stays := open("/gone/ws"), open("/ws")
		resp, err := once.Get(z.url("/gone/body"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text = strings.Replace(text, "{path: \"/gone/*\", upstream: app}", "{path: \"/gone/*\", respond: {status: 410}}", 1) + "reload: {grace: 50ms}\n"
		if !z.reload(t, strings.ReplaceAll(text, "LISTEN", z.addr)) {
			t.Fatal(tail(z.out.String()))
		}
		var closed *gorilla.CloseError
		if _, _, err := gone.ReadMessage(); !errors.As(err, &closed) || closed.Code != gorilla.CloseGoingAway {
			t.Errorf("the WebSocket ends with %v, want code 1001", err)
		}
		if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "begun" {
			t.Errorf("the response ends with %q, %v", b, err)
		}
		if err := stays.WriteMessage(gorilla.TextMessage, []byte("on")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := stays.ReadMessage(); err != nil || string(b) != "on" {
			t.Errorf("the other WebSocket: %q, %v", b, err)
		}
	})
}
