// Package hostile is a table of messages that somebody sends on purpose:
// requests to a proxy and responses to one, byte for byte, each with the
// section of RFC 9110 or 9112 it is about and what may become of it. Such a
// message is refused, or forwarded in the one form that nobody can misread, or
// visibly broken off; nothing else.
//
// The judge of what is forwarded is a parser of the package's own, strict and
// small (oracle.go), which shares nothing with the proxy's.
package hostile

import "strings"

// Ending is what the sender does after its last byte.
type Ending uint8

const (
	StaysOpen Ending = iota // waits for an answer
	Closes                  // closes its write side
	Resets                  // breaks the connection
)

// Request is a row of the table of requests.
type Request struct {
	Name    string // theme/what is odd about it
	Section string // of the RFC that decides
	Bytes   string // what the client sends
	Want    Outcome
	Then    Ending
}

// Outcome is what may become of a request. First Got reaches the origin, each
// message whole and once, and is answered. Then, with a Status, the proxy
// refuses with it and closes; with Cut the rest never becomes a whole message
// at the origin; else the connection serves on, or closes as it should.
type Outcome struct {
	Got    []Message
	Status int
	Cut    bool
	GoesOn bool // with Status: it is no matter of framing, and the connection stays
	Alert  bool // with Status: an alert of TLS and the end will do in its place, for no HTTP was spoken
}

// Alert begins an alert record of TLS of any version (RFC 8446 5.1), fatal.
const Alert = "\x15\x03\x01\x00\x02\x02"

// Message is a request as the origin has to receive it.
type Message struct {
	Method, Target, Host, Body string
	Fields                     []Field // all but Host and the framing
	Trailers                   []Field
	Chunked                    bool
	Close                      bool // Connection: close

	// Of an expectation only: lines "Name: value" that have to be there, names
	// that must not.
	With, Without []string
}

// Field is one field line.
type Field struct{ Name, Value string }

// Response is a row of the table of responses.
type Response struct {
	Name    string
	Section string
	Bytes   string // what the origin sends in answer to Request
	Then    Ending
	Want    Answer
	Request string // default: GET of HTTP/1.1
	Late    string // sent a moment after Bytes, before Then
}

// Answer is what the client has to get: a whole response with Status and Body,
// or, with Cut, anything that it cannot take for a whole one but 502. A
// response that is not to be trusted is Status 502 with any body.
type Answer struct {
	Status   int
	Body     string
	Interims int
	Cut      bool
	With     []string // lines that have to be there
	Without  []string // names that must not
}

// Smuggled is in the target of every request that is not meant to be one.
const Smuggled = "/smuggled"

// head joins lines and ends the section.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// The rows are written with these.
func refused(status int) Outcome { return Outcome{Status: status} }

func refusedInTLS() Outcome { return Outcome{Status: 400, Alert: true} }

func cut() Outcome { return Outcome{Cut: true} }

func passes(m ...Message) Outcome { return Outcome{Got: m} }

func (o Outcome) goesOn() Outcome { o.GoesOn = true; return o }

func (o Outcome) then(status int) Outcome { o.Status = status; return o }

func get(target string) Message { return Message{Method: "GET", Target: target, Host: "h"} }

func post(target, body string) Message {
	return Message{Method: "POST", Target: target, Host: "h", Body: body}
}

func (m Message) method(name string) Message { m.Method = name; return m }

func (m Message) host(name string) Message { m.Host = name; return m }

func (m Message) with(lines ...string) Message { m.With = append(m.With, lines...); return m }

func (m Message) without(names ...string) Message {
	m.Without = append(m.Without, names...)
	return m
}

func (m Message) trailer(name, value string) Message {
	m.Trailers = append(m.Trailers, Field{name, value})
	return m
}

// smuggled is the request hidden in others.
const smuggled = "GET " + Smuggled + " HTTP/1.1\r\nHost: h\r\n\r\n"

// Requests is the whole table of requests.
func Requests() []Request {
	var all []Request
	for _, theme := range [][]Request{
		lengthAndCoding(), lengths(), codings(), chunks(), trailers(), cutRequests(),
		requestLines(), targets(), versions(), hosts(), fieldLines(), fieldValues(), connections(), sizes(), pipelines(),
	} {
		all = append(all, theme...)
	}
	return all
}

// Responses is the whole table of responses.
func Responses() []Response {
	var all []Response
	for _, theme := range [][]Response{
		responseFraming(), responseChunks(), cutResponses(), statusLines(), responseFields(), interims(), withoutContent(), queuePoison(),
	} {
		all = append(all, theme...)
	}
	return all
}
