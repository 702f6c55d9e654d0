package http2

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	xnet "golang.org/x/net/http2"
)

func TestReceiveWindows(t *testing.T) {
	r := server(t, func(c *Config) { c.StreamWindow, c.ConnWindow = 100_000, 200_000 })
	r.own = true // gives nothing back
	r.post(1)
	r.post(3)
	r.feed()
	send := func(id uint32, n int) {
		for n > 0 {
			k := min(n, 16384)
			r.fr.WriteData(id, false, make([]byte, k))
			n -= k
		}
	}
	send(1, 100_000)
	r.feed()
	r.sends()
	stream := r.s.Find(1)
	r.now += 60e6
	r.want()
	r.s.Consumed(stream, 49_999)
	r.sends()
	r.s.Consumed(stream, 1)
	r.sends("WINDOW 1 +50000")
	r.now += 60e6
	r.want()
	r.s.Consumed(stream, 50_000)
	if got := strings.Join(r.sent(), ", "); got != "WINDOW 1 +50000, WINDOW 0 +100000" {
		t.Fatal(got)
	}
	send(1, 100_000)
	if got := r.feed(); strings.HasPrefix(got[len(got)-1], "reset") {
		t.Fatal("the window that was opened is closed")
	}
	send(1, 1)
	r.want("reset 1 FLOW_CONTROL_ERROR local: more data than the window allows")
	r.sends("RST 1 FLOW_CONTROL_ERROR")
	send(3, 99_999)
	r.feed()
	// 199999 bytes are held. The byte that nobody got was given back, but a
	// window is not opened for one byte.
	r.fr.WriteData(3, false, []byte{1})
	r.want("closed FLOW_CONTROL_ERROR: more data than the window allows")
	r.empty()
}

func TestBytesOfResetStreamsComeBack(t *testing.T) {
	r := server(t, nil)
	r.own = true
	r.post(1)
	r.fr.WriteData(1, false, make([]byte, 1000))
	r.fr.WriteDataPadded(1, false, make([]byte, 1000), make([]byte, 100))
	r.feed()
	if r.s.recvHeld != 2000 {
		t.Fatalf("%d bytes are held", r.s.recvHeld)
	}
	// A frame of which a part has arrived when its stream goes.
	r.fr.WriteDataPadded(1, false, make([]byte, 500), make([]byte, 50))
	whole := append([]byte(nil), r.in.Bytes()...)
	r.in.Reset()
	r.in.Write(whole[:9+1+100])
	r.feed()
	if r.s.recvHeld != 2500 {
		t.Fatalf("%d bytes are held", r.s.recvHeld)
	}
	r.s.Reset(r.s.Find(1), ErrCancel)
	if r.s.recvHeld != 2100 {
		t.Fatalf("%d bytes are held, 2100 were lent", r.s.recvHeld)
	}
	r.in.Write(whole[9+1+100:])
	r.get(3)
	r.want("head 3 GET https a.example / END")
	r.s.Consumed(0, 2100)
	if r.s.recvHeld != 0 {
		t.Fatalf("%d bytes are held", r.s.recvHeld)
	}
	r.empty()
}

func TestWindowsGrowAndShrink(t *testing.T) {
	r := server(t, func(c *Config) { c.StreamWindow, c.ConnWindow = 64<<10, 1<<20 })
	r.post(1)
	r.feed()
	stream := r.s.Find(1)
	st := r.streams.At(stream)
	data := func(n int) {
		for n = min(n, int(st.recvWindow), int(r.s.recvWindow)); n > 0; n -= 16384 {
			r.fr.WriteData(1, false, make([]byte, min(n, 16384)))
		}
		r.feed()
	}
	for range 20 { // fast, and taken at once
		r.now += 5e6
		data(32 << 10)
	}
	if st.recvTarget != growMost*64<<10 {
		t.Errorf("a fast stream has a window of %d", st.recvTarget)
	}
	r.own = true
	for range 10 { // the owner does not get rid of it
		data(900 << 10)
		for st.recvHeld > 0 {
			r.s.Consumed(stream, min(100<<10, int(st.recvHeld)))
			r.now += 1e9
		}
	}
	if st.recvTarget != 64<<10 {
		t.Errorf("a slow stream has a window of %d", st.recvTarget)
	}
	if st.recvHeld != 0 || r.s.recvHeld != 0 {
		t.Errorf("%d and %d bytes are held", st.recvHeld, r.s.recvHeld)
	}
	r.empty()
}

const creditTotal = 4 << 20

// sharers are sessions that share a credit, each with a stream.
func sharers(t *testing.T, credit *Credit, n int) (rigs []*rig) {
	for range n {
		r := bareRig(t, func(c *Config) { c.StreamWindow, c.ConnWindow = 1<<20, 16<<20 })
		r.scratch.Credit[Server] = credit
		r.s.Owner = uint32(len(rigs) + 1)
		r.begin(Server)
		r.in.WriteString(Preface)
		r.fr.WriteSettings()
		r.fr.WriteSettingsAck()
		r.want("settings")
		r.sends("SETTINGS", "SETTINGS ACK")
		r.post(1)
		r.feed()
		if st := r.streams.At(r.s.Find(1)); r.s.recvWindow != defaultWindow || st.recvWindow != 64<<10 {
			t.Fatalf("first windows of %d and %d", r.s.recvWindow, st.recvWindow)
		}
		rigs = append(rigs, r)
	}
	if credit.Free() != creditTotal-int64(n)*defaultWindow {
		t.Fatalf("%d are free", credit.Free())
	}
	return rigs
}

// What sessions promise and hold together is no more than their credit, but for
// what everybody gets, and one has half of it at most.
func TestCredit(t *testing.T) {
	const total = creditTotal
	credit := NewCredit(total, 64<<10)
	rigs := sharers(t, credit, 3)
	fast := rigs[0]
	upload(fast, 100)
	if w := fast.s.recvWindow; w < total/4 || w > total/2 {
		t.Errorf("a fast connection alone has a window of %d", w)
	}
	if st := fast.streams.At(fast.s.Find(1)); st.recvTarget < 1<<20 {
		t.Errorf("its stream has one of %d", st.recvTarget)
	}
	for _, r := range rigs {
		r.own = true // nothing goes on
	}
	for range 4 {
		for _, r := range rigs {
			upload(r, 100)
			r.post(r.s.maxID + 2)
			r.feed()
		}
	}
	sum := int64(0)
	for i, r := range rigs {
		has := r.s.recvWindow + r.s.recvHeld
		if sum += has; has < defaultWindow || has > total/2 {
			t.Errorf("connection %d has %d", i, has)
		}
	}
	if sum+credit.Free() != total || credit.Free() < 0 {
		t.Errorf("%d of %d are promised or held, %d are free", sum, total, credit.Free())
	}
	for _, r := range rigs {
		r.s.Release()
	}
	if credit.Free() != total {
		t.Errorf("%d are free at the end", credit.Free())
	}
}

// A session for which there is no credit is told when there is some.
func TestWaitingForCredit(t *testing.T) {
	const total = creditTotal
	credit := NewCredit(total, 64<<10)
	rest := sharers(t, credit, 3)[2]
	rest.own = true
	for range 3 { // what it holds is more than everybody gets
		upload(rest, 1)
		rest.post(rest.s.maxID + 2)
		rest.feed()
	}
	rest.own = false
	credit.free -= total // as if others had it
	for rest.s.flags&flagWaiting == 0 {
		rest.post(rest.s.maxID + 2)
		upload(rest, 1)
		if rest.s.recvWindow < leastOpened && rest.s.flags&flagWaiting == 0 {
			t.Fatal("it does not wait for credit")
		}
	}
	if owner, ok := credit.Waiting(); !ok || owner != 3 {
		t.Errorf("%d waits", owner)
	}
	had := rest.s.recvWindow
	rest.s.Credited()
	if rest.s.recvWindow != had || credit.Waiters() != 1 {
		t.Errorf("a window of %d was opened to %d without credit, %d wait", had, rest.s.recvWindow, credit.Waiters())
	}
	credit.free += total
	credit.Waiting()
	rest.s.Credited()
	if rest.s.recvWindow == had || credit.Waiters() != 0 {
		t.Errorf("a window of %d is not opened with credit, %d wait", had, credit.Waiters())
	}
	credit.free -= total
	for credit.Waiters() == 0 {
		rest.post(rest.s.maxID + 2)
		upload(rest, 1)
	}
	rest.s.Release()
	if owner, ok := credit.Waiting(); ok {
		t.Errorf("%d waits, although it has ended", owner)
	}
}

// upload sends data on the last stream, as fast as its windows allow.
func upload(r *rig, rounds int) {
	st := r.streams.At(r.s.last)
	for range rounds {
		r.now += 5e6
		n := min(256<<10, int(st.recvWindow), int(r.s.recvWindow))
		for ; n > 0; n -= 16384 {
			r.fr.WriteData(st.ID, false, make([]byte, min(n, 16384)))
		}
		r.feed()
	}
}

// Until the settings are acknowledged a peer may send what the default allows.
func TestSmallWindowBeforeAck(t *testing.T) {
	r := newRig(t, Server, func(c *Config) { c.StreamWindow = 1000 })
	r.own = true
	r.in.WriteString(Preface)
	r.fr.WriteSettings()
	r.post(1)
	r.fr.WriteData(1, false, make([]byte, 16384))
	r.feed()
	r.fr.WriteSettingsAck()
	r.post(3)
	r.fr.WriteData(3, false, make([]byte, 1000))
	r.feed()
	if one, three := r.streams.At(r.s.Find(1)), r.streams.At(r.s.Find(3)); one.recvWindow != 1000-16384 || three.recvWindow != 0 {
		t.Errorf("windows %d and %d", one.recvWindow, three.recvWindow)
	}
	r.fr.WriteData(3, false, []byte{1})
	r.want("reset 3 FLOW_CONTROL_ERROR local: more data than the window allows")
}

func TestSendWindows(t *testing.T) {
	r := server(t, nil)
	r.get(1)
	r.get(3)
	r.feed()
	one, three := r.s.Find(1), r.s.Find(3)
	r.respond(1, 200, false)
	for range 3 {
		r.out = r.s.AppendDataHeader(r.out, one, 16384, false)
	}
	if n := r.s.Sendable(one); n != 65535-3*16384 || r.s.Sendable(three) != n {
		t.Fatalf("sendable %d", n)
	}
	r.fr.WriteWindowUpdate(0, 1000)
	r.want()
	if a, b := r.s.Sendable(one), r.s.Sendable(three); a != 16383 || b != 17383 {
		t.Fatalf("sendable %d, %d", a, b)
	}
	r.fr.WriteSettings(xnet.Setting{ID: xnet.SettingInitialWindowSize, Val: 100})
	r.want()
	if a, b := r.s.Sendable(one), r.s.Sendable(three); a != 0 || b != 100 {
		t.Fatalf("sendable %d, %d with windows of 100", a, b)
	}
	if w := r.streams.At(one).sendWindow; w != 100-3*16384 {
		t.Fatalf("window %d", w)
	}
	r.fr.WriteSettings(xnet.Setting{ID: xnet.SettingMaxFrameSize, Val: 1 << 20})
	r.want()
	if r.s.MaxFrame() != 1<<20 {
		t.Errorf("frames of %d", r.s.MaxFrame())
	}
	defer func() {
		if recover() == nil {
			t.Error("more than the window allows was taken")
		}
	}()
	r.s.AppendDataHeader(nil, three, 101, false)
}

// flowModel knows the windows as numbers: what this side and the peer may send.
type flowModel struct {
	*rig
	rng            *rand.Rand
	initial        int64
	conn, recvConn int64
	send, recv     map[uint32]int64
	lent           map[uint32]int // not given back yet
	orphans        int            // the same, of streams that are gone
	next           uint32
	where          string
}

const modelStream, modelConn = 50_000, 100_000

// Random operations of both ends, against a model with nothing but numbers.
func TestFlowAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		m := &flowModel{rng: rand.New(rand.NewPCG(seed, 1)), initial: defaultWindow, conn: defaultWindow, recvConn: modelConn,
			send: map[uint32]int64{}, recv: map[uint32]int64{}, lent: map[uint32]int{}, next: 1}
		m.rig = server(t, func(c *Config) { c.StreamWindow, c.ConnWindow, c.MaxStreams = modelStream, modelConn, 8 })
		m.own = true
		for step := range 400 {
			m.where = fmt.Sprintf("seed %d step %d", seed, step)
			m.now += int64(m.rng.IntN(20e6))
			m.act()
			for _, ev := range m.feed() {
				if !strings.HasPrefix(ev, "data") && !strings.HasPrefix(ev, "head") {
					t.Fatalf("%s: %s", m.where, ev)
				}
			}
			m.compare()
		}
		m.empty()
	}
}

func (m *flowModel) act() {
	var id uint32
	for id = range m.send { // any
		break
	}
	switch op := m.rng.IntN(9); {
	case op == 0 && len(m.send) < 8:
		m.post(m.next)
		m.send[m.next], m.recv[m.next] = m.initial, modelStream
		m.next += 2
	case id == 0:
	case op == 1:
		m.peerSends(id)
	case op == 2: // the owner gives back
		n := m.rng.IntN(m.lent[id] + 1)
		m.s.Consumed(m.s.Find(id), n)
		m.lent[id] -= n
	case op == 3:
		n := m.rng.IntN(20_000) + 1
		m.fr.WriteWindowUpdate(id, uint32(n))
		m.send[id] += int64(n)
	case op == 4:
		n := m.rng.IntN(20_000) + 1
		m.fr.WriteWindowUpdate(0, uint32(n))
		m.conn += int64(n)
	case op == 5:
		v := int64(m.rng.IntN(100_000))
		m.fr.WriteSettings(xnet.Setting{ID: xnet.SettingInitialWindowSize, Val: uint32(v)})
		for k := range m.send {
			m.send[k] += v - m.initial
		}
		m.initial = v
	case op == 6: // this side sends
		want := max(0, min(m.send[id], m.conn))
		if got := m.s.Sendable(m.s.Find(id)); int64(got) != want {
			m.t.Fatalf("%s: sendable %d, model %d", m.where, got, want)
		}
		if n := int(min(want, 16384)); n > 0 {
			n = m.rng.IntN(n) + 1
			m.s.AppendDataHeader(nil, m.s.Find(id), n, false)
			m.send[id] -= int64(n)
			m.conn -= int64(n)
		}
	case op == 7 && m.rng.IntN(4) == 0:
		m.s.Reset(m.s.Find(id), ErrCancel)
		m.orphans += m.lent[id]
		delete(m.send, id)
		delete(m.recv, id)
		delete(m.lent, id)
	default:
		m.s.Consumed(0, m.orphans)
		m.orphans = 0
	}
}

func (m *flowModel) peerSends(id uint32) {
	n := int(min(m.recv[id], m.recvConn, 16000))
	if n <= 0 {
		return
	}
	n = m.rng.IntN(n + 1)
	m.recv[id] -= int64(n)
	m.recvConn -= int64(n)
	if pad := m.rng.IntN(min(n+1, 200)); m.rng.IntN(2) == 0 && n > pad+1 {
		m.fr.WriteDataPadded(id, false, make([]byte, n-pad-1), make([]byte, pad))
		m.lent[id] += n - pad - 1
	} else {
		m.fr.WriteData(id, false, make([]byte, n))
		m.lent[id] += n
	}
}

// compare takes the WINDOW_UPDATEs that were sent and looks at everything.
func (m *flowModel) compare() {
	for _, f := range m.sent() {
		var id uint32
		var n int64
		if _, err := fmt.Sscanf(f, "WINDOW %d +%d", &id, &n); err != nil {
			continue
		}
		if id == 0 {
			m.recvConn += n
		} else {
			m.recv[id] += n
		}
	}
	held := m.orphans
	for _, n := range m.lent {
		held += n
	}
	if total := m.recvConn + int64(held); int64(held) != m.s.recvHeld || m.recvConn != m.s.recvWindow || total > modelConn || total < modelConn/2 {
		m.t.Fatalf("%s: held %d, model %d; window %d, model %d", m.where, m.s.recvHeld, held, m.s.recvWindow, m.recvConn)
	}
	for id, w := range m.recv {
		if got := m.streams.At(m.s.Find(id)).recvWindow; int64(got) != w {
			m.t.Fatalf("%s: stream %d has window %d, model %d", m.where, id, got, w)
		}
	}
}
