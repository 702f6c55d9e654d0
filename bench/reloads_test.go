package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"text/template"
	"time"

	"zproxy/config"
	"zproxy/internal/longtest"
	"zproxy/internal/mixedload"
)

// Every turn is a configuration that zproxy takes, and is not the one before; the large one is as large as it is said to be.
func TestChangingConfigurations(t *testing.T) {
	for _, large := range []bool{false, true} {
		c := changed{Dir: "/d", IO: "epoll", Loops: "2", Clear: "127.0.0.1:1", Prior: "127.0.0.1:2", Secure: "127.0.0.1:3", Second: "127.0.0.1:4", Admin: "127.0.0.1:5",
			Origin: "127.0.0.1:6", TLS: &keyFiles{"/c", "/k", "/b"}, Large: large}
		for _, file := range []string{"changing.yaml", "changing.conf", "changing.cfg"} {
			parsed, err := template.ParseFS(peerFiles, "peers/"+file)
			if err != nil {
				t.Fatal(err)
			}
			before := ""
			for c.Turn = range 4 {
				if c.Another = ""; c.Turn > 1 {
					c.Another = "127.0.0.1:7"
				}
				var text bytes.Buffer
				if err := parsed.Execute(&text, &c); err != nil {
					t.Fatal(err)
				}
				if text.String() == before {
					t.Errorf("%s: turn %d is the one before", file, c.Turn)
				}
				if before = text.String(); file != "changing.yaml" || large && c.Turn > 0 {
					continue
				}
				got, err := config.Parse(file, text.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				routes, upstreams, listeners := 3+c.Turn%2, 2, 2
				if c.Turn%3 == 1 {
					listeners++
				}
				if large {
					routes, upstreams, listeners = routes+largeRoutes, upstreams+largeUpstreams, 1
				}
				if len(got.Routes) != routes || len(got.Upstreams) != upstreams || len(got.Listeners) != listeners {
					t.Errorf("turn %d, large %v: %d routes, %d upstreams, %d listeners; want %d, %d, %d", c.Turn, large,
						len(got.Routes), len(got.Upstreams), len(got.Listeners), routes, upstreams, listeners)
				}
			}
		}
	}
}

// A turn is in force when all ask for it in vain no more.
func TestInForce(t *testing.T) {
	answers := []string{"3", "3", "2", "3", "3", "3"}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(answers[0]))
		answers = answers[1:]
	}))
	defer s.Close()
	p := changing{now: changed{Clear: strings.TrimPrefix(s.URL, "http://"), Turn: 3}}
	if err := p.inForce(); err == nil {
		t.Error("an old worker answers, and the turn is in force")
	}
	if err := p.inForce(); err != nil {
		t.Error(err)
	}
}

// What spoils a row is seen.
func TestReloadRowIsJudged(t *testing.T) {
	good := func() *reloadRow {
		took := []time.Duration{time.Millisecond}
		return &reloadRow{without: reloadPhase{took: took}, beside: reloadPhase{took: took}, large: []time.Duration{goalLargeReload}, rss: [2]uint64{100, 105}}
	}
	if !good().met() {
		t.Error("a good one is not")
	}
	for what, spoil := range map[string]func(r *reloadRow){
		"failed":        func(r *reloadRow) { r.beside.Counts = mixedload.Counts{Failed: 1} },
		"closed early":  func(r *reloadRow) { r.beside.Counts = mixedload.Counts{Early: 1} },
		"repeated":      func(r *reloadRow) { r.beside.repeated = 1 },
		"slow":          func(r *reloadRow) { r.beside.took = []time.Duration{1300 * time.Microsecond} },
		"late":          func(r *reloadRow) { r.large[0]++ },
		"memory":        func(r *reloadRow) { r.rss[1]++ },
		"a long turn":   func(r *reloadRow) { r.long = 1 },
		"without, lost": func(r *reloadRow) { r.without.Failed = 1 },
	} {
		r := good()
		if spoil(r); r.met() {
			t.Errorf("%s: it has met its goals", what)
		}
	}
}

func TestLengthyReloads(t *testing.T) {
	longtest.Need(t)
	canMeasure(t)
	t.Setenv("TMPDIR", t.TempDir())
	var out, errOut bytes.Buffer
	command([]string{"reloads", "-busy", "-reloads", "2", "-each", "1", "-large", "5", "-contenders", "zproxy-epoll", "-equal-terms=false"}, &out, &errOut) // what is met is chance here
	noneLeft(t)
	for _, row := range []string{"| zproxy-epoll | ", "| 5 reloads, 10000 routes, 1000 upstreams | "} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("there is no row %q:\n%s%s", row, out.String(), errOut.String())
		}
	}
	for _, args := range []string{"-reloads 0", "-large 1", "-interval 1ms", "-contenders floor", "-peers old", "extra"} {
		if status := command(append([]string{"reloads"}, strings.Fields(args)...), &out, &errOut); status != 2 {
			t.Errorf("%s: status %d, want 2", args, status)
		}
	}
}
