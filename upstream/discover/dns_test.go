package discover

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dns "github.com/miekg/dns"

	"zproxy/config"
)

// nameServer is a DNS server whose zone a test sets.
type nameServer struct {
	addr string

	mu     sync.Mutex
	zone   map[string][]string // records by name and type, as "app. A"
	rcode  int                 // of every response, if it is not 0
	soa    string
	asked  map[string]int // and by which protocol, as "udp app. A"
	dropsA bool           // AAAA is answered SERVFAIL
}

func startNames(t *testing.T) *nameServer {
	t.Helper()
	s := &nameServer{zone: map[string][]string{}, asked: map[string]int{}}
	for try := 0; ; try++ {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err != nil { // somebody else has the port
			udp.Close()
			if try == 20 {
				t.Fatal(err)
			}
			continue
		}
		s.addr = udp.LocalAddr().String()
		for _, server := range []*dns.Server{{PacketConn: udp, Handler: s}, {Listener: tcp, Handler: s}} {
			began := make(chan struct{})
			server.NotifyStartedFunc = func() { close(began) }
			go server.ActivateAndServe()
			<-began
			t.Cleanup(func() { _ = server.Shutdown() })
		}
		return s
	}
}

// be has change, which changes what the server says, seen by its next response.
func (s *nameServer) be(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *nameServer) set(records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = map[string][]string{}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		key := rr.Header().Name + " " + dns.TypeToString[rr.Header().Rrtype]
		s.zone[key] = append(s.zone[key], text)
	}
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	name, kind := q.Question[0].Name, dns.TypeToString[q.Question[0].Qtype]
	protocol := w.LocalAddr().Network()
	s.asked[protocol+" "+name+" "+kind]++
	known := false
	for key := range s.zone {
		known = known || strings.HasPrefix(key, name+" ")
	}
	for _, text := range s.zone[name+" "+kind] {
		rr, _ := dns.NewRR(text)
		m.Answer = append(m.Answer, rr)
	}
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	if s.soa != "" && len(m.Answer) == 0 {
		rr, _ := dns.NewRR(s.soa)
		m.Ns = append(m.Ns, rr)
	}
	if s.rcode != 0 || s.dropsA && kind == "AAAA" {
		m = new(dns.Msg).SetRcode(q, max(s.rcode, dns.RcodeServerFailure))
	}
	if protocol == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

// found is a list as "address weight" in order.
func found(list []Endpoint) (out []string) {
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s %d", e.Address, e.Weight))
	}
	slices.Sort(out)
	return out
}

func dnsConfig(s *nameServer, name, records string) *config.DiscoverDNS {
	c := &config.DiscoverDNS{Name: name, Records: records, Servers: []string{s.addr}, MinInterval: 10 * time.Millisecond, MaxInterval: time.Minute}
	if records != "srv" {
		c.Port = 80
	}
	return c
}

func TestNames(t *testing.T) {
	many := []string{}
	wide := []string{}
	for i := range 200 {
		many = append(many, fmt.Sprintf("app. 30 A 10.0.0.%d", i))
		wide = append(wide, fmt.Sprintf("10.0.0.%d:80 1", i))
	}
	slices.Sort(wide)
	for _, c := range []struct {
		what, records string
		zone          []string
		soa           string
		want          []string
		ttl           time.Duration
		tcp           bool
	}{
		{what: "both families", records: "address", zone: []string{"app. 30 A 10.0.0.1", "app. 20 A 10.0.0.2", "app. 40 AAAA 2001:db8::1"},
			want: []string{"10.0.0.1:80 1", "10.0.0.2:80 1", "[2001:db8::1]:80 1"}, ttl: 20 * time.Second},
		{what: "one family", records: "aaaa", zone: []string{"app. 30 A 10.0.0.1", "app. 40 AAAA 2001:db8::1"}, want: []string{"[2001:db8::1]:80 1"}, ttl: 40 * time.Second},
		{what: "a long response", records: "a", zone: many, want: wide, ttl: 30 * time.Second, tcp: true},
		{what: "no record of the type", records: "a", zone: []string{"app. 30 AAAA 2001:db8::1"}, soa: "app. 50 SOA ns. host. 1 2 3 4 7", ttl: 7 * time.Second},
		{what: "no such name", records: "a", soa: "app. 5 SOA ns. host. 1 2 3 4 70", ttl: 5 * time.Second},
		{what: "no such name, and nothing said of it", records: "a", ttl: time.Minute},
		{what: "services", records: "srv", zone: []string{"app. 30 SRV 1 10 8001 one.", "app. 30 SRV 1 0 8002 Two.", "app. 30 SRV 2 10 8003 one.",
			"one. 25 A 10.0.0.1", "one. 35 AAAA 2001:db8::1", "two. 35 A 10.0.0.2"},
			want: []string{"10.0.0.1:8001 10", "10.0.0.2:8002 1", "[2001:db8::1]:8001 10"}, ttl: 25 * time.Second},
		{what: "services of which the best have no address", records: "srv", zone: []string{"app. 30 SRV 1 10 8001 one.", "app. 30 SRV 2 5 8003 two.", "two. 35 A 10.0.0.2"},
			want: []string{"10.0.0.2:8003 5"}, ttl: 30 * time.Second},
		{what: "one address by two names", records: "srv", zone: []string{"app. 30 SRV 1 10 80 one.", "app. 30 SRV 1 5 80 two.", "one. 35 A 10.0.0.2", "two. 35 A 10.0.0.2"},
			want: []string{"10.0.0.2:80 15"}, ttl: 30 * time.Second},
		{what: "no service", records: "srv", zone: []string{"app. 30 SRV 0 0 0 ."}, ttl: 30 * time.Second},
	} {
		s := startNames(t)
		s.set(c.zone...)
		s.be(func() { s.soa = c.soa })
		list, ttl, err := newNames(dnsConfig(s, "app", c.records)).look(t.Context())
		if err == nil {
			_, err = tidied(list)
		}
		if err != nil || !slices.Equal(found(list), c.want) || ttl != c.ttl {
			t.Errorf("%s: got %v for %v, %v, expected %v for %v", c.what, found(list), ttl, err, c.want, c.ttl)
		}
		s.mu.Lock()
		if s.asked["tcp app. A"] > 0 != c.tcp {
			t.Errorf("%s: asked %v", c.what, s.asked)
		}
		s.mu.Unlock()
	}
}

// Servers are asked in turn, and the system's with its search list.
func TestNameServers(t *testing.T) {
	bad, good := startNames(t), startNames(t)
	bad.be(func() { bad.rcode = dns.RcodeRefused })
	good.set("app.example. 30 A 10.0.0.1")
	c := dnsConfig(bad, "app.example", "a")
	c.Servers = append(c.Servers, good.addr)
	list, _, err := newNames(c).look(t.Context())
	if err != nil || len(list) != 1 {
		t.Errorf("with one that refuses: got %v, %v", list, err)
	}
	c.Servers = c.Servers[:1]
	if list, _, err := newNames(c).look(t.Context()); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("with none that answers: got %v, %v", list, err)
	}
	// resolv.conf has no ports: the port of the test's server is one that is asked for there.
	host, port, _ := net.SplitHostPort(good.addr)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+host+"\nsearch other example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNames(&config.DiscoverDNS{Name: "app", Records: "a", Port: 80, MaxInterval: time.Minute})
	n.resolvConf, n.systemPort = file, port
	if list, _, err := n.look(t.Context()); err != nil || !slices.Equal(found(list), []string{"10.0.0.1:80 1"}) {
		t.Errorf("by the search list: got %v, %v", found(list), err)
	}
	n.cfg.Name = "app."
	if list, _, err := n.look(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("with a final dot: got %v, %v", found(list), err)
	}
	n.resolvConf = file + ".missing"
	if _, _, err := n.look(t.Context()); err == nil {
		t.Error("without resolv.conf it does not fail")
	}
}

// A family that cannot be asked for is missed where it has had addresses.
func TestNamesOfOneFamily(t *testing.T) {
	s := startNames(t)
	s.set("app. 30 A 10.0.0.1")
	s.be(func() { s.dropsA = true })
	n := newNames(dnsConfig(s, "app", "address"))
	if list, _, err := n.look(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("of a server that knows A alone: got %v, %v", list, err)
	}
	s.be(func() { s.dropsA = false })
	s.set("app. 30 A 10.0.0.1", "app. 30 AAAA 2001:db8::1")
	if list, _, err := n.look(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("of one that knows both: got %v, %v", list, err)
	}
	s.be(func() { s.dropsA = true })
	if list, _, err := n.look(t.Context()); err == nil {
		t.Errorf("of one that knows one no more: got %v", list)
	}
}

// A name is asked for again when its time is over, and after failures.
func TestNamesChange(t *testing.T) {
	s := startNames(t)
	s.set("app. 0 A 10.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	var sink told
	var running sync.WaitGroup
	running.Go(func() { newNames(dnsConfig(s, "app", "a")).Run(ctx, &sink) })
	defer running.Wait()
	defer cancel()
	last := func(want ...string) func() bool {
		return func() bool { return len(sink.lists) > 0 && slices.Equal(found(sink.lists[len(sink.lists)-1]), want) }
	}
	sink.await(t, "the first", last("10.0.0.1:80 1"))
	s.set("app. 0 A 10.0.0.2", "app. 0 A 10.0.0.3")
	sink.await(t, "others", last("10.0.0.2:80 1", "10.0.0.3:80 1"))
	s.mu.Lock()
	s.rcode = dns.RcodeServerFailure
	s.mu.Unlock()
	sink.await(t, "a failure", func() bool { return len(sink.errs) > 1 })
	s.mu.Lock()
	s.rcode = 0
	s.mu.Unlock()
	s.set()
	sink.await(t, "none", last())
}
