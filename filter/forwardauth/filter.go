package forwardauth

import (
	"crypto/tls"
	"encoding/binary"
	"sync/atomic"
	"time"

	"zproxy/filter"
	"zproxy/filter/verify"
)

// Endpoint is a server that is asked.
type Endpoint struct {
	Addresses []string    // ip:port and unix:/path
	Usable    bool        // requests go to it
	TLS       *tls.Config // nil: in clear
}

// Part of a request that a verdict depends on, beside fields.
type Part uint8

const (
	PartMethod Part = 1 << iota
	PartHost
	PartPath
	PartQuery
	PartClient
)

// Config of a Filter.
type Config struct {
	Endpoints func() []Endpoint // those there are now
	Path      string            // with its query, if there is one
	Host      string            // "": that of the request
	Send      []string          // fields of the request that go along, lower case
	Take      []*filter.Name    // fields of a response of 2xx that the request gets, in place of those it has
	NameField *filter.Name      // of such a response: who asks; nil: nothing says
	Identity  verify.Identity
	Timeout   time.Duration // for all of it
	Keep      time.Duration // for how long a verdict is kept; 0: not at all
	KeyFields []string      // what it depends on: fields of the request, lower case
	KeyParts  Part
	Entries   int
	Workers   *verify.Workers
	Now       func() time.Time
}

// Reasons of refusals.
const (
	ReasonRefused = "server that was asked refuses"
	ReasonFailed  = "server that is to be asked cannot be"
	ReasonTimeout = "server that was asked did not respond in time"
)

// Filter asks. All loops use it.
type Filter struct {
	cfg     Config
	scope   uint64
	counter atomic.Uint64 // for what is not kept
	kept    *verify.Cache
	client  client
	loops   verify.Loops
}

// New asks nobody yet.
func New(cfg Config) *Filter {
	f := &Filter{cfg: cfg, scope: verify.NewScope(), kept: verify.NewCache(max(1, cfg.Entries))}
	f.client.cfg = &f.cfg
	return f
}

// Workers are those that ask.
func (f *Filter) Workers() *verify.Workers { return f.cfg.Workers }

// Close closes connections that wait for another request.
func (f *Filter) Close() { f.client.close() }

// Request lets q in or refuses it, as is known, or has it wait until the server has said so.
func (f *Filter) Request(q *filter.Request) filter.Verdict {
	v, digest := f.Check(q, f.loops.At(q.Loop), q.WallMs)
	if v == nil {
		if !f.Start(q, &digest, q.Ticket) {
			return verify.Crowded(q)
		}
		q.WaitNs = int64(2 * f.cfg.Timeout) // in the queue, and for the response
		return filter.Wait
	}
	return f.cfg.Identity.Decide(q, v)
}

// Resume does what the server has said.
func (f *Filter) Resume(q *filter.Request, answer any) filter.Verdict {
	return f.cfg.Identity.Decide(q, answer.(*verify.Verdict))
}

// Check gives the verdict for a request, nil if the server has to be asked first: see Start. It allocates nothing.
func (f *Filter) Check(q *filter.Request, d *verify.Digester, nowMs int64) (*verify.Verdict, verify.Digest) {
	d.Begin(f.scope)
	if f.cfg.Keep == 0 {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], f.counter.Add(1))
		d.Add(n[:])
		return nil, d.Sum()
	}
	h := q.Head
	for i := range f.cfg.KeyFields {
		for j := range h.Fields {
			if source := (verify.Source{Header: f.cfg.KeyFields[i]}); source.IsNamed(h.Bytes(h.Fields[j].Name)) {
				d.Add(h.Bytes(h.Fields[j].Value))
			}
		}
		d.Add(nil) // where the values of one name end
	}
	parts := f.cfg.KeyParts
	if parts&PartMethod != 0 {
		d.Add(h.Bytes(h.MethodName))
	}
	if parts&PartHost != 0 {
		d.Add(h.Bytes(h.Host))
	}
	if parts&PartPath != 0 {
		d.Add(q.Path)
	}
	if parts&PartQuery != 0 {
		d.Add(h.Bytes(h.Query))
	}
	if parts&PartClient != 0 {
		of := q.Client.As16()
		d.Add(of[:])
	}
	digest := d.Sum()
	return f.kept.Find(&digest, nowMs), digest
}

// Start has the server asked about a request that Check had no verdict for. False: too many wait.
func (f *Filter) Start(q *filter.Request, digest *verify.Digest, waiter verify.Waiter) bool {
	return f.cfg.Workers.Start(digest, &task{filter: f, text: f.appendRequest(nil, q)}, waiter)
}

// appendRequest writes the request to the server. What came as a field is one, and a target has no spaces: nothing
// in it splits the head.
func (f *Filter) appendRequest(dst []byte, q *filter.Request) []byte {
	h := q.Head
	dst = append(dst, "GET "...)
	dst = append(dst, f.cfg.Path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	host := h.Bytes(h.Host)
	if f.cfg.Host != "" {
		dst = append(dst, f.cfg.Host...)
	} else {
		dst = append(dst, host...)
	}
	for _, name := range f.cfg.Send {
		source := verify.Source{Header: name}
		for i := range h.Fields {
			if field := &h.Fields[i]; source.IsNamed(h.Bytes(field.Name)) {
				dst = appendField(dst, name, h.Bytes(field.Value))
			}
		}
	}
	dst = appendField(dst, "X-Forwarded-Method", h.Bytes(h.MethodName))
	dst = appendField(dst, "X-Forwarded-Proto", q.Scheme)
	dst = appendField(dst, "X-Forwarded-Host", host)
	target := h.AppendOriginTarget(nil)
	dst = appendField(dst, "X-Forwarded-Uri", target)
	dst = appendField(dst, "X-Original-URI", target)
	if q.Client.IsValid() {
		dst = appendField(dst, "X-Forwarded-For", q.Client.AppendTo(nil))
	}
	return append(dst, "\r\n\r\n"...)
}

func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, "\r\n"...)
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	return append(dst, value...)
}

// task is one question.
type task struct {
	filter *Filter
	text   []byte
}

func (t *task) Verify(flight *verify.Flight) *verify.Verdict {
	f := t.filter
	r, err := f.client.ask(t.text)
	now := f.cfg.Now()
	if err != nil {
		if isTimeout(err) {
			return verify.Refuse(504, ReasonTimeout)
		}
		return verify.Refuse(502, ReasonFailed)
	}
	v := r.verdict()
	if v.Outcome != verify.Failed && f.cfg.Keep > 0 && !r.noStore {
		v.UntilMs = now.Add(f.cfg.Keep).UnixMilli()
		f.kept.Keep(flight.Digest(), v, now.UnixMilli())
	}
	return v
}
