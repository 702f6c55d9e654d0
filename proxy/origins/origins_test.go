package origins

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/proto/http2"
	"zproxy/proxy/h2conn"
	"zproxy/proxy/snapshot"
	"zproxy/proxy/transport"
	"zproxy/upstream"
)

const (
	leaseOwner   = 1 << 29
	sessionOwner = 4 << 29
	streamOwner  = 5 << 29
	nobodyOwner  = 6 << 29
	ownerBits    = 1<<29 - 1
)

// rig is two loops in a simulated network, with leases and nothing else.
type rig struct {
	t     *testing.T
	world *sim.World
	loops [2]*rigLoop
	peers []*sim.Peer // at the endpoint, in the order of dials
	log   []string
}

type rigLoop struct {
	l       *transport.Transport
	h2      h2conn.Sessions
	streams h2conn.Streams
	Leases
	conns  map[uint32]loop.ConnID // by lease
	asks   map[uint32]uint32      // by waiter
	leases map[uint32]uint32      // by waiter
}

func newRig(t *testing.T, pool string) *rig {
	t.Helper()
	text := "listeners: [{address: \"127.0.0.1:8080\"}]\nroutes: [{path: \"/*\", upstream: app}]\n" +
		"upstreams: {app: {endpoints: [{address: \"10.2.0.1:80\"}], " + pool + "}}\n"
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.NewRegistry(2, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, world: sim.NewWorld(1, sim.Faults{})}
	for i := range r.loops {
		blocks := buf.NewPool(buf.NewSliceMemory(1<<20, 1<<20), 4096)
		l, err := loop.NewOn(loop.Config{Index: i, Pool: blocks}, r.world.Open)
		if err != nil {
			t.Fatal(err)
		}
		m := new(metrics.Loop)
		rl := &rigLoop{conns: map[uint32]loop.ConnID{}, asks: map[uint32]uint32{}, leases: map[uint32]uint32{}}
		rl.l = transport.New(transport.Config{Loop: l, Pool: blocks, Workers: snap.Workers, Counts: &m.TLS})
		var credit [2]*http2.Credit
		for j := range credit {
			credit[j] = http2.NewCredit(1<<20, 1<<14)
		}
		h2conn.Begin(&rl.h2, &rl.streams, h2conn.Config{
			Transport: rl.l, Pool: blocks, Metrics: m, SessionOwner: sessionOwner, StreamOwner: streamOwner, Credit: credit, High: 1 << 19,
		})
		rl.h2.Configure(h2conn.Settings{Server: &snap.HTTP2.Server, Client: &snap.HTTP2.Client, SendNs: 1e9, HeaderNs: 1e9, LingerNs: 1e9, LingerBytes: 1 << 20})
		Begin(&rl.Leases, Config{
			Transport: rl.l, Pool: blocks, Metrics: m, Sessions: &rl.h2, Streams: &rl.streams,
			Owner: leaseOwner, OwnerMask: ownerBits, Nobody: nobodyOwner, Loop: i,
		})
		rl.Leases.Configure(1, 10)
		rl.AddCluster(0, snap.Clusters[0])
		r.loops[i] = rl
	}
	return r
}

func (r *rig) serve() {
	r.world.Serve("10.2.0.1:80", func(p *sim.Peer) { r.peers = append(r.peers, p) })
}

// note writes an event down.
func (r *rig) note(i int, ev *Event) {
	rl := r.loops[i]
	name := [...]string{"", "ready", "coming", "permit", "asked", "queued", "turn", "failed", "refused", "down", "served", "leaving"}[ev.Kind]
	if ev.Kind == Served {
		return
	}
	s := strconv.Itoa(i) + " " + name
	if ev.Lease != 0 {
		s += fmt.Sprintf(" lease %d", ev.Lease)
		rl.conns[ev.Lease] = ev.Conn
	}
	if ev.Waiter != 0 {
		s += fmt.Sprintf(" for %d", ev.Waiter)
		if ev.Lease != 0 {
			rl.leases[ev.Waiter] = ev.Lease
		}
	}
	for _, f := range []struct {
		on   bool
		text string
	}{{ev.Dialed, "dialled"}, {ev.Reused, "reused"}, {ev.Stale, "stale"}, {ev.Kind == Failed, fmt.Sprint("cause ", ev.Cause)}, {ev.Full, "full"}} {
		if f.on {
			s += " " + f.text
		}
	}
	r.log = append(r.log, s)
}

func (r *rig) pull(i int) {
	rl := r.loops[i]
	for {
		if ev := rl.h2.Next(); ev != nil {
			switch ev.Kind {
			case h2conn.Connected:
				rl.Connected(ev.Session, ev.Errno)
			case h2conn.Left, h2conn.Gone:
				rl.Left(ev.Session)
			case h2conn.Room:
				rl.Room(ev.Session)
			}
		} else if ev := rl.Next(); ev != nil {
			if r.note(i, ev); ev.Kind == Turn {
				r.do(fmt.Sprintf("%d ask %d", i, ev.Waiter))
			}
		} else {
			break
		}
	}
	for m := rl.Outgoing(); m != nil; m = rl.Outgoing() {
		r.loops[m.To].l.Post(m.Mail)
	}
}

// turns lets both loops run until nothing happens any more.
func (r *rig) turns() {
	for range 30 {
		r.world.RunDue()
		for i, rl := range r.loops {
			if err := rl.l.Poll(-1); err != nil {
				r.t.Fatal(err)
			}
			for ev := rl.l.Next(); ev != nil; ev = rl.l.Next() {
				switch {
				case ev.Kind == loop.MailIn:
					rl.Mail(rl.l.Mail(ev))
				case ev.Owner&^ownerBits == sessionOwner:
					rl.h2.Event(ev.Owner&ownerBits, ev)
				case ev.Owner&^ownerBits == leaseOwner && rl.Event(ev.Owner&ownerBits, ev):
					r.log = append(r.log, fmt.Sprintf("%d %v lease %d", i, ev.Kind, ev.Owner&ownerBits))
				}
				r.pull(i)
			}
			rl.Serve()
			r.pull(i)
			rl.h2.Flush()
			r.pull(i)
			rl.FreeEnded()
			if what := rl.Broken(); what != "" {
				r.t.Errorf("loop %d: %s", i, what)
			}
		}
		if r.world.Pending() > 0 {
			r.world.Advance()
		}
	}
}

// do does what a line of a script says: a loop, a verb, and a waiter or a lease.
func (r *rig) do(line string) {
	f := strings.Fields(line)
	i, _ := strconv.Atoi(f[0])
	n := uint32(0)
	if len(f) > 2 {
		v, _ := strconv.Atoi(f[2])
		n = uint32(v)
	}
	rl := r.loops[i]
	switch f[1] {
	case "ask":
		q := upstream.Request{Waiter: n}
		ev := rl.Quick(0, &q, new(From))
		if ev == nil {
			ev = rl.Ask(0, &q, new(From))
		}
		rl.asks[n] = ev.Ask
		r.note(i, ev)
	case "stream":
		ev := rl.Stream(0, 0, Wish{})
		if ev == nil {
			ev = rl.Await(0, 0, Wish{}, upstream.Client{})
		}
		r.note(i, ev)
	case "return":
		rl.Return(n, rl.conns[n])
	case "release":
		rl.Release(n, rl.conns[n])
	case "close":
		rl.Close(n, rl.conns[n])
	case "end":
		rl.EndStream(n, http2.ErrCancel)
	case "permit":
		rl.ReturnPermit(0, 0)
	case "forget":
		rl.Forget(rl.asks[n])
	case "drain":
		rl.Drain(true)
	case "gone": // the endpoint closes a connection
		r.peers[n].Close()
	case "says": // or says something that nobody has asked for
		r.peers[n].Write([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n"))
	case "turns":
		r.turns()
	default:
		r.t.Fatalf("%q", line)
	}
}

// Which events come of what is asked, in order (who has its turn asks again); at the end, how many leases each loop has,
// and how many connections are counted.
func TestLeases(t *testing.T) {
	const one, spare = "pool: {prewarm: 0, max_connections: 1}", "pool: {prewarm: 0, max_connections: 2}"
	for _, c := range []struct {
		name, pool, script, want string
		down                     bool // nobody listens
		leases                   [2]int
		open                     int
	}{
		{name: "dialled, and used again", pool: one, script: "0 ask 1; 0 turns; 0 return 1; 0 ask 2; 0 return 1; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 0 ready lease 1 reused stale", leases: [2]int{1, 0}, open: 1},
		{name: "given back while it is dialled", pool: one, script: "0 ask 1; 0 release 1; 0 turns; 0 ask 2",
			want: "0 coming lease 1; 0 ready lease 1 reused", leases: [2]int{1, 0}, open: 1},
		{name: "refused", pool: one, down: true, script: "0 ask 1; 0 turns",
			want: "0 coming lease 1; 0 failed lease 1 cause 3"},
		{name: "refused, and not wanted any more", pool: one, down: true, script: "0 ask 1; 0 release 1; 0 turns",
			want: "0 coming lease 1"},
		{name: "turns in order", pool: one, script: "0 ask 1; 0 turns; 0 ask 2; 0 ask 3; 0 turns; 0 return 1; 0 turns; 0 return 1; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 0 queued; 0 queued; 0 turn for 2; 0 ready lease 1 reused stale; 0 turn for 3; 0 ready lease 1 reused stale", leases: [2]int{1, 0}, open: 1},
		{name: "closed connections make room", pool: one, script: "0 ask 1; 0 turns; 0 ask 2; 0 close 1; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 0 queued; 0 turn for 2; 0 coming lease 1; 0 ready lease 1 dialled", leases: [2]int{1, 0}, open: 1},
		{name: "an idle one that its endpoint closes", pool: one, script: "0 ask 1; 0 turns; 0 return 1; 0 gone 0; 0 turns; 0 ask 2",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 0 coming lease 1", leases: [2]int{1, 0}, open: 1},
		{name: "an idle one that is spoken on", pool: one, script: "0 ask 1; 0 turns; 0 return 1; 0 says 0; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled"},
		{name: "what happens to one that is held is told its holder", pool: one, script: "0 ask 1; 0 turns; 0 says 0; 0 gone 0; 0 turns; 0 close 1; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 0 Received lease 1; 0 RecvEnd lease 1"},
		{name: "none is kept at the end", pool: one, script: "0 ask 1; 0 turns; 0 drain; 0 return 1; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled"},
		{name: "another loop's", pool: one, script: "0 ask 1; 0 turns; 0 return 1; 0 turns; 1 ask 7; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 1 asked; 0 leaving; 1 ready lease 1 for 7 reused stale", leases: [2]int{0, 1}, open: 1},
		{name: "another loop's, for nobody any more", pool: one, script: "0 ask 1; 0 turns; 0 return 1; 0 turns; 1 ask 7; 1 forget 7; 0 turns; 1 ask 8",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 1 asked; 0 leaving; 1 ready lease 1 reused stale", leases: [2]int{0, 1}, open: 1},
		{name: "another loop has none after all", pool: one, script: "0 ask 1; 0 turns; 0 return 1; 0 turns; 1 ask 7; 0 gone 0; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 1 asked; 1 turn for 7; 1 coming lease 1; 1 ready lease 1 dialled", leases: [2]int{0, 1}, open: 1},
		{name: "what comes free is for who waits elsewhere", pool: one, script: "0 ask 1; 0 turns; 1 ask 7; 1 turns; 0 return 1; 0 turns",
			want: "0 coming lease 1; 0 ready lease 1 dialled; 1 queued; 0 leaving; 1 turn for 7; 1 ready lease 1 reused stale", leases: [2]int{0, 1}, open: 1},
		{name: "streams nobody can be connected for", pool: "protocol: h2c, " + spare, down: true, script: "0 ask 1; 0 stream; 0 ask 2; 0 stream; 0 turns",
			want: "0 permit; 0 coming lease 1; 0 permit; 0 coming lease 2; 0 failed lease 1 cause 3; 0 failed lease 2 cause 3"},
		{name: "a stream given back before there is a connection", pool: "protocol: h2c, " + spare, down: true, script: "0 ask 1; 0 stream; 0 end 1; 0 turns",
			want: "0 permit; 0 coming lease 1"},
		{name: "a permit is not used", pool: "protocol: h2c, " + one, script: "0 ask 1; 0 permit; 0 ask 2",
			want: "0 permit; 0 permit", open: 1},
		{name: "a permit of another loop's", pool: "protocol: h2c, " + one, script: "0 ask 1; 0 permit; 1 ask 7; 0 turns",
			want: "0 permit; 1 asked; 1 permit for 7", open: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.pool)
			if !c.down {
				r.serve()
			}
			for _, line := range strings.Split(c.script, "; ") {
				r.do(line)
			}
			if got := strings.Join(r.log, "; "); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.script, got, c.want)
			}
			if got := [2]int{r.loops[0].Len(), r.loops[1].Len()}; got != c.leases {
				t.Errorf("%v leases are left, want %v", got, c.leases)
			}
			if n := r.loops[0].clusters[0].Shared.Endpoints()[0].Open(); n != c.open {
				t.Errorf("%d connections are counted, want %d", n, c.open)
			}
		})
	}
}

// An answer to an ask that was given up is not taken for one to the next ask in its entry,
// which may be for something else.
func TestAnswerToAnEarlierAsk(t *testing.T) {
	ls := new(Leases)
	Begin(ls, Config{})
	i, a := ls.asks.Alloc()
	a.waiter, a.cluster, a.number = 9, 3, 7
	if got := ls.answered(asked(3, i, 6)); got != 0 {
		t.Error("an answer to an earlier ask finds who waits")
	}
	if got := ls.answered(asked(4, i, 7)); got != 0 { // all numbers have been used since
		t.Error("who waits gets a connection of another cluster than it asked for")
	}
	if got := ls.answered(asked(3, i, 7)); got != 9 {
		t.Error("the answer does not find who waits")
	}
	if got := ls.answered(asked(3, i, 7)); got != 0 {
		t.Error("an ask is answered twice")
	}
	if cluster, j, n := askedOf(asked(3, i, 7)); cluster != 3 || j != i || n != 7 {
		t.Errorf("%d, %d, %d", cluster, j, n)
	}
}
