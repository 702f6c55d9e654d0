package proxy

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/config"
	"zproxy/filter"
	"zproxy/loop"
)

const keptOut = `
filters: [{ip: {deny: [192.0.2.0/24]}}]
forwarding: {trusted_proxies: [127.0.0.1]}
routes:
  - {path: "/*", upstream: app}
  - {path: "/private/*", upstream: app, filters: [{ip: {allow: [10.0.0.0/8]}}]}
  - {path: "/own", respond: {status: 200, body: yes}, filters: [{ip: {allow: [10.0.0.0/8]}}]}`

const shortAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// talk sends text and hears as many responses as there are statuses.
func talk(t *testing.T, c net.Conn, text string, statuses ...string) string {
	t.Helper()
	io.WriteString(c, text)
	got, _ := hear(c, func(got string) bool {
		return strings.Count(got, "HTTP/1.1 ") >= len(statuses) && strings.Contains(got, "\r\n\r\n")
	})
	var found []string
	for _, part := range strings.Split(got, "HTTP/1.1 ")[1:] {
		found = append(found, part[:min(3, len(part))])
	}
	if !slices.Equal(found, statuses) {
		t.Fatalf("%q was answered %v, want %v:\n%s", text, found, statuses, got)
	}
	return got
}

func get(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// What a chain refuses does not come to its origin, however the path is spelled, and the connection goes on.
func TestFiltersRefuse(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		r := start(t, io, 1, yaml(answeringOrigin(t, shortAnswer), keptOut), nil)
		c := r.dial()
		got := talk(t, c, get("/")+get("/private/a")+get("/%70rivate/a")+get("/x/../private/a")+get("/own")+get("/private/b", "X-Forwarded-For: 10.1.2.3")+
			get("/own", "X-Forwarded-For: 10.1.2.3")+get("/", "X-Forwarded-For: 192.0.2.1"), "200", "403", "403", "403", "403", "200", "200", "403")
		if !strings.Contains(got, "403 Forbidden\n") {
			t.Errorf("there is no page:\n%s", got)
		}
		rep := r.settled()[0]
		counts := map[string][2]uint64{}
		_, _, names := r.snap.SeriesNames()
		for i, n := range names {
			counts[n.Route] = [2]uint64{rep.Metrics.Filters[i].Passed, rep.Metrics.Filters[i].Rejected}
		}
		// The filter of all requests passes those that the filter of a route refuses.
		for route, want := range map[string][2]uint64{"/*": {1, 1}, "/private/*": {5, 3}, "/own": {3, 1}} {
			if counts[route] != want {
				t.Errorf("%s: passed and rejected %v, want %v", route, counts[route], want)
			}
		}
		if n := rep.Metrics.RefusedByReason[codeFilter]; n != 5 {
			t.Errorf("%d refusals are counted, want 5", n)
		}
	})
}

// waits says Wait, and what it is told to when its ticket is redeemed.
type waits struct {
	tickets chan filter.Ticket
	ns      int64
}

func (f *waits) Request(q *filter.Request) filter.Verdict {
	if f.ns > 0 {
		q.WaitNs = f.ns
	}
	f.tickets <- q.Ticket
	return filter.Wait
}

var who = filter.NewName("X-Who")

func (f *waits) Resume(q *filter.Request, answer any) filter.Verdict {
	if answer == "no" {
		q.Respond.Add(&who, []byte("nobody"))
		return q.Refuse(401, "nobody")
	}
	q.Forward.Set(q.Head, &who, []byte(answer.(string)))
	q.Respond.Set(nil, &who, []byte(answer.(string)))
	return filter.Continue
}

// withChain has r serve by a snapshot whose first route has the steps.
func (r *rig) withChain(text string, steps ...filter.Step) {
	r.t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.snap, err = r.registry.Compile(cfg); err != nil {
		r.t.Fatal(err)
	}
	chain := filter.NewChain(steps)
	chain.Ready()
	r.snap.Routes[0].Chain = chain
	for _, p := range r.peers {
		if !AskAdopt(p.Loop, r.snap) {
			r.t.Fatal("no room for mail")
		}
	}
	r.reports() // behind it in the mailbox
}

// headsOrigin answers, and passes on what it was sent.
func headsOrigin(t *testing.T, bodyBytes int) (addr string, heard chan string) {
	heard = make(chan string, 16)
	return startOrigin(t, func(_ int, c net.Conn) {
		for {
			head, err := readHead(c)
			if err != nil {
				return
			}
			heard <- head + readN(c, bodyBytes)
			io.WriteString(c, shortAnswer)
		}
	}), heard
}

// A request that waits for a filter goes on as it came, body and all.
func TestFilterWaits(t *testing.T) {
	besides(t, func(t *testing.T, lio loop.IO) {
		addr, heard := headsOrigin(t, 5)
		text := yaml(addr, "")
		r := start(t, lio, 1, text, nil)
		f := &waits{tickets: make(chan filter.Ticket, 16)}
		r.withChain(text, filter.Step{Kind: "waits", Filter: f})
		c := r.dial()
		io.WriteString(c, "POST /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX_Who: me\r\nX-Long: "+strings.Repeat("x", 3000)+"\r\nContent-Length: 5\r\n\r\nhe")
		ticket := <-f.tickets
		// Others are served while it waits.
		other := r.dial()
		go func() { (<-f.tickets).Redeem("no") }()
		if got := talk(t, other, get("/other"), "401"); !strings.Contains(got, "X-Who: nobody\r\n") {
			t.Errorf("the field of the refusal is missing:\n%s", got)
		}
		io.WriteString(c, "llo")
		ticket.Redeem("you")
		if got := talk(t, c, "", "200"); !strings.Contains(got, "X-Who: you\r\n") {
			t.Errorf("the field for the client is missing:\n%s", got)
		}
		got := <-heard
		for _, want := range []string{"POST /a%20b?c=d HTTP/1.1\r\n", "X-Who: you\r\n", strings.Repeat("x", 3000), "\r\n\r\nhello"} {
			if !strings.Contains(got, want) {
				t.Errorf("the origin was not sent %.20q:\n%s", want, got)
			}
		}
		if strings.Contains(got, "me\r\n") {
			t.Errorf("the origin was sent what the client says of itself:\n%s", got)
		}
		ticket.Redeem("you") // it has gone on already
		if rep := r.settled()[0]; rep.Exchanges != 0 {
			t.Errorf("%d exchanges are left", rep.Exchanges)
		}
	})
}

// A client that leaves while its request waits takes it along, and a filter that takes too long is not waited for.
func TestFilterIsGivenUp(t *testing.T) {
	besides(t, func(t *testing.T, lio loop.IO) {
		text := yaml(answeringOrigin(t, shortAnswer), "")
		r := start(t, lio, 1, text, nil)
		f := &waits{tickets: make(chan filter.Ticket, 16)}
		r.withChain(text, filter.Step{Kind: "waits", Filter: f})
		gone := r.dial().(*net.TCPConn)
		io.WriteString(gone, get("/"))
		ticket := <-f.tickets
		gone.SetLinger(0)
		gone.Close()
		r.settled()
		ticket.Redeem("you")

		f.ns = int64(20 * time.Millisecond)
		c := r.dial()
		talk(t, c, get("/"), "503")
		(<-f.tickets).Redeem("you")
		rep := r.settled()[0]
		if n := rep.Metrics.RefusedByReason[codeFilterTimeout]; n != 1 {
			t.Errorf("%d time-outs are counted, want 1", n)
		}
	})
}

// A chain costs no allocation, and a field that it sets is there each time.
func TestFilteredRequestAllocatesNothing(t *testing.T) {
	onBackends(t, func(t *testing.T, io loop.IO) {
		s := newStepped(t, io, "filters: [{ip: {deny: [192.0.2.0/24], allow: [127.0.0.0/8]}}, {request_headers: {set: {X-A: \"{client_ip} {request_id}\"}, remove: [Accept]}}, "+
			"{response_headers: {set: {X-B: \"{path}\"}, rename: {Server: X-C}}}]", nil)
		s.allocatesNothing(t)
	})
}

// allocates is how often there is an allocation for a request.
func (s *stepped) allocates() float64 {
	request, response, b := []byte(getRequest), []byte(okResponse), make([]byte, 4096)
	s.read(s.origin, b)
	exchange := func() {
		unix.Write(s.origin, response)
		s.read(s.client, b)
		unix.Write(s.client, request)
		s.read(s.origin, b)
	}
	for range 100 {
		exchange()
	}
	return testing.AllocsPerRun(2000, exchange)
}

func (s *stepped) allocatesNothing(t *testing.T) {
	t.Helper()
	if n := s.allocates(); n != 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
	passed := uint64(0)
	for _, f := range s.w.m.Filters {
		passed += f.Passed
	}
	if passed < 2000 {
		t.Errorf("%d requests passed filters", passed)
	}
}
