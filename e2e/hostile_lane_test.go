package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zproxy/e2e/hostile"
)

// A lane is one origin with one address of a proxy in front of it, which has
// no other: what arrives there was sent here. Rows of a table run in several
// lanes side by side, in each one after the other.
type lane struct {
	addr   string // of the proxy
	origin *recorder
	judge  hostile.Oracle
}

const lanes = 16

// second is how long what should come at once is waited for: as long as anything, but for peers,
// some of which it never comes from.
func (l *lane) second() time.Duration {
	if l.judge.Fair {
		return time.Second
	}
	return patience
}

// rowLimit is how long a row may take: longer than the time limits set in the proxies.
func (l *lane) rowLimit() time.Duration {
	if l.judge.Fair {
		return 4 * time.Second
	}
	return patience
}

// recorder is an origin that keeps what it receives, judges it, and answers
// every whole request with its target.
type recorder struct {
	net.Listener
	mu     sync.Mutex
	late   chan struct{} // closed when what comes late has been sent, and the connection has ended
	got    []hostile.Message
	faults []error
	begun  map[net.Conn]int // bytes of a message that is not whole
	script *hostile.Response
	judge  hostile.Oracle
}

func newRecorder(t *testing.T, judge hostile.Oracle) *recorder {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{Listener: l, begun: map[net.Conn]int{}, judge: judge}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.note(c, 0, nil)
			serving.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for c := range r.begun {
			c.Close()
		}
		r.mu.Unlock()
		serving.Wait()
	})
	return r
}

func (r *recorder) note(c net.Conn, begun int, fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun[c] = begun
	if fault != nil {
		r.faults = append(r.faults, fault)
	}
}

func (r *recorder) serve(c net.Conn) {
	var late chan struct{}
	defer func() {
		c.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.begun, c)
		if late != nil {
			close(late)
		}
	}()
	var in []byte
	for b := make([]byte, 64<<10); ; {
		n, err := c.Read(b)
		in = append(in, b[:n]...)
		for len(in) > 0 {
			m, n, fault := r.judge.ParseRequest(string(in))
			if fault != nil {
				r.note(c, 0, fault)
				return
			}
			if n == 0 {
				break
			}
			in = in[n:]
			more, sent := r.answer(c, m)
			if sent != nil {
				late = sent
			}
			if !more {
				return
			}
		}
		r.note(c, len(in), nil)
		if err != nil {
			return
		}
	}
}

// answer answers m; false: the connection ends. late is what to close when it has ended, if
// something was sent behind the answer.
func (r *recorder) answer(c net.Conn, m hostile.Message) (more bool, late chan struct{}) {
	r.mu.Lock()
	script := r.script
	r.got = append(r.got, m)
	r.mu.Unlock()
	if script == nil || m.Target != "/case" {
		text := ok(m.Target)
		if m.Method == "HEAD" {
			text = strings.TrimSuffix(text, m.Target)
		}
		io.WriteString(c, text)
		return !m.Close, nil
	}
	io.WriteString(c, script.Bytes)
	if script.Late != "" {
		time.Sleep(moment)
		io.WriteString(c, script.Late)
		r.mu.Lock()
		late, r.late = r.late, nil
		r.mu.Unlock()
	}
	switch script.Then {
	case hostile.Closes:
		return false, late
	case hostile.Resets:
		time.Sleep(moment) // a reset overtakes what has not left yet
		c.(*net.TCPConn).SetLinger(0)
		return false, late
	}
	return true, late
}

// moment is how long what was sent takes to arrive, and more.
const moment = 30 * time.Millisecond

// begin forgets what came before and sets what to answer. late is closed when the connection has
// ended on which something came behind an answer.
func (r *recorder) begin(script *hostile.Response) (late <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.faults, r.script, r.late = nil, nil, script, make(chan struct{})
	return r.late
}

// settled waits until no message is under way, and gives what has arrived.
func (r *recorder) settled(limit time.Duration) (got []hostile.Message, faults []error, stuck bool) {
	for deadline := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		r.mu.Lock()
		stuck = false
		for _, n := range r.begun {
			stuck = stuck || n > 0
		}
		got, faults = r.got, r.faults
		r.mu.Unlock()
		if !stuck || time.Now().After(deadline) {
			return got, faults, stuck
		}
	}
}

// talk is what a client has seen of a connection.
type talk struct {
	net.Conn
	judge    hostile.Oracle
	methods  []string // of the requests, in turn
	in       []byte
	answers  []hostile.Received
	interims int
	fault    error // bytes that are no response
	ended    bool
	reset    bool
}

func (l *lane) open(methods ...string) (*talk, error) {
	c, err := net.DialTimeout("tcp", l.addr, patience)
	if err != nil {
		return nil, err
	}
	return &talk{Conn: c, judge: l.judge, methods: methods}, nil
}

// send sends beside the reading: a proxy need not take what it refuses.
func (k *talk) send(bytes string, then hostile.Ending) {
	go func() {
		k.SetWriteDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(k.Conn, bytes); err != nil {
			return
		}
		tcp := k.Conn.(*net.TCPConn)
		switch then {
		case hostile.Closes:
			tcp.CloseWrite()
		case hostile.Resets:
			time.Sleep(moment)
			tcp.SetLinger(0)
			tcp.Close()
		}
	}()
}

// listen reads until there are n answers, and with end until the connection
// ends as well; not longer than limit.
func (k *talk) listen(n int, end bool, limit time.Duration) {
	k.SetReadDeadline(time.Now().Add(limit))
	for b := make([]byte, 64<<10); ; {
		k.parse()
		if k.fault != nil || k.ended || len(k.answers) >= n && !end {
			return
		}
		got, err := k.Read(b)
		k.in = append(k.in, b[:got]...)
		if err == nil {
			continue
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return
		}
		k.ended, k.reset = true, errors.Is(err, syscall.ECONNRESET)
		k.parse()
		return
	}
}

// parse takes whole responses out of what was read.
func (k *talk) parse() {
	for len(k.in) > 0 && k.fault == nil {
		method := "GET"
		if len(k.answers) < len(k.methods) {
			method = k.methods[len(k.answers)]
		}
		r, n, err := k.judge.ParseResponse(string(k.in), method)
		switch {
		case err != nil:
			k.fault = err
		case n == 0, r.ToClose && (!k.ended || k.reset):
			return
		case r.Status < 200:
			k.interims++
		default:
			k.answers = append(k.answers, r)
		}
		k.in = k.in[n:]
	}
}

// probe asks for target and says what is wrong with the answer. On a fresh
// connection it has to come.
func (l *lane) probe(target string) string {
	k, err := l.open()
	if err != nil {
		return err.Error()
	}
	defer k.Close()
	k.send("GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n", hostile.StaysOpen)
	k.listen(1, false, patience)
	switch {
	case k.fault != nil:
		return k.fault.Error()
	case len(k.answers) == 0:
		return "no answer"
	case k.answers[0].Status != 200 || k.answers[0].Body != target:
		return fmt.Sprintf("%d %.40q", k.answers[0].Status, k.answers[0].Body)
	}
	return ""
}

// probeOn asks on a connection that has served before, if it still is there.
func (k *talk) probeOn(target string, limit time.Duration) string {
	if k.ended || k.fault != nil {
		return ""
	}
	n := len(k.answers)
	k.send("GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n", hostile.StaysOpen)
	k.listen(n+1, false, limit)
	switch {
	case k.fault != nil:
		return k.fault.Error()
	case len(k.answers) == n && k.ended:
		return ""
	case len(k.answers) == n:
		return "no answer"
	case k.answers[n].Status != 200 || k.answers[n].Body != target:
		return fmt.Sprintf("%d %.40q", k.answers[n].Status, k.answers[n].Body)
	}
	return ""
}
