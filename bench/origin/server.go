package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/cloudwego/netpoll"
)

const (
	maxSize   = 1 << 30
	peekBytes = 64 << 10 // of the input, looked at together
	copyBytes = 16 << 10 // answers up to here are copied into a batch, larger ones are sent from where they are
)

// server answers on one listener.
type server struct {
	loop netpoll.EventLoop
	ln   net.Listener

	ordinary []byte // the answer of most paths, and how much of it is the head
	headLen  int
	answer2  []byte // the same as frames of HTTP/2
	headLen2 int
}

func newServer(ln net.Listener, size int) (*server, error) {
	s := &server{ln: ln}
	s.ordinary = appendHead(nil, 200, int64(size), "")
	s.headLen = len(s.ordinary)
	for range size {
		s.ordinary = append(s.ordinary, 'x')
	}
	s.answer2, s.headLen2 = appendAnswer(nil, s.ordinary[s.headLen:])
	var err error
	s.loop, err = netpoll.NewEventLoop(s.onRequest)
	return s, err
}

func (s *server) serve() error { return s.loop.Serve(s.ln) }

func (s *server) stop(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = s.loop.Shutdown(ctx) // late connections end with the process
}

// onRequest is called when there is something to read, by one goroutine at a time for each connection.
func (s *server) onRequest(_ context.Context, c netpoll.Connection) error {
	if err := s.answerAll(c.Reader(), c.Writer()); err != nil {
		return c.Close()
	}
	return nil
}

// answerAll answers what has been received: whole requests for the ordinary answer in one write, others one by one.
// An error means that the connection is over.
func (s *server) answerAll(in netpoll.Reader, out netpoll.Writer) error {
	var q request
	look := peekBytes
	for {
		b, err := in.Peek(min(in.Len(), look))
		if err != nil {
			return err
		}
		if bytes.HasPrefix(b, []byte(preface[:prefaceLine])) {
			return s.serveHTTP2(in, out)
		}
		used, n, err := s.answerOrdinary(b, &q, out)
		if err != nil {
			if !errors.Is(err, errHead) {
				return err
			}
			return errors.Join(s.refuse(out), err)
		}
		if err := in.Skip(used); err != nil {
			return err
		}
		switch {
		case n > 0:
			if err := s.answerOne(&q, n, in, out); err != nil {
				return err
			}
		case used == 0 && in.Len() > look: // a head longer than that
			look *= 2
			continue
		}
		look = peekBytes
		if n > 0 && in.Len() > 0 {
			continue // more to answer in the same write, perhaps
		}
		if err := errors.Join(in.Release(), out.Flush()); err != nil || in.Len() == 0 {
			return err
		}
		if used == 0 && n == 0 { // an unfinished head: wait for more of it
			if _, err := in.Peek(len(b) + 1); err != nil {
				return err
			}
		}
	}
}

// answerOrdinary answers the requests at the start of b up to the first one that is unfinished or needs more than the
// ordinary answer. used is how many bytes they had; n is the length of the other one's head, which is in q.
func (s *server) answerOrdinary(b []byte, q *request, out netpoll.Writer) (used, n int, err error) {
	count, isHead := 0, false // answers due, all of a kind
	for used < len(b) {
		n, err = parseRequest(b[used:], q)
		if n == 0 || err != nil || !q.plain() {
			break
		}
		if h := q.method == "HEAD"; h != isHead {
			if err := s.batch(out, count, isHead); err != nil {
				return used, 0, err
			}
			count, isHead = 0, h
		}
		count++
		used += n
		n = 0
	}
	if batchErr := s.batch(out, count, isHead); batchErr != nil {
		return used, 0, batchErr
	}
	return used, n, err
}

// plain tells whether the request is answered by the ordinary answer and nothing else has to be done about it.
func (q *request) plain() bool {
	return q.path == "" && q.length == 0 && !q.chunked && !q.closes && !q.oldVersion && q.key == ""
}

// batch appends the ordinary answer n times.
func (s *server) batch(out netpoll.Writer, n int, isHead bool) error {
	answer := s.ordinary
	if isHead {
		answer = answer[:s.headLen]
	}
	if n == 0 {
		return nil
	}
	if len(answer) > copyBytes {
		for range n {
			if _, err := out.WriteBinary(answer); err != nil {
				return err
			}
		}
		return nil
	}
	p, err := out.Malloc(n * len(answer))
	if err != nil {
		return err
	}
	for len(p) > 0 {
		p = p[copy(p, answer):]
	}
	return nil
}

func (s *server) refuse(out netpoll.Writer) error {
	if _, err := out.WriteString("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	return out.Flush()
}

// appendHead appends a response head; length below 0 leaves out how long the body is. fields are complete lines.
func appendHead(dst []byte, status int, length int64, fields string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, " "...)
	dst = append(dst, reasons[status]...)
	dst = append(dst, "\r\nServer: origin\r\nContent-Type: text/plain\r\n"...)
	if length >= 0 {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, length, 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, fields...)
	return append(dst, "\r\n"...)
}

var reasons = map[int]string{100: "Continue", 103: "Early Hints", 200: "OK", 204: "No Content", 304: "Not Modified",
	404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}
