package basicauth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"

	"zproxy/filter"
	"zproxy/filter/verify"
	"zproxy/proto"
)

// Config of a Filter.
type Config struct {
	Realm    string        // visible ASCII and spaces, without quotes and backslashes
	File     string        // path
	Keep     time.Duration // for how long a verdict is kept; 0: not at all
	Workers  *verify.Workers
	Now      func() time.Time
	Entries  int // verdicts that are kept
	Identity verify.Identity
}

const (
	// maxCredentials is how long credentials may be, in base64.
	maxCredentials = 2 << 10
	// maxFileBytes is how long a file may be.
	maxFileBytes = 16 << 20
	// keepRefused is for how long a refusal is kept: a program that repeats a wrong password costs nothing.
	keepRefused = 10 * time.Second
)

// Reasons of refusals.
const (
	ReasonMissing   = "no name and password"
	ReasonMalformed = "name and password cannot be read"
	ReasonRefused   = "name or password is wrong"
)

// Filter asks for names and passwords. All loops use it; Look is for one goroutine.
type Filter struct {
	cfg                         Config
	source                      verify.Source
	users                       atomic.Pointer[users]
	allowed, refused            *verify.Cache // apart: guesses push out no verdict of a user
	missing, malformed, refusal *verify.Verdict
	file                        verify.File
	loops                       verify.Loops
}

// New reads the file.
func New(cfg Config) (*Filter, error) {
	challenge := verify.Challenge(`Basic realm="` + cfg.Realm + `"`)
	f := &Filter{
		cfg: cfg, source: verify.Source{Header: "authorization", Scheme: "basic"},
		allowed: verify.NewCache(cfg.Entries), refused: verify.NewCache(cfg.Entries),
		missing: verify.Refuse(401, ReasonMissing).With(challenge), malformed: verify.Refuse(401, ReasonMalformed).With(challenge), refusal: verify.Refuse(401, ReasonRefused).With(challenge),
		file: verify.File{Path: cfg.File, Max: maxFileBytes},
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Filter) read() error {
	data, err := f.file.Read()
	if err == nil {
		var u *users
		if u, err = parse(data); err == nil {
			f.users.Store(u)
			f.file.Take()
			return nil
		}
		err = fmt.Errorf("%s:%w", f.cfg.File, err)
	}
	f.file.Refuse()
	return err
}

// Look reads the file again when it has changed. An error means that the file before stays in force; it is given
// once.
func (f *Filter) Look() (changed bool, err error) {
	if !f.file.Due() {
		return false, nil
	}
	err = f.read()
	return err == nil, err
}

// Users is how many the file has.
func (f *Filter) Users() int { return len(f.users.Load().hashes) }

// Workers are those that verify.
func (f *Filter) Workers() *verify.Workers { return f.cfg.Workers }

// Request lets q in, refuses it, or has it wait for who finds out.
func (f *Filter) Request(q *filter.Request) filter.Verdict {
	return f.cfg.Identity.Ask(f, &f.loops, q)
}

// Resume does what was found out.
func (f *Filter) Resume(q *filter.Request, answer any) filter.Verdict {
	return f.cfg.Identity.Decide(q, answer.(*verify.Verdict))
}

// Check gives the verdict for a request, nil if it has to be found first: see Start. It allocates nothing.
func (f *Filter) Check(h *proto.Head, d *verify.Digester, nowMs int64) (*verify.Verdict, verify.Digest) {
	credentials, several := f.source.Find(h)
	switch {
	case several || len(credentials) > maxCredentials:
		return f.malformed, verify.Digest{}
	case len(credentials) == 0:
		return f.missing, verify.Digest{}
	}
	d.Begin(f.users.Load().scope)
	d.Add(credentials)
	digest := d.Sum()
	v := f.allowed.Find(&digest, nowMs)
	if v == nil {
		v = f.refused.Find(&digest, nowMs)
	}
	return v, digest
}

// Start has the credentials of a request verified that Check had no verdict for. A verdict is that of what cannot be
// verified; without one and false, too many wait.
func (f *Filter) Start(h *proto.Head, digest *verify.Digest, waiter verify.Waiter) (*verify.Verdict, bool) {
	credentials, _ := f.source.Find(h)
	name, password, ok := split(credentials)
	if !ok {
		return f.malformed, false
	}
	task := &task{filter: f, users: f.users.Load(), name: name, password: password}
	return nil, f.cfg.Workers.Start(digest, task, waiter)
}

// split decodes credentials (RFC 7617 section 2): the name has no colon, and neither has control characters. Padding
// may be left out.
func split(credentials []byte) (name string, password []byte, ok bool) {
	credentials = bytes.TrimRight(credentials, "=")
	text := make([]byte, base64.RawStdEncoding.DecodedLen(len(credentials)))
	n, err := base64.RawStdEncoding.Decode(text, credentials)
	if err != nil {
		return "", nil, false
	}
	before, after, ok := bytes.Cut(text[:n], []byte(":"))
	if !ok || bytes.ContainsFunc(text[:n], isControl) {
		return "", nil, false
	}
	return string(before), after, true
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// task is one name with one password.
type task struct {
	filter   *Filter
	users    *users
	name     string
	password []byte
}

// Verify takes as long for names that there are not.
func (t *task) Verify(f *verify.Flight) *verify.Verdict {
	h, known := t.users.hashes[t.name]
	if !known {
		h = t.users.decoy
	}
	matches := h != nil && h.matches(t.password)
	clear(t.password)
	now := t.filter.cfg.Now()
	if !known || !matches {
		v := t.filter.refusal.Until(now.Add(min(keepRefused, t.filter.cfg.Keep)).UnixMilli())
		t.filter.refused.Keep(f.Digest(), v, now.UnixMilli())
		return v
	}
	v := &verify.Verdict{Name: []byte(t.name), UntilMs: now.Add(t.filter.cfg.Keep).UnixMilli()}
	t.filter.allowed.Keep(f.Digest(), v, now.UnixMilli())
	return v
}
