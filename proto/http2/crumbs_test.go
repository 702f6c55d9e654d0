package http2

import (
	"fmt"
	"strings"
	"testing"
)

// crumbsOf is a request's fields with so many crumbs between others.
func crumbsOf(n int) (fields []string, cookie string) {
	fields = append(getFields[:8:8], "x-first", "1")
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("name%d=value%d", i, i))
		fields = append(fields, "cookie", all[i])
		if i%50 == 49 {
			fields = append(fields, "x-between", "2")
		}
	}
	return fields, strings.Join(all, "; ")
}

// What a browser keeps for a site is one field, whatever the limit of fields; it is
// part of the size all the same.
func TestManyCrumbs(t *testing.T) {
	for _, c := range []struct {
		crumbs, fields, bytes int
		want                  string // of the fault
	}{
		{2, 3, 64 << 10, ""},
		{180, 5, 64 << 10, ""},
		{180, 4, 64 << 10, "FAULT too many fields"},
		{crumbsMax, 7, 64 << 10, ""},
		{crumbsMax + 1, 7, 64 << 10, "FAULT too many fields"},
		{180, 128, 8 << 10, "FAULT head too large"},
	} {
		r := server(t, func(cfg *Config) { cfg.Fields, cfg.HeadBytes = c.fields, c.bytes })
		fields, cookie := crumbsOf(c.crumbs)
		r.headers(1, true, fields...)
		events := r.feed()
		if len(events) != 1 || strings.Contains(events[0], "FAULT") != (c.want != "") || !strings.Contains(events[0], c.want) {
			t.Errorf("%d crumbs, %d fields, %d bytes: %q, want %q", c.crumbs, c.fields, c.bytes, events, c.want)
			continue
		}
		if c.want != "" {
			continue
		}
		h := r.s.Head()
		if f := h.Fields[1]; len(h.Fields) != 2+c.crumbs/50 || string(h.Bytes(f.Name)) != "cookie" || string(h.Bytes(f.Value)) != cookie {
			t.Errorf("%d crumbs became %s", c.crumbs, tellHead(h))
		}
	}
}

// A block whose request was malformed comes again, and is not any more: its crumbs
// are its own, whoever's were read between.
func TestRepeatedCrumbs(t *testing.T) {
	const block = "\x82\x87\x84\x01\x01a\x0f\x0d\x015" + "\x0f\x11\x01a\x0f\x11\x01b" // content-length: 5
	r := server(t, nil)
	other := server(t, nil)
	other.scratch = r.scratch
	other.s.scratch = r.scratch
	for id := uint32(1); id < 7; id += 2 {
		if events, _ := r.feedBlock(id, true, block); len(events) != 1 || !strings.HasPrefix(events[0], "reset") {
			t.Fatalf("%q", events)
		}
	}
	if !r.keeps(sectionRequest) {
		t.Fatal("nothing was kept")
	}
	other.feedBlock(1, true, "\x82\x87\x84\x01\x01a\x0f\x11\x08secret=1\x0f\x11\x08secret=2")
	events, h := r.feedBlock(7, false, block)
	if len(events) != 1 || len(h.Fields) != 2 || string(h.Bytes(h.Fields[1].Value)) != "a; b" {
		t.Errorf("%q: %s", events, tellHead(&h))
	}
}

// What says much in few bytes is not kept, however often it comes.
func TestLargeRepeatsAreNotKept(t *testing.T) {
	r := server(t, nil)
	r.headers(1, true, append(getFields[:8:8], "cookie", strings.Repeat("a", 3000))...)
	r.feed()
	for id := uint32(3); id < 11; id += 2 {
		if events, _ := r.feedBlock(id, true, "\x82\x87\x84\x01\x01a\xbe\xbe\xbe"); len(events) != 1 || strings.Contains(events[0], "FAULT") {
			t.Fatalf("%q", events)
		}
		if r.keeps(sectionRequest) {
			t.Fatalf("%d bytes are kept", len(r.s.repeats.kept[0].section.buf))
		}
	}
}

// Fields of one byte behind a limit cost points as there are more of them; a head that
// is merely too large costs a few.
func TestBombsEndTheConnection(t *testing.T) {
	for _, c := range []struct {
		name, fields string
		most         int
	}{
		{"fields", strings.Repeat("\x8f", 4000), 17},
		{"crumbs", "\x60\x01a" + strings.Repeat("\xbe", 3999), 17},
		{"a field that is too large", "\x00\x01x\x7f\xa9\x45" + strings.Repeat("a", 9000), 202},
	} {
		r := server(t, func(cfg *Config) { cfg.HeadBytes = 8 << 10 })
		n := 0
		for ; r.end == "" && n < 1000; n++ {
			id := uint32(2*n + 1)
			r.feedBlock(id, true, "\x82\x87\x84\x01\x01a"+c.fields)
			if r.s.Find(id) != 0 {
				r.respond(id, 431, true)
			}
		}
		if want := "closed ENHANCE_YOUR_CALM: too many field sections over the limit"; r.end != want || n > c.most || n < c.most*3/4 {
			t.Errorf("%s: %q after %d, want %q after %d", c.name, r.end, n, want, c.most)
		}
	}
}
