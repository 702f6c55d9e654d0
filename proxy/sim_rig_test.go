package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/internal/simnet"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/metrics/accesslog"
	"zproxy/proxy/memory"
	"zproxy/proxy/snapshot"
)

// simulation is one run of real workers in a simulated world; all of it
// follows from the seed.
type simulation struct {
	seed    uint64
	rng     *rand.Rand // of the set-up; the world has its own
	world   *sim.World
	run     *simnet.Run
	workers []*simWorker
	snap    *snapshot.Snapshot
	log     *accesslog.Logger
	logPath string
	calm    bool
	text    string // the configuration
	subset  simSubset
	early   bool // it is shut down while there are clients
	high    int  // mark above which a leg is paused, 0: the usual one
	prewarm int
	conns   int     // to one endpoint, at most
	h2c     bool    // is what the origins speak, or h2 where they speak TLS
	blind   bool    // WebSockets are tunnels like others
	tls     [2]bool // is spoken by clients, by origins
	turns   int
	swaps   swaps
	holds   int // of requests, see simDelay
	failed  []string
}

type simWorker struct {
	*Worker
	pool    *buf.Pool
	metrics *metrics.Loop
	blocks  int
}

var simListen = netip.MustParseAddrPort("10.0.0.1:80")

// newSimulation sets the scene. dir is for the access log.
func newSimulation(seed uint64, dir string, swaps int) (*simulation, error) {
	s := &simulation{seed: seed, rng: rand.New(rand.NewPCG(seed, 0xca1))}
	s.calm = s.rng.IntN(4) == 0
	s.h2c = s.rng.IntN(3) == 0
	s.blind = s.rng.IntN(8) == 0
	s.tls = [2]bool{s.rng.IntN(3) == 0, s.rng.IntN(3) == 0}
	s.world = sim.NewWorld(seed, s.faults())
	s.run = simnet.NewRun(s.world, s.traits())
	if *simTrace && *simSeed != 0 {
		s.run.Trace = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	s.logPath = filepath.Join(dir, fmt.Sprintf("%d.log", seed))
	var err error
	s.log, err = accesslog.Open(accesslog.Options{Path: s.logPath, BufferBytes: 512 << 10, Flush: 1 << 60, Loops: 3})
	if err != nil {
		return nil, err
	}
	s.high = []int{0, 1000, 5000, 20_000, 60_000}[s.rng.IntN(5)]
	if s.run.Traits.Body == simBigBody {
		s.high = 1000 << s.rng.IntN(5)
	}
	loops := max(1, s.rng.IntN(5)-1)
	addrs := s.origins()
	s.text = s.filtered(s.config(addrs, loops))
	cfg, err := config.Parse("sim.yaml", []byte(s.text))
	if err != nil {
		return nil, err
	}
	if s.tls[fromClient] {
		cfg.Listeners[0].TLS.Certificates[0] = simCertificate()
	}
	s.swaps.most, s.swaps.registry = swaps, snapshot.NewRegistry(loops, nil)
	if s.snap, err = s.swaps.registry.Compile(cfg); err != nil {
		return nil, err
	}
	standIn(s.world, cfg, s.snap)
	s.delaying(s.snap)
	if err := s.swapping(loops); err != nil {
		return nil, err
	}
	return s, s.start(loops)
}

func (s *simulation) pick(n int) int {
	if n <= 0 {
		return 0
	}
	return s.rng.IntN(n)
}

// some is a chance in percent that is often none at all.
func (s *simulation) some(limit int) int {
	if s.rng.IntN(3) == 0 {
		return 0
	}
	return 1 + s.rng.IntN(limit)
}

func (s *simulation) faults() sim.Faults {
	f := sim.Faults{ShortIO: s.some(80), Late: s.some(50), Overshoot: s.some(100), Offset: s.some(50), LoseOnReset: 50}
	if s.seed%3 == 0 {
		f.Freeze = 1 + int(s.seed/3%5)
	}
	if s.calm {
		return f
	}
	f.NoBlock, f.RefuseDial, f.SilentDial = s.some(20), s.some(20)/4, s.some(20)/8
	if s.rng.IntN(4) == 0 {
		f.Jump = s.some(10)
	}
	return f
}

func (s *simulation) traits() simnet.Traits {
	t := simnet.Traits{
		Calm: s.calm, Clients: 1 + s.pick(24), Requests: 1 + s.pick(40),
		Body: 1 << (4 + s.pick(14)), Pipeline: s.some(60), BigHeads: s.some(5),
		Overlong: s.some(5), HangUp: s.some(10), Upgrade: s.some(10), Socket: 50,
	}
	if s.pick(6) == 0 {
		t.Upgrade = 70
	}
	t.Decline = s.some(20)
	if s.h2c {
		t.Socket = 100 // there are no other tunnels
		if s.pick(8) == 0 {
			t.NoConnect = 100
		}
	}
	if s.rng.IntN(2) == 0 {
		t.H2 = []int{100, 100, 1 + s.pick(99)}[s.pick(3)]
	}
	t.NoInterim = s.pick(4) == 0
	s.proxyHeaders(&t)
	t.SecureClients, t.SecureOrigins = s.tls[fromClient], s.tls[fromOrigin]
	t.Streams, t.Settings, t.TinyWindows, t.Tables = 1+s.pick(30), s.some(60), s.some(20), s.some(60)
	if s.calm {
		return t
	}
	t.Abandon, t.Refuse, t.GoAway = s.some(20), s.some(10), s.some(30)
	t.Leave, t.Cut, t.Early, t.IdleClose = s.some(20), s.some(10), s.some(20), s.some(50)
	t.Stop, t.Slow = s.some(6), s.some(15)
	t.Silent, t.Stall = s.some(30), s.some(10)
	if s.pick(8) == 0 { // bodies that by far exceed all marks and what is on its way
		t.Clients, t.Requests, t.Body, t.Large, t.Slow = 1+s.pick(6), 1+s.pick(10), simBigBody, 40, s.some(80)
	}
	if t.Wrong = s.some(60); s.blind {
		t.Wrong = 0
	}
	if s.h2c && t.NoConnect == 0 {
		t.NoConnect = s.some(20)
	}
	return t
}

// origins are addresses; at some of them nobody may be at home.
func (s *simulation) origins() []string {
	var all, home []string
	for i := range 1 + s.pick(4) {
		addr := fmt.Sprintf("10.2.0.%d:8080", i+1)
		all = append(all, addr)
		if s.calm || s.pick(8) != 0 {
			home = append(home, addr)
		}
	}
	s.run.Origins(home, s.h2c)
	return all
}

func (s *simulation) config(addrs []string, loops int) string {
	var endpoints []string
	for i, a := range addrs {
		endpoints = append(endpoints, fmt.Sprintf("{address: %q, weight: %d, labels: {half: %s}}", a, 1+s.pick(3), []string{"odd", "even"}[i%2]))
	}
	balance := s.balance([]string{"round_robin", "least_conn", "p2c"}[s.pick(3)])
	s.conns = 1 + s.pick(30)
	if s.h2c {
		s.conns += loops // which do not hand such connections to each other
	}
	queue, retries := 1000, s.retries(s.pick(3))
	if !s.calm {
		queue = s.pick(30)
	}
	idle := s.pick(s.conns + 1)
	if s.pick(3) == 0 {
		s.prewarm = s.pick(min(idle, 4) + 1)
	}
	if s.run.Traits.SendProxy > 0 {
		s.prewarm = 0 // config wants it so
	}
	perConn := 0
	if s.pick(4) == 0 && !s.calm {
		perConn = 1 + s.pick(5)
	}
	standby, target := s.standby(strings.Join(endpoints, ", "))
	target = s.subset.of(s, target, len(addrs))
	return fmt.Sprintf(`
listeners: [{address: "%v", protocols: [%s]%s%s}]
upstreams:
  app:
    protocol: %s
    endpoints: [%s]
    balance: %s
    pool: {max_connections: %d, max_idle: %d, prewarm: %d, queue: %d, queue_timeout: %s, idle_timeout: 4s}
    timeouts: {connect: 2s, response: 6s, idle: 6s, continue: %s}
    %s
%sroutes: [{path: "/r/:id", %s, interim: %s, websocket: {%s}}]
limits: {half_close: %s, request_header_timeout: 5s, keepalive_timeout: 8s, request_body_timeout: 6s, send_timeout: 6s, requests_per_connection: %d}
forwarding: {x_forwarded: %v, forwarded: %v}
shutdown: {grace: 5s}
%s`, simListen, s.protocols(), s.listenerTLS(), s.proxyProtocol(), s.protocol(), strings.Join(endpoints, ", "), balance, s.conns, idle, s.prewarm, queue, []string{"600s", "1s"}[bit(!s.calm)],
		[]string{"1ms", "20ms", "1s"}[s.pick(3)], retries, standby, target, []string{"pass", "drop"}[bit(s.run.Traits.NoInterim)], s.websocket(), []string{"serve", "end"}[s.pick(2)], perConn, s.pick(2) == 0, s.pick(2) == 0, s.http2())
}

// retries says when requests are tried again: in detail, or so many times.
func (s *simulation) retries(times int) string {
	rng := rand.New(rand.NewPCG(s.seed, 0x4e7))
	if rng.IntN(2) == 0 || s.calm { // where nothing is given up
		return fmt.Sprintf("retries: %d", times)
	}
	return fmt.Sprintf("retry: {attempts: %d, on: [%s], per_try_timeout: %s, methods: %s, budget: {percent: %d, min: %d}}", 1+rng.IntN(4),
		[]string{"connect, reset, timeout, 400-599", "timeout, 404", "connect, timeout, reset"}[rng.IntN(3)], []string{"0", "1s", "4s"}[rng.IntN(3)],
		[]string{"safe", "idempotent"}[rng.IntN(2)], 10*rng.IntN(11), rng.IntN(4))
}

// standby is another upstream of the same endpoints, in some runs, and target where the route
// sends to.
func (s *simulation) standby(endpoints string) (upstream, target string) {
	rng := rand.New(rand.NewPCG(s.seed, 0x5b))
	if s.calm || rng.IntN(3) != 0 {
		return "", "upstream: app"
	}
	upstream = fmt.Sprintf("  standby:\n    protocol: %s\n    endpoints: [%s]\n    pool: {max_connections: %d, max_requests: %d, queue: %d, queue_timeout: 1s, idle_timeout: 3s}\n    timeouts: {connect: 2s, response: 6s, idle: 6s}\n",
		s.protocol(), endpoints, 4+rng.IntN(20), rng.IntN(30), rng.IntN(20))
	return upstream, []string{"upstream: app, fallback: standby", "split: [{upstream: app, weight: 2}, {upstream: standby, weight: 1}], fallback: app"}[rng.IntN(2)]
}

// websocket is that section of the route.
func (s *simulation) websocket() string {
	if s.blind {
		return "mode: tunnel"
	}
	intervals := []string{"", "ping_interval: 20ms", "ping_interval: 3ms"}
	switch {
	case s.calm && (s.h2c || s.run.Traits.H2 > 0): // answers wait behind what other streams have to say
		intervals = []string{"", "ping_interval: 1s"}
	case s.calm:
		intervals = intervals[:2]
	}
	return intervals[s.pick(len(intervals))]
}

// protocols are those of the listener.
func (s *simulation) protocols() string {
	switch {
	case s.run.Traits.H2 == 0:
		return "http1"
	case s.run.Traits.H2 == 100 && s.pick(2) == 0:
		return s.h2()
	}
	return "http1, " + s.h2()
}

// http2 is that section of the configuration. Faults come as thick as no limit
// on abuse would stand.
func (s *simulation) http2() string {
	return fmt.Sprintf("http2: {max_streams: %d, stream_window: %dKiB, connection_window: %dKiB, header_table: %d, upstream_streams: %d, upstream_connections: %d, idle_timeout: 8s, abuse_score: 1048576}\n",
		1+s.pick(100), 16<<s.pick(5), 256<<s.pick(7), s.pick(8192), 1+s.pick(100), 1+s.pick(4))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *simulation) start(loops int) error {
	block := 4096 << s.pick(3)
	if s.secured() {
		block = 16 << 10 // config wants no less
	}
	if s.run.Traits.Body == simBigBody && !s.secured() {
		block = 4096 // little is on its way then, and a mark that is not kept is seen
	}
	blocks := simBlocks
	if !s.calm {
		blocks = []int{12, 24, 40, 100, 400, simBlocks}[s.pick(6)]
	}
	peers := make([]*Neighbour, loops)
	for i := range loops {
		pool := buf.NewPool(&simMemory{bytes: simBytes[i][:blocks*block], step: max(blocks/4, 1) * block}, block)
		l, err := loop.NewOn(loop.Config{Index: i, Pool: pool, MaxConns: s.maxConns(), MaxSlots: s.maxSlots(), Reserve: memory.Reserve(blocks)}, s.world.Open)
		if err != nil {
			return err
		}
		peers[i] = &Neighbour{Loop: l}
		m := new(metrics.Loop)
		s.workers = append(s.workers, &simWorker{pool: pool, metrics: m, blocks: blocks})
		s.workers[i].Worker = NewWorker(Config{
			Loop: l, Pool: pool, Snapshot: s.snap, Metrics: m, MaxBlocks: blocks,
			Log: s.log.NewBuffer(&m.AccessLogDropped),
		}, peers)
		s.workers[i].memory.spliceMin = []int64{1, 1000, spliceMin}[s.pick(3)]
		s.workers[i].Listen(s.world.Listen(simListen), 0)
	}
	for _, w := range s.workers {
		if !w.begin() {
			return errNoTimer
		}
	}
	s.run.Clients(simListen)
	if s.early = !s.calm && s.pick(6) == 0; s.early {
		s.run.Traits.Refused = true
		s.world.After(int64(s.pick(2e9)), s.drain)
	}
	return nil
}

// simMemory is memory that is used by one run after the other: clearing new
// memory would take longer than most runs.
type simMemory struct {
	bytes           []byte
	step, committed int
}

var simBytes = [3][]byte{make([]byte, simBlocks*16384), make([]byte, simBlocks*16384), make([]byte, simBlocks*16384)}

const simBlocks = 2048

// simBigBody is far more than any leg may hold.
const simBigBody = 1 << 20

func (m *simMemory) Bytes() []byte  { return m.bytes }
func (m *simMemory) Committed() int { return m.committed }

func (m *simMemory) Grow() bool {
	n := min(m.step, len(m.bytes)-m.committed)
	m.committed += n
	return n > 0
}

func (m *simMemory) Shrink() bool {
	n := m.committed % m.step
	if n == 0 {
		n = min(m.step, m.committed)
	}
	m.committed -= n
	return n > 0
}

func (s *simulation) maxConns() int {
	if s.calm || s.pick(3) != 0 {
		return 0
	}
	return 1 + s.pick(20)
}

// maxSlots are so few, now and then, that dials and adoptions find none.
func (s *simulation) maxSlots() int {
	if s.calm || s.pick(8) != 0 {
		return 0
	}
	return 2 + s.pick(30)
}

func (s *simulation) fail(format string, args ...any) {
	if len(s.failed) < 10 {
		s.failed = append(s.failed, fmt.Sprintf(format, args...))
	}
}

// Bounds of a run: beyond them something goes round in circles, or hangs.
const (
	simMaxTurns = 3_000_000
	simPatience = int64(2000e9) // until every client is done
	simRest     = int64(60e9)   // and until everything is back
)

// simulate runs one seed to its end and gives what was wrong.
func simulate(seed uint64, dir string) (*simulation, error) { return simulateSwaps(seed, dir, 0) }

// simulateSwaps is simulate with so many changes of the configuration, at most.
func simulateSwaps(seed uint64, dir string, swaps int) (s *simulation, err error) {
	if s, err = newSimulation(seed, dir, swaps); err == nil {
		s.playOut()
	}
	return s, err
}

func (s *simulation) play() {
	if !s.until(simPatience, s.run.Done) {
		s.fail("%d clients are still waiting after %v s:%s", s.run.Waiting(), simPatience/1e9, s.held())
	}
	if s.broken() {
		return
	}
	if !s.early {
		s.rest()
	}
	if !s.broken() && !s.until(simPatience, s.drained) {
		s.fail("a worker does not drain")
		return
	}
	if n := s.world.OpenSockets(); n != 0 && !s.broken() {
		s.fail("%d sockets are open at the end", n)
	}
}

// rest lets all that has a timeout run into it, looks at what is left, and
// shuts down.
func (s *simulation) rest() {
	s.world.Faults = sim.Faults{}
	s.run.Traits.IdleClose = 0
	end := s.world.Now() + simRest
	if !s.until(2*simRest, func() bool { return s.world.Now() > end }) {
		s.fail("time does not pass")
		return
	}
	if s.broken() {
		return
	}
	s.checkRest()
	s.drain()
}

func (s *simulation) drain() {
	for _, w := range s.workers {
		AskDrain(w.l.Loop)
	}
}

// end takes a worker that has drained out of the world.
func (s *simulation) end(w *simWorker) {
	w.journal.Close()
	if err := w.l.Destroy(); err != nil {
		s.fail("Destroy: %v", err)
	}
	if n := w.pool.InUse(); n != 0 {
		s.fail("%d blocks are in use after Destroy", n)
	}
}

// broken says that the run has shown what is wrong and needs no end.
func (s *simulation) broken() bool { return len(s.failed)+len(s.run.Violations) > 0 }

func (s *simulation) drained() bool {
	for _, w := range s.workers {
		if !w.drain.done {
			return false
		}
	}
	return true
}

// until turns the world until done says so; false: time or turns are up.
func (s *simulation) until(ns int64, done func() bool) bool {
	end := s.world.Now() + ns
	for {
		s.world.RunDue()
		first := s.world.Rand().IntN(len(s.workers))
		for i := range s.workers {
			w := s.workers[(first+i)%len(s.workers)]
			if w.drain.done {
				continue
			}
			if err := s.turn(w); err != nil {
				s.fail("Poll: %v", err)
				return false
			}
			if w.drain.done {
				s.end(w)
				continue
			}
			if s.turns%8 == 0 || *simSeed != 0 {
				s.checkWorker(w)
			}
		}
		if s.turns%8 == 0 || *simSeed != 0 {
			s.checkPermits()
		}
		if s.turns++; s.turns > simMaxTurns {
			s.fail("%d turns: the loop goes round in circles", s.turns)
			return false
		}
		if s.broken() || done() {
			return true
		}
		if s.world.Busy() {
			continue
		}
		if !s.world.Advance() || s.world.Now() > end {
			return false
		}
	}
}

// turn is Worker.turn with lower marks, which small bodies reach, and for one
// who watches.
func (s *simulation) turn(w *simWorker) error {
	if err := w.poll(-1); err != nil {
		return err
	}
	if s.high != 0 {
		w.memory.High, w.memory.Low = min(w.memory.High, s.high), min(w.memory.Low, s.high/4)
		w.h2.SetMarks(w.memory.High, w.memory.Pressure)
	}
	for ev := w.l.Next(); ev != nil; ev = w.l.Next() {
		if s.run.Trace != nil {
			fmt.Printf("%12d loop %d, %v: %v, %s, %d bytes, errno %d\n", w.l.Now(), w.index, w.l.Peer(ev.Conn), ev.Kind, w.owner(ev), ev.N, int(ev.Errno))
		}
		w.handle(ev)
	}
	w.endTurn()
	return nil
}

// owner says whom an event is for.
func (w *simWorker) owner(ev *loop.Event) string {
	i := ev.Owner & ownerMask
	switch ev.Owner >> ownerShift {
	case ownerClient:
		c := w.clients.At(i)
		return fmt.Sprintf("client %d in state %d, exchange %d", i, c.state, c.x)
	case ownerOrigin:
		if !w.leases.IsHeld(i) {
			return fmt.Sprintf("lease %d", i)
		}
		o := w.origins.At(i)
		return fmt.Sprintf("origin %d in state %d, exchange %d", i, o.state, o.x)
	case ownerSession:
		se := w.h2.At(i)
		return fmt.Sprintf("session %d, %d streams", i, se.H2.Active())
	}
	return "nobody"
}

// replay is how to see the run again.
func (s *simulation) replay() string {
	return fmt.Sprintf("go test ./proxy -run 'TestSim$' -sim.seed=%d", s.seed)
}

func (s *simulation) report(t *testing.T) {
	t.Helper()
	t.Errorf("seed %d:\n  %s\nconfiguration:%s\nreplay: %s", s.seed, strings.Join(s.failed, "\n  "), s.text, s.replay())
}

// held describes who still waits for what.
func (s *simulation) held() string {
	var b strings.Builder
	for n, w := range s.workers {
		for i := uint32(1); i <= uint32(w.clients.Cap()); i++ {
			if !w.clients.Live(i) {
				continue
			}
			c := w.clients.At(i)
			fmt.Fprintf(&b, "\n  loop %d client %d %v: state %d flags %b in %d queued %d", n, i, w.legs.peer(c), c.state, c.flags, c.in.Bytes(), w.legs.queued(&c.leg))
			if c.x == 0 {
				continue
			}
			x := w.xs.At(c.x)
			fmt.Fprintf(&b, "; exchange %d: state %d flags %b backlog %d, body in %d out %d", c.x, x.state, x.flags, x.backlog.Bytes(), x.reqBytes, x.respBytes)
			if x.origin != 0 {
				o := w.origins.At(x.origin)
				fmt.Fprintf(&b, "; origin %d: state %d flags %b in %d queued %d", x.origin, o.state, o.flags, o.in.Bytes(), w.legs.queued(&o.leg))
			}
		}
	}
	return b.String()
}
