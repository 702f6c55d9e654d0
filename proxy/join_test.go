package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
)

// longFields are lines of 1300 bytes.
func longFields(lines int) string {
	return strings.Repeat("X-Long: "+strings.Repeat("y", 1290)+"\r\n", lines)
}

// trickle sends the last bytes of text one by one, the rest before.
func trickle(c net.Conn, text string, last int) {
	c.(*net.TCPConn).SetNoDelay(true)
	io.WriteString(c, text[:len(text)-last])
	for i := len(text) - last; i < len(text); i++ {
		time.Sleep(20 * time.Microsecond)
		io.WriteString(c, text[i:i+1])
	}
}

// A head or trailer section that spans blocks and trickles in is joined once
// for each of its lines at the most, not once for each piece.
func TestTrickledHeadIsJoinedForItsLines(t *testing.T) {
	const pieces, lines = 600, 41
	get := "GET / HTTP/1.1\r\nHost: h\r\n"
	// The trailers begin in the middle of a block; of a request they may fill one.
	data := "1f40\r\n" + strings.Repeat("x", 8000) + "\r\n0\r\n"
	post := "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + data
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data
	cases := []struct{ name, request, response string }{
		{"request head", get + longFields(lines-1) + "\r\n", ""},
		{"request trailers", post + longFields(11) + "\r\n", ""},
		{"response head", "", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + longFields(lines-1) + "\r\n"},
		{"response trailers", "", chunked + longFields(lines-1) + "\r\n"},
	}
	besides(t, func(t *testing.T, io_ loop.IO) {
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				origin := startOrigin(t, func(_ int, c net.Conn) {
					if tc.request != "" {
						readN(c, len(tc.request)-200)
						io.WriteString(c, ok2)
					} else {
						readHead(c)
						trickle(c, tc.response, pieces)
					}
					readN(c, 1<<20)
				})
				r := start(t, io_, 1, yaml(origin, ""), nil)
				c := r.dial()
				if tc.request != "" {
					trickle(c, tc.request, pieces)
				} else {
					io.WriteString(c, simpleGet)
				}
				if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 200") {
					t.Fatalf("got %.80q, %v", head, err)
				}
				for strings.HasSuffix(tc.name, "trailers") && tc.response != "" && r.reports()[0].Exchanges > 0 {
					time.Sleep(time.Millisecond)
				}
				c.Close()
				rep := r.settled()[0]
				if n := rep.Buf.Joins; n > lines || rep.Metrics.ResponsesOwn != 0 {
					t.Errorf("%d joins of %d lines in %d pieces; %d answers of the proxy's own", n, lines, pieces, rep.Metrics.ResponsesOwn)
				}
			})
		}
	})
}
