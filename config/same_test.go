package config

import "testing"

func TestSame(t *testing.T) {
	base := func() *Upstream {
		return &Upstream{
			Pos: Pos{3, 1}, Name: "a", Endpoints: []Endpoint{{Pos: Pos{4, 5}, Address: "10.0.0.1:80", Weight: 1}},
			TLS: &UpstreamTLS{CA: "ca.pem", CAPEM: []byte("x"), Pins: []string{"p"}},
		}
	}
	for _, c := range []struct {
		what           string
		change         func(u *Upstream)
		same, butFiles bool
	}{
		{"nothing", func(u *Upstream) {}, true, true},
		{"where it stands", func(u *Upstream) { u.Line, u.Endpoints[0].Col = 9, 9 }, true, true},
		{"a name", func(u *Upstream) { u.Name = "b" }, false, false},
		{"a number", func(u *Upstream) { u.Pool.MaxIdle++ }, false, false},
		{"an endpoint", func(u *Upstream) { u.Endpoints[0].Address = "10.0.0.2:80" }, false, false},
		{"one more endpoint", func(u *Upstream) { u.Endpoints = append(u.Endpoints, u.Endpoints[0]) }, false, false},
		{"no TLS", func(u *Upstream) { u.TLS = nil }, false, false},
		{"what a file holds", func(u *Upstream) { u.TLS.CAPEM = []byte("yy") }, false, true},
		{"a file's name", func(u *Upstream) { u.TLS.CA = "other.pem" }, false, false},
		{"a pin", func(u *Upstream) { u.TLS.Pins[0] = "q" }, false, false},
	} {
		a, b := base(), base()
		c.change(b)
		if got := Same(a, b); got != c.same {
			t.Errorf("%s: Same is %v", c.what, got)
		}
		if got := SameButFiles(a, b); got != c.butFiles {
			t.Errorf("%s: SameButFiles is %v", c.what, got)
		}
	}
	if !Same((*WebSocket)(nil), (*WebSocket)(nil)) || Same((*WebSocket)(nil), new(WebSocket)) {
		t.Error("nil")
	}
	pages := map[int]ErrorPage{404: {Pos: Pos{1, 1}, Body: "no"}}
	if !Same(pages, map[int]ErrorPage{404: {Body: "no"}}) || Same(pages, map[int]ErrorPage{404: {Body: "none"}}) ||
		Same(pages, map[int]ErrorPage{500: {Body: "no"}}) || Same(pages, map[int]ErrorPage(nil)) {
		t.Error("error pages")
	}
}
