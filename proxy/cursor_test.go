package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
)

// slowly writes pieces with a pause before each but the first.
func slowly(c net.Conn, pieces ...string) {
	c.(*net.TCPConn).SetNoDelay(true)
	for i, p := range pieces {
		if i > 0 {
			time.Sleep(quiet)
		}
		io.WriteString(c, p)
	}
}

// How far a head was read is known as a whole: a line may begin anywhere.
func TestHeadStopsInALineThatBeginsAnywhere(t *testing.T) {
	const lineBytes = 64
	first := "GET / HTTP/1.1\r\nHost: h\r\n"
	first += "A: " + strings.Repeat("x", lineBytes-len(first)-5) + "\r\n"
	status := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
	status += "A: " + strings.Repeat("x", lineBytes-len(status)-5) + "\r\n"
	field := "B: " + strings.Repeat("x", lineBytes-5) + "\r\n"
	// More than a request line may have, less than a block, and the last line begins at a multiple of 256.
	lines := 10 << 10 / lineBytes
	fields := strings.Repeat(field, lines-1)
	besides(t, func(t *testing.T, io_ loop.IO) {
		origin := startOrigin(t, func(_ int, c net.Conn) {
			for {
				if _, err := readHead(c); err != nil {
					return
				}
				slowly(c, status+fields+"C", ": ", "c\r\n\r\nok")
			}
		})
		r := start(t, io_, 1, yaml(origin, "limits: {headers: 1000}"), nil)
		c := r.dial()
		slowly(c, first+fields+"C", ": ", "c\r\n\r\n")
		if head, err := readHead(c); !strings.HasPrefix(head, "HTTP/1.1 200") || err != nil {
			t.Errorf("got %.100q, %v", head, err)
		}
	})
}

// Trailer sections of both directions may be incomplete at the same time, and
// how far one was read says nothing about the other.
func TestTrailersOfBothDirectionsInPieces(t *testing.T) {
	const (
		post     = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
		response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n"
	)
	besides(t, func(t *testing.T, io_ loop.IO) {
		begun := make(chan bool, 1)
		origin := startOrigin(t, func(_ int, c net.Conn) {
			readHead(c)
			io.WriteString(c, response+"Long-One: "+strings.Repeat("x", 100))
			begun <- true
			readN(c, len("1\r\na\r\n0\r\nA: b\r\n\r\n"))
			io.WriteString(c, "\r\n\r\n")
			readN(c, 1)
		})
		r := start(t, io_, 1, yaml(origin, ""), nil)
		c := r.dial()
		slowly(c, post+"A: ")
		<-begun
		slowly(c, "", "b\r\n\r\n") // when the origin's part has come
		got, _ := hear(c, func(got string) bool { return strings.HasSuffix(got, "x\r\n\r\n") })
		if !strings.HasSuffix(got, "\r\n0\r\nLong-One: "+strings.Repeat("x", 100)+"\r\n\r\n") {
			t.Errorf("got %q", got)
		}
	})
}
