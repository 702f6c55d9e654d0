package filter

import (
	"strings"
	"testing"

	"zproxy/metrics"
	"zproxy/proto"
	"zproxy/proto/http1"
)

// said is a filter with a verdict for each time that it is asked.
type said struct {
	verdicts []Verdict
	asked    int
	answers  []any
}

func (s *said) Request(*Request) Verdict {
	s.asked++
	return s.verdicts[s.asked-1]
}

func (s *said) Resume(q *Request, answer any) Verdict {
	s.answers = append(s.answers, answer)
	return s.Request(q)
}

func chain(steps ...Step) *Chain {
	c := NewChain(steps)
	for i := range c.Steps {
		c.Steps[i].Series = uint16(i)
	}
	c.Ready()
	return c
}

func TestOrder(t *testing.T) {
	c := chain(Step{Kind: "work", Class: ClassWork}, Step{Kind: "global", Class: ClassAddress}, Step{Kind: "response", Class: ClassResponse}, Step{Kind: "route", Class: ClassAddress})
	var order []string
	for _, s := range c.Steps {
		order = append(order, s.Kind)
	}
	if got := strings.Join(order, " "); got != "response global route work" {
		t.Errorf("they run in the order %s", got)
	}
	if NewChain(nil) != nil {
		t.Error("no filters are a chain")
	}
}

func TestRun(t *testing.T) {
	first, second, third := &said{verdicts: []Verdict{Continue}}, &said{verdicts: []Verdict{Wait, Wait, Continue}}, &said{verdicts: []Verdict{Reply}}
	c := chain(Step{Filter: first}, Step{Filter: second}, Step{Filter: third})
	q := NewRequest()
	q.Begin()
	q.Counts, q.Timed = make([]metrics.Filter, 3), true
	if v := c.Run(q); v != Wait || third.asked != 0 {
		t.Fatalf("verdict %d, the third filter was asked %d times", v, third.asked)
	}
	if v := c.Resume(q, "a"); v != Wait {
		t.Fatalf("verdict %d of the first answer", v)
	}
	if v := c.Resume(q, "b"); v != Reply || first.asked != 1 || len(second.answers) != 2 || second.answers[1] != "b" {
		t.Fatalf("verdict %d; asked %d times; answers %v", v, first.asked, second.answers)
	}
	for i, want := range []metrics.Filter{{Passed: 1, Timed: 1}, {Passed: 1, Waited: 1, Timed: 3}, {Rejected: 1, Timed: 1}} {
		got := q.Counts[i]
		if got.TimedNs = 0; got != want {
			t.Errorf("filter %d counts %+v, want %+v", i, got, want)
		}
	}
}

func head(t *testing.T, lines ...string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	if _, _, f := http1.ParseRequest([]byte("GET / HTTP/1.1\r\nHost: h\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n"), http1.Cursor{}, &http1.Limits{HeadBytes: 8192, Fields: 64, LineBytes: 4096}, h); f != nil {
		t.Fatal(f.Reason)
	}
	return h
}

// result is what h and the changes come to, beside what the proxy adds by itself.
func result(h *proto.Head, c *Changes, own ...proto.Extra) string {
	var out []string
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Flags&proto.FlagDrop == 0 && f.Token != proto.TokenHost {
			out = append(out, string(h.Bytes(f.Name))+"="+string(h.Bytes(f.Value)))
		}
	}
	for _, e := range c.Apply(own) {
		out = append(out, e.Name+"="+string(e.Value))
	}
	return strings.Join(out, ",")
}

func TestChanges(t *testing.T) {
	name := func(s string) *Name { n := NewName(s); return &n }
	for _, c := range []struct {
		name string
		do   func(h *proto.Head, c *Changes)
		want string
	}{
		{"nothing", func(h *proto.Head, c *Changes) {}, "X-User=a,x-user=b,X_USER=c,Accept=*/*,X-Forwarded-For=1"},
		{"set replaces every spelling", func(h *proto.Head, c *Changes) { c.Set(h, name("X-User"), []byte("me")) }, "Accept=*/*,X-Forwarded-For=1,X-User=me"},
		{"add", func(h *proto.Head, c *Changes) { c.Add(name("X-User"), []byte("me")) }, "X-User=a,x-user=b,X_USER=c,Accept=*/*,X-Forwarded-For=1,X-User=me"},
		{"remove one with a token", func(h *proto.Head, c *Changes) { c.Remove(h, name("accept")) }, "X-User=a,x-user=b,X_USER=c,X-Forwarded-For=1"},
		{"remove what was added", func(h *proto.Head, c *Changes) {
			c.Add(name("X-New"), []byte("1"))
			c.Remove(h, name("x_new"))
			c.Remove(h, name("X-User"))
		}, "Accept=*/*,X-Forwarded-For=1"},
		{"what the proxy adds", func(h *proto.Head, c *Changes) { c.Remove(h, name("X-Forwarded-For")) }, "X-User=a,x-user=b,X_USER=c,Accept=*/*"},
		{"set what the proxy adds", func(h *proto.Head, c *Changes) { c.Set(h, name("X-Forwarded-For"), []byte("2")) }, "X-User=a,x-user=b,X_USER=c,Accept=*/*,X-Forwarded-For=2"},
		{"rename", func(h *proto.Head, c *Changes) { c.Rename(h, name("X-User"), name("X-Who")) }, "Accept=*/*,X-Forwarded-For=1,X-Who=a,X-Who=b,X-Who=c"},
		{"rename over another", func(h *proto.Head, c *Changes) { c.Rename(h, name("Accept"), name("X-User")) }, "X-Forwarded-For=1,X-User=*/*"},
		{"rename what is not there", func(h *proto.Head, c *Changes) { c.Rename(h, name("X-None"), name("X-User")) }, "X-User=a,x-user=b,X_USER=c,Accept=*/*,X-Forwarded-For=1"},
		{"a value that would begin a line", func(h *proto.Head, c *Changes) {
			c.Remove(h, name("X-User"))
			c.Set(h, name("X-A"), []byte("1\r\nSet-Cookie: a\x00b"))
		}, "Accept=*/*,X-Forwarded-For=1,X-A=1  Set-Cookie: a b"},
		{"a value that begins or ends with blanks", func(h *proto.Head, c *Changes) {
			c.Set(h, name("X-User"), []byte(" \t1 2\r\n"))
			c.Add(name("X-None"), []byte("\r\n\t"))
		}, "Accept=*/*,X-Forwarded-For=1,X-User=1 2"},
	} {
		h, changes := head(t, "X-User: a", "x-user: b", "X_USER: c", "Accept: */*"), NewChanges()
		c.do(h, changes)
		if got := result(h, changes, proto.Extra{Name: "X-Forwarded-For", Value: []byte("1"), Token: proto.TokenXForwardedFor}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Values stay as they are when the text for more of them grows.
func TestManyChanges(t *testing.T) {
	n, c := NewName("X-A"), NewChanges()
	long := strings.Repeat("v", 300)
	for range 20 {
		c.Add(&n, []byte(long))
	}
	for _, e := range c.Apply(nil) {
		if string(e.Value) != long {
			t.Fatalf("a value is %q", e.Value)
		}
	}
	c.Reset()
	if c.Any() || len(c.Apply(nil)) != 0 {
		t.Error("changes were not forgotten")
	}
}

// A response's head is there only later: what was removed before is dropped then.
func TestMark(t *testing.T) {
	n, c := NewName("X-User"), NewChanges()
	c.Set(nil, &n, []byte("me"))
	h := head(t, "X-User: a", "X_User: b", "Accept: x")
	c.Mark(h)
	if got := result(h, c); got != "Accept=x,X-User=me" {
		t.Error(got)
	}
}
