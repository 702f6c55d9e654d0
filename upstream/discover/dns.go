package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	dns "github.com/miekg/dns"

	"zproxy/config"
)

const (
	resolvConf = "/etc/resolv.conf"
	// dnsTimeout is for one question to one server, dnsAttempts how often each is asked.
	dnsTimeout  = 2 * time.Second
	dnsAttempts = 2
	// dnsPayload is how long a response over UDP may be: what passes without fragments. A longer one is
	// asked for over TCP.
	dnsPayload = 1232
)

// names asks name servers, and asks again when the answer is no good any more.
type names struct {
	cfg        *config.DiscoverDNS
	resolvConf string
	systemPort string // of the servers there
	port       uint16
	had        map[uint16]bool // types of addresses that there have been
}

func newNames(c *config.DiscoverDNS) *names {
	return &names{cfg: c, resolvConf: resolvConf, systemPort: "53", port: uint16(c.Port), had: map[uint16]bool{}}
}

func (n *names) Run(ctx context.Context, to Sink) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		list, ttl, err := n.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			to.Found(list)
		} else {
			to.Failed(err)
			ttl = n.cfg.MinInterval << min(failures, 16)
			failures++
		}
		ttl = min(max(ttl, n.cfg.MinInterval), n.cfg.MaxInterval)
		timer.Reset(ttl + rand.N(ttl/20+1)) // so that many proxies do not ask together
	}
}

// lookup is one round of questions.
type lookup struct {
	ctx     context.Context
	servers []string
	udp     dns.Client
	tcp     dns.Client
	ttl     time.Duration // of all answers the least
}

// look gives the endpoints that there are now, and for how long that holds.
func (n *names) look(ctx context.Context) ([]Endpoint, time.Duration, error) {
	l := &lookup{ctx: ctx, servers: n.cfg.Servers, ttl: n.cfg.MaxInterval}
	l.udp = dns.Client{Net: "udp", Timeout: dnsTimeout, UDPSize: dnsPayload}
	l.tcp = dns.Client{Net: "tcp", Timeout: dnsTimeout}
	candidates := []string{dns.Fqdn(n.cfg.Name)}
	if len(l.servers) == 0 {
		system, err := dns.ClientConfigFromFile(n.resolvConf)
		if err != nil {
			return nil, 0, err
		}
		for _, s := range system.Servers {
			l.servers = append(l.servers, joinPort(s, n.systemPort))
		}
		candidates = system.NameList(n.cfg.Name)
	}
	if len(l.servers) == 0 {
		return nil, 0, fmt.Errorf("%s names no server", n.resolvConf)
	}
	var list []Endpoint
	for _, name := range candidates {
		var err error
		if n.cfg.Records == "srv" {
			list, err = n.services(l, name)
		} else {
			list, err = n.hosts(l, name)
		}
		if err != nil {
			return nil, 0, err
		}
		if len(list) > 0 {
			break
		}
	}
	return list, l.ttl, nil
}

func joinPort(server, port string) string {
	if at, err := netip.ParseAddr(server); err == nil && at.Is6() {
		return "[" + server + "]:" + port
	}
	return server + ":" + port
}

// hosts are the addresses of name.
func (n *names) hosts(l *lookup, name string) (list []Endpoint, err error) {
	addrs, err := n.addresses(l, name)
	for _, at := range addrs {
		list = append(list, Endpoint{Address: netip.AddrPortFrom(at, n.port).String(), Weight: 1})
	}
	return list, err
}

// addresses are those of name, of both families unless one is asked for. That one family cannot be
// asked for is no failure where it has never had any, and the other one has: some servers know A alone.
func (n *names) addresses(l *lookup, name string) (addrs []netip.Addr, err error) {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	switch n.cfg.Records {
	case "a":
		types = types[:1]
	case "aaaa":
		types = types[1:]
	}
	var failed error
	for _, kind := range types {
		answer, err := l.ask(name, kind)
		if err != nil {
			if failed = err; n.had[kind] {
				return nil, err
			}
			continue
		}
		for _, rr := range answer.Answer {
			var at netip.Addr
			switch r := rr.(type) {
			case *dns.A:
				at, _ = netip.AddrFromSlice(r.A)
			case *dns.AAAA:
				at, _ = netip.AddrFromSlice(r.AAAA)
			}
			if at = at.Unmap(); at.IsValid() && !slices.Contains(addrs, at) {
				addrs, n.had[kind] = append(addrs, at), true
			}
		}
	}
	if len(addrs) == 0 && failed != nil {
		return nil, failed
	}
	return addrs, nil
}

// services are the targets of name's SRV records (RFC 2782) that have the best priority.
func (n *names) services(l *lookup, name string) (list []Endpoint, err error) {
	answer, err := l.ask(name, dns.TypeSRV)
	if err != nil {
		return nil, err
	}
	var records []*dns.SRV
	for _, rr := range answer.Answer {
		if r, ok := rr.(*dns.SRV); ok && r.Target != "." { // which says that there is no such service
			records = append(records, r)
		}
	}
	slices.SortStableFunc(records, func(a, b *dns.SRV) int { return cmp.Compare(a.Priority, b.Priority) })
	known := map[string][]netip.Addr{}
	at := map[string]int{} // in list
	for _, r := range records {
		if r.Priority != records[0].Priority && len(list) > 0 {
			break
		}
		target := strings.ToLower(r.Target)
		addrs, ok := known[target]
		if !ok {
			if addrs, err = n.addresses(l, target); err != nil {
				return nil, fmt.Errorf("target %s: %w", r.Target, err)
			}
			known[target] = addrs
		}
		for _, addr := range addrs {
			e := Endpoint{Address: netip.AddrPortFrom(addr, r.Port).String(), Weight: max(1, int(r.Weight)), Labels: map[string]string{"target": target}}
			if r.Port == 0 {
				continue // nothing can be connected to there
			}
			if i, twice := at[e.Address]; twice {
				list[i].Weight += e.Weight
				continue
			}
			at[e.Address] = len(list)
			list = append(list, e)
		}
	}
	return list, nil
}

// ask asks the servers in turn until one answers. That a name, or a type of it, is not there is an
// answer (RFC 2308).
func (l *lookup) ask(name string, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	q.SetEdns0(dnsPayload, false)
	var failed error
	for range dnsAttempts {
		for _, server := range l.servers {
			answer, err := l.exchange(q, server)
			if err == nil {
				l.holds(answer)
				return answer, nil
			}
			if l.ctx.Err() != nil {
				return nil, l.ctx.Err()
			}
			failed = fmt.Errorf("%s %s from %s: %w", name, dns.TypeToString[kind], server, err)
		}
	}
	return nil, failed
}

func (l *lookup) exchange(q *dns.Msg, server string) (*dns.Msg, error) {
	q.Id = dns.Id()
	answer, _, err := l.udp.ExchangeContext(l.ctx, q, server)
	if err == nil && answer.Truncated {
		answer, _, err = l.tcp.ExchangeContext(l.ctx, q, server)
	}
	if err == nil && answer.Rcode == dns.RcodeFormatError && q.IsEdns0() != nil { // a server from before EDNS
		plain := q.Copy()
		plain.Extra = nil
		return l.exchange(plain, server)
	}
	switch {
	case err != nil:
		return nil, err
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return nil, errors.New(cmp.Or(dns.RcodeToString[answer.Rcode], "status "+strconv.Itoa(answer.Rcode)))
	case answer.Truncated:
		return nil, errors.New("the response is truncated over TCP as well")
	case len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, q.Question[0].Name) || answer.Question[0].Qtype != q.Question[0].Qtype:
		return nil, errors.New("the response is to another question")
	}
	return answer, nil
}

// holds notes for how long an answer does. One without records does as long as the zone says that such answers do
// (RFC 2308 section 5).
func (l *lookup) holds(answer *dns.Msg) {
	for _, rr := range answer.Answer {
		l.ttl = min(l.ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	if len(answer.Answer) > 0 {
		return
	}
	for _, rr := range answer.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			l.ttl = min(l.ttl, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
}
