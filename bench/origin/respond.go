package main

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/cloudwego/netpoll"
)

// pattern is enough of the sequence i modulo 251 for pieceBytes from any place in it.
var pattern = func() []byte {
	b := make([]byte, pieceBytes+251)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}()

const (
	pieceBytes = 256 << 10 // of a long body, in one write
	chunkBytes = 50_000
)

var errLast = errors.New("that was the last request")

// answer is one response on its way.
type answer struct {
	s   *server
	q   *request
	out netpoll.Writer
	in  body
}

// answerOne answers the request q, whose head is the next n bytes, with what its path asks for.
func (s *server) answerOne(q *request, n int, in netpoll.Reader, out netpoll.Writer) error {
	var head []byte
	if q.is("headers") {
		head = bytes.Clone(q.head)
	}
	q.head = nil
	if err := in.Skip(n); err != nil {
		return err
	}
	if q.key != "" {
		return echoMessages(q.key, in, out)
	}
	a := answer{s: s, q: q, out: out, in: body{in: in, left: q.length, chunked: q.chunked}}
	if err := a.run(head); err != nil {
		return err
	}
	if q.closes {
		if err := out.Flush(); err != nil {
			return err
		}
		return errLast
	}
	return nil
}

func (a *answer) run(head []byte) error {
	q := a.q
	if q.is("early") {
		if err := errors.Join(a.plain(200), a.out.Flush()); err != nil {
			return err
		}
		_, err := a.in.discard()
		return err
	}
	if q.chunked || q.length > int64(a.in.in.Len()) { // have answers and 100 leave before waiting for the body
		if q.expects && !q.oldVersion {
			if _, err := a.out.WriteString("HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return err
			}
		}
		if err := a.out.Flush(); err != nil {
			return err
		}
	}
	if q.is("echo") {
		return a.echo()
	}
	received, err := a.in.discard()
	if err != nil {
		return err
	}
	switch {
	case q.is("bytes"), q.is("chunked"), q.is("until-close"):
		return a.sequence()
	case q.is("headers"):
		return errors.Join(a.head(200, int64(len(head)), ""), a.data(head))
	case q.is("trailers"):
		return a.withTrailers(received)
	case q.is("delay"):
		ms, ok := q.number(3600_000)
		if !ok {
			return a.plain(404)
		}
		if err := a.out.Flush(); err != nil {
			return err
		}
		time.Sleep(time.Duration(ms) * time.Millisecond)
	case q.is("status"):
		return a.status()
	case q.is("close"):
		q.closes = true
	}
	return a.plain(200)
}

// head appends the response head; length below 0 leaves it out.
func (a *answer) head(status int, length int64, fields string) error {
	switch {
	case a.q.closes:
		fields += "Connection: close\r\n"
	case a.q.oldVersion:
		fields += "Connection: keep-alive\r\n"
	}
	_, err := a.out.WriteBinary(appendHead(nil, status, length, fields))
	return err
}

// data appends bytes of the body, which must stay as they are until flushed. A HEAD request has none.
func (a *answer) data(p []byte) error {
	if a.q.method == "HEAD" || len(p) == 0 {
		return nil
	}
	_, err := a.out.WriteBinary(p)
	return err
}

// plain answers with the ordinary body.
func (a *answer) plain(status int) error {
	content := a.s.ordinary[a.s.headLen:]
	if status == 204 || status == 304 {
		return a.head(status, -1, "")
	}
	return errors.Join(a.head(status, int64(len(content)), ""), a.data(content))
}

func (a *answer) status() error {
	code, ok := a.q.number(999)
	switch {
	case !ok || code < 100 || code == 101:
		return a.plain(404)
	case code < 200:
		_, err := a.out.WriteBinary(appendHead(nil, int(code), -1, "Link: </style.css>; rel=preload\r\n"))
		return errors.Join(err, a.out.Flush(), a.plain(200))
	}
	return a.plain(int(code))
}

// sequence sends N bytes of the pattern, with a length, chunked, or until the connection closes.
func (a *answer) sequence() error {
	q := a.q
	left, ok := q.number(1 << 50)
	if !ok {
		return a.plain(404)
	}
	length, fields, chunked := left, "", false
	if !q.is("bytes") {
		length = -1
		if chunked = q.is("chunked") && !q.oldVersion; chunked {
			fields = "Transfer-Encoding: chunked\r\n"
		} else {
			q.closes = true
		}
	}
	if err := a.head(200, length, fields); err != nil || q.method == "HEAD" {
		return err
	}
	size := int64(pieceBytes)
	if chunked {
		size = chunkBytes
	}
	for at := int64(0); left > 0; {
		n := min(left, size)
		piece := pattern[at%251:][:n]
		if err := a.piece(piece, chunked); err != nil {
			return err
		}
		at, left = at+n, left-n
		if a.out.MallocLen() >= pieceBytes {
			if err := a.out.Flush(); err != nil { // waits for the client: no more than this is held
				return err
			}
		}
	}
	if chunked {
		_, err := a.out.WriteString("0\r\n\r\n")
		return err
	}
	return nil
}

// piece appends some of the body, as a chunk or as it is.
func (a *answer) piece(p []byte, chunked bool) error {
	if !chunked {
		return a.data(p)
	}
	if a.q.method == "HEAD" {
		return nil
	}
	line := append(strconv.AppendInt(nil, int64(len(p)), 16), "\r\n"...)
	_, err := a.out.WriteBinary(line)
	if err = errors.Join(err, a.data(p)); err != nil {
		return err
	}
	_, err = a.out.WriteString("\r\n")
	return err
}

// echo sends the request's body back while it comes.
func (a *answer) echo() error {
	var err error
	switch {
	case !a.q.chunked:
		err = a.head(200, a.q.length, "")
	case a.q.oldVersion:
		a.q.closes = true
		err = a.head(200, -1, "")
	default:
		err = a.head(200, -1, "Transfer-Encoding: chunked\r\n")
	}
	chunked := a.q.chunked && !a.q.oldVersion
	for err == nil {
		var p []byte
		if p, err = a.in.next(); err == nil {
			// Sent before the next read, which gives p's memory back.
			err = errors.Join(a.piece(p, chunked), a.out.Flush())
		}
	}
	if err != io.EOF {
		return err
	}
	if chunked && a.q.method != "HEAD" {
		_, err := a.out.WriteString("0\r\n\r\n")
		return err
	}
	return nil
}

// withTrailers tells in its trailers what the request's body was.
func (a *answer) withTrailers(received int64) error {
	if a.q.oldVersion {
		return a.plain(200)
	}
	err := a.head(200, -1, "Transfer-Encoding: chunked\r\nTrailer: X-Received-Bytes, X-Received-Trailers\r\n")
	if err != nil || a.q.method == "HEAD" {
		return err
	}
	end := "0\r\nX-Received-Bytes: " + strconv.FormatInt(received, 10) +
		"\r\nX-Received-Trailers: " + strconv.Itoa(a.in.trailers) + "\r\n\r\n"
	err = a.piece([]byte("trailers\n"), true)
	if err == nil {
		_, err = a.out.WriteString(end)
	}
	return err
}
