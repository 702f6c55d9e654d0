package proxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/internal/simnet"
	"zproxy/loop"
	"zproxy/loop/sim"
	"zproxy/metrics"
	"zproxy/proxy/memory"
	"zproxy/proxy/snapshot"
)

// holdersRun is a worker with a small pool between peers of simnet.Holders.
type holdersRun struct {
	*simnet.Holders
	w     *Worker
	pool  *buf.Pool
	m     *metrics.Loop
	rng   *rand.Rand
	error error
}

const holdersConfig = `
listeners: [{address: "%v", protocols: [http1, h2c]}]
upstreams:
  deaf1: {endpoints: [{address: "%s"}], pool: {prewarm: 0}}
  deaf2: {protocol: h2c, endpoints: [{address: "%s"}], pool: {prewarm: 0}}
  echo1: {endpoints: [{address: "%s"}], pool: {prewarm: 0}}
  echo2: {protocol: h2c, endpoints: [{address: "%s"}], pool: {prewarm: 0}}
  files1: {endpoints: [{address: "%s"}], pool: {prewarm: 0}}
  files2: {protocol: h2c, endpoints: [{address: "%s"}], pool: {prewarm: 0}}
routes:
  - {path: "/deaf1", upstream: deaf1}
  - {path: "/deaf2", upstream: deaf2}
  - {path: "/echo1", upstream: echo1}
  - {path: "/echo2", upstream: echo2}
  - {path: "/small1", upstream: files1}
  - {path: "/large1", upstream: files1}
  - {path: "/small2", upstream: files2}
  - {path: "/large2", upstream: files2}
`

// holdersTLS says whether clients and origins of a seed are within TLS. config wants
// blocks of 16 KiB there, which every third seed has.
func holdersTLS(seed uint64) (secured [2]bool) {
	if seed%3 == 2 {
		secured = [4][2]bool{{}, {true, false}, {false, true}, {true, true}}[seed/3%4]
	}
	return secured
}

func newHoldersRun(t *testing.T, seed uint64, blocks, block int) *holdersRun {
	t.Helper()
	r := &holdersRun{rng: rand.New(rand.NewPCG(seed, 0x401d)), m: new(metrics.Loop)}
	world := sim.NewWorld(seed, sim.Faults{ShortIO: 20, Late: 20, Overshoot: 20, Offset: 20})
	secured := holdersTLS(seed)
	r.Holders = &simnet.Holders{World: world, Proxy: simListen,
		TLS: simnet.NewRun(world, simnet.Traits{SecureClients: secured[fromClient], SecureOrigins: secured[fromOrigin]})}
	r.Origins()
	text := fmt.Sprintf(holdersConfig, simListen, simnet.DeafOrigin, simnet.DeafH2Origin, simnet.EchoOrigin, simnet.EchoH2Origin, simnet.FileOrigin, simnet.FileH2Origin)
	if secured[fromClient] {
		text = strings.Replace(text, "h2c]", "h2], tls: {certificates: [{cert: cert.pem, key: key.pem}]}", 1)
	}
	if secured[fromOrigin] {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "h2c,", "h2,"), "pool: {", "tls: {}, pool: {")
	}
	cfg, err := config.Parse("holders.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if secured[fromClient] {
		cfg.Listeners[0].TLS.Certificates[0] = simCertificate()
	}
	snap, err := snapshot.NewRegistry(1, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	standIn(world, cfg, snap)
	r.pool = buf.NewPool(&simMemory{bytes: simBytes[0][:blocks*block], step: blocks * block}, block)
	l, err := loop.NewOn(loop.Config{Pool: r.pool, Reserve: memory.Reserve(blocks)}, world.Open)
	if err != nil {
		t.Fatal(err)
	}
	r.w = NewWorker(Config{Loop: l, Pool: r.pool, Snapshot: snap, Metrics: r.m, MaxBlocks: blocks}, []*Neighbour{{Loop: l}})
	r.w.Listen(world.Listen(simListen), 0)
	r.w.begin()
	return r
}

// until turns the world until done says so or ns have passed; false: they have.
func (r *holdersRun) until(ns int64, done func() bool) bool {
	end := r.World.Now() + ns
	for !done() {
		r.World.RunDue()
		if r.error = r.w.turn(-1); r.error != nil || len(r.Violations) > 0 {
			return true
		}
		if !r.World.Busy() && !r.World.Advance() || r.World.Now() > end {
			return false
		}
	}
	return true
}

func (r *holdersRun) pass(ns int64) { r.until(ns, func() bool { return false }) }

// end drains the worker and looks whether all is back.
func (r *holdersRun) end(t *testing.T) {
	t.Helper()
	if r.error != nil {
		t.Fatal(r.error)
	}
	if all := append(r.Violations, r.TLS.Violations...); len(all) > 0 {
		t.Errorf("%s", strings.Join(all, "\n  "))
	}
	r.w.l.Destroy()
	for se := range r.w.h2.Each() {
		se.H2.Release()
	}
}

// hold lets a random mix of peers begin that make the proxy hold what it can.
func (r *holdersRun) hold(most int) (mix string) {
	for _, path := range []string{"/deaf1", "/deaf2"} {
		for _, h2 := range []bool{false, true} {
			conns, streams := r.rng.IntN(2)*r.rng.IntN(most), 1+r.rng.IntN(64)
			if h2 {
				conns /= 6
			}
			mix += fmt.Sprintf("%d uploads to %s, h2 %v, %d streams; ", conns, path, h2, streams)
			for range conns {
				r.Upload(path, h2, streams)
			}
		}
	}
	for _, h2 := range []bool{false, true} {
		conns, streams := r.rng.IntN(2)*r.rng.IntN(most), 1+r.rng.IntN(64)
		if h2 {
			conns /= 6
		}
		mix += fmt.Sprintf("%d downloads, h2 %v, %d streams; ", conns, h2, streams)
		for range conns {
			r.Download("/large1", h2, streams)
		}
	}
	return mix
}

// Whatever peers make the proxy hold, clients of another upstream are served, and
// all memory is back a second after they have left.
func TestSimHolders(t *testing.T) {
	served, ended := 0, 0
	for seed := uint64(1); seed <= 40; seed++ {
		block := 4096 << (seed % 3)
		blocks := config.MinPoolBlocks << (1 + seed%3)
		r := newHoldersRun(t, seed, blocks, block)
		mix := r.hold(blocks / 8)
		r.Witness("/small1", 20e6, true)
		r.Witness("/small1", 20e6, false)
		r.pass(4e9)
		r.Judge()
		r.Leave()
		r.pass(1e9)
		most, secured := 2, holdersTLS(seed)
		if secured[fromClient] || secured[fromOrigin] {
			most += 4 // parts of records
		}
		if n := r.pool.InUse(); n > most { // of witnesses under way
			t.Errorf("seed %d: %d blocks are in use after a second", seed, n)
		}
		served += r.Served
		ended += int(r.m.RefusedByReason[codeHeld])
		if r.Served < 50 {
			t.Errorf("seed %d: only %d requests of others were served", seed, r.Served)
		}
		r.end(t)
		if t.Failed() {
			t.Fatalf("seed %d: %d blocks of %d, TLS %v; %s", seed, blocks, block, secured, mix)
		}
	}
	t.Logf("%d requests of others were served, %d exchanges were ended", served, ended)
	if ended == 0 {
		t.Error("nobody was ended for what he held")
	}
}

// holdTo takes blocks until no more than spare are left.
func (r *holdersRun) holdTo(t *testing.T, spare int) (held []buf.View) {
	t.Helper()
	for r.pool.Spare() > spare {
		v, ok := r.pool.Get()
		if !ok {
			t.Fatal("a spare block is none")
		}
		held = append(held, v)
	}
	return held
}

// Answers pass though others hold all that data of frames may take, which leaves at
// once as far as anybody knows.
func TestAnswersPassBesideHolders(t *testing.T) {
	const blocks = 256
	for _, path := range []string{"/small1", "/small2"} {
		for _, keeps := range []bool{true, false} {
			r := newHoldersRun(t, 1, blocks, 4096)
			r.World.Faults = sim.Faults{} // an answer comes in one piece
			r.Witness(path, 20e6, keeps)
			r.pass(100e6)
			before, reserve := r.Served, memory.Reserve(blocks)
			held := r.holdTo(t, reserve-reserve/4-reserve/8)
			r.pass(1e9)
			r.Judge()
			if n := r.Served - before; before == 0 || n < 20 {
				t.Errorf("%s, on one connection: %v: %d were answered before, then %d", path, keeps, before, n)
			}
			for _, v := range held {
				r.pool.Release(v)
			}
			r.end(t)
		}
	}
}

// Who is refused more of his download for want of memory, for he takes nothing of what
// there is, does not go on holding that.
func TestRefusedDownloadHoldsNothing(t *testing.T) {
	r := newHoldersRun(t, 1, 256, 4096)
	r.Download("/large2", false, 1)
	if !r.until(10e9, func() bool { return r.w.clients.Len() > 0 && r.w.legs.queued(&r.w.clients.At(1).leg) > 64<<10 }) {
		t.Fatal("nothing waits for the client")
	}
	held := r.holdTo(t, 20)
	if !r.until(1e9, func() bool { return r.m.RefusedByReason[codeMemory] > 0 }) {
		t.Fatal("nothing is refused")
	}
	r.pass(50e6)
	if n := r.pool.InUse() - len(held); n > 1 {
		t.Errorf("%d blocks are in use", n)
	}
	for _, v := range held {
		r.pool.Release(v)
	}
	r.end(t)
}

// Ordinary bodies both ways move in pools down to the smallest: what a response
// needs is not held by requests. Nobody is refused where what RFC 9113 lets all
// clients send at once has a place.
func TestSimProgress(t *testing.T) {
	talks, again := 0, 0
	for seed := uint64(1); seed <= 40; seed++ {
		block := 4096 << (seed % 3)
		blocks := config.MinPoolBlocks << (seed % 3)
		r := newHoldersRun(t, seed, blocks, block)
		clients := 1 + r.rng.IntN(48)
		size := 1 + r.rng.IntN(60_000)
		path := []string{"/echo1", "/echo2"}[seed%2]
		for range clients {
			r.Talk(path, r.rng.IntN(4) > 0, 1+r.rng.IntN(4), 1+r.rng.IntN(2), size)
		}
		ended := 0
		for moved := int64(-1); r.Left > 0 && len(r.Violations) == 0 && r.error == nil; {
			if moved == r.Moved && ended == r.Again {
				t.Errorf("no byte has moved for 1 s, %d talks have not ended, %d of %d blocks are in use", r.Left, r.pool.InUse(), blocks)
				break
			}
			moved, ended = r.Moved, r.Again
			r.until(1e9, func() bool { return r.Left == 0 })
			if r.World.Now() > 600e9 {
				t.Errorf("%d talks have not ended after 600 s, %d have, %d were begun again", r.Left, r.Talks, r.Again)
				break
			}
		}
		if clients*(64<<10) < blocks*block/2 && r.Again > 0 {
			t.Errorf("%d talks were refused: %d for want of memory, %d for what they held", r.Again, r.m.RefusedByReason[codeMemory], r.m.RefusedByReason[codeHeld])
		}
		talks += r.Talks
		again += r.Again
		r.end(t)
		if t.Failed() {
			t.Fatalf("seed %d: %d clients talk with %s, TLS %v, %d bytes each, in %d blocks of %d", seed, clients, path, holdersTLS(seed), size, blocks, block)
		}
	}
	t.Logf("%d talks, %d begun again", talks, again)
}
