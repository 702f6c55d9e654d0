package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	xnet "golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"zproxy/loop"
)

// deafH1 takes connections and reads nothing.
func deafH1(t *testing.T) string {
	over := until(t)
	return narrow(t, func(_ int, c net.Conn) { <-over })
}

// deafH2 greets in HTTP/2, opens windows as wide as they go, and reads nothing
// more.
func deafH2(wide bool) func(t *testing.T) string {
	return func(t *testing.T) string {
		over := until(t)
		return narrow(t, func(_ int, c net.Conn) {
			fr := xnet.NewFramer(c, c)
			io.ReadFull(c, make([]byte, len(xnet.ClientPreface)))
			if wide {
				fr.WriteSettings(xnet.Setting{ID: xnet.SettingInitialWindowSize, Val: 1<<31 - 1})
				fr.WriteWindowUpdate(0, 1<<31-1-65535)
			} else {
				fr.WriteSettings()
			}
			for {
				f, err := fr.ReadFrame()
				if err != nil {
					return
				}
				if s, ok := f.(*xnet.SettingsFrame); ok && !s.IsAck() {
					fr.WriteSettingsAck()
					<-over
				}
			}
		})
	}
}

// until is closed when the test is over.
func until(t *testing.T) chan bool {
	over := make(chan bool)
	t.Cleanup(func() { close(over) })
	return over
}

// narrowDial is a client that holds few bytes on their way, and whose end is a
// reset.
func narrowDial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10)
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10) // or the kernel's memory for TCP is used up first
		})
	}}
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		c.(*net.TCPConn).SetLinger(0)
	}
	return c, err
}

// endless is content without end.
type endless struct{ ctx context.Context }

func (e endless) Read(b []byte) (int, error) { return len(b), e.ctx.Err() }

// holders are peers that make the proxy hold what it cannot pass on.
type holders struct {
	name     string
	h2       bool // clients speak it
	h2Origin bool
	origin   func(t *testing.T) string // of uploads; nil: they download
	conns    int
	each     int // exchanges of a connection at once, over HTTP/2
}

var holderTable = []holders{
	{"h2 uploads to h1", true, false, deafH1, 5, 64},
	{"h2 uploads to h2c", true, true, deafH2(false), 5, 64},
	{"h2 uploads to h2c with wide windows", true, true, deafH2(true), 5, 64},
	{"h2 downloads from h2c", true, true, nil, 5, 64},
	{"h2 downloads from h1", true, false, nil, 5, 64},
	{"h1 uploads to h1", false, false, deafH1, 200, 1},
	{"h1 uploads to h2c", false, true, deafH2(false), 200, 1},
	{"h1 uploads to h2c with wide windows", false, true, deafH2(true), 200, 1},
	{"h1 downloads from h1", false, false, nil, 200, 1},
	{"h1 downloads from h2c", false, true, nil, 200, 1},
}

// start lets them begin. The result ends them.
func (h *holders) start(addr string) (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range h.conns {
		tr := &http.Transport{Protocols: protocols(h.h2), ReadBufferSize: 4096, DialContext: narrowDial}
		for range h.each {
			all.Go(func() {
				method, body := "GET", io.Reader(nil)
				if h.origin != nil {
					method, body = "POST", endless{ctx}
				}
				req, _ := http.NewRequestWithContext(ctx, method, "http://"+addr+"/held/"+strings.ToLower(method), body)
				resp, err := tr.RoundTrip(req)
				if err == nil && h.origin == nil && resp.StatusCode == 200 {
					<-ctx.Done()
				}
				if err == nil {
					resp.Body.Close()
				}
			})
		}
		defer tr.CloseIdleConnections()
	}
	return func() { cancel(); all.Wait() }
}

// others ask for small answers of two other upstreams in turn, each on a connection of
// its own and one after the other on one, and tell how long it takes.
type others struct {
	stop   atomic.Bool
	all    sync.WaitGroup
	mu     sync.Mutex
	took   []time.Duration
	failed []string
}

func startOthers(addr string) *others {
	o := &others{}
	for i := range 3 {
		tr := &http.Transport{DisableKeepAlives: i == 0, Protocols: protocols(i == 2)}
		client := &http.Client{Transport: tr, Timeout: patience}
		o.all.Go(func() {
			for n := 1; !o.stop.Load(); n++ {
				begun := time.Now()
				status, why, path := 0, "", fmt.Sprintf("/other%d", 1+n%2)
				if resp, err := client.Get("http://" + addr + path); err != nil {
					why = err.Error()
				} else {
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						why = err.Error()
					}
					resp.Body.Close()
					status = resp.StatusCode
				}
				took := time.Since(begun)
				o.mu.Lock()
				if o.took = append(o.took, took); status != 200 || why != "" {
					o.failed = append(o.failed, fmt.Sprintf("client %d, %s: %d %s", i, path, status, why))
				}
				o.mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
			tr.CloseIdleConnections()
		})
	}
	return o
}

func (o *others) judge(t *testing.T) {
	t.Helper()
	o.stop.Store(true)
	o.all.Wait()
	slices.Sort(o.took)
	p99 := o.took[len(o.took)*99/100]
	t.Logf("%d requests, p99 %v", len(o.took), p99)
	if len(o.failed) > 0 {
		t.Errorf("%d of %d requests of others failed, p99 is %v; the first: %v", len(o.failed), len(o.took), p99, o.failed[:min(1, len(o.failed))])
	}
}

// Whatever peers make the proxy hold, clients of another upstream are served,
// and what was held is there again soon after they have left.
func TestOthersAreServed(t *testing.T) {
	healthy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "get") {
			io.Copy(w, endless{r.Context()})
		}
		w.Write(make([]byte, 2000))
	})
	for _, h := range holderTable {
		t.Run(h.name, func(t *testing.T) {
			onBackends(t, func(t *testing.T, io loop.IO) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				origin := &http.Server{Handler: healthy, Protocols: protocols(false), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
					c.(*net.TCPConn).SetWriteBuffer(16 << 10)
					return ctx
				}}
				origin.Protocols.SetUnencryptedHTTP2(true)
				go origin.Serve(l)
				t.Cleanup(func() { origin.Close() })
				held, protocol := l.Addr().String(), "http1"
				if h.origin != nil {
					held = h.origin(t)
				}
				if h.h2Origin {
					protocol = "h2c"
				}
				r := start(t, io, 1, fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c], socket: {send_buffer: 16KiB, receive_buffer: 16KiB}}]\n"+
					"upstreams:\n  held: {socket: {send_buffer: 8KiB, receive_buffer: 8KiB}, protocol: %s, endpoints: [{address: %q}], pool: {prewarm: 0}}\n"+
					"  other1: {endpoints: [{address: %q}], pool: {prewarm: 0}}\n  other2: {protocol: h2c, endpoints: [{address: %q}], pool: {prewarm: 0}}\n"+
					"routes: [{path: \"/held/*\", upstream: held}, {path: \"/other1\", upstream: other1}, {path: \"/other2\", upstream: other2}]\n"+
					"buffers: {max_per_loop: 8MiB}\n", protocol, held, l.Addr(), l.Addr()), nil)
				leave := h.start(r.addr)
				time.Sleep(500 * time.Millisecond)
				o := startOthers(r.addr)
				time.Sleep(1500 * time.Millisecond)
				rep := r.reports()[0]
				t.Logf("%d of %d blocks are in use, %d ended for it", rep.Buf.InUse-rep.Loop.Posted, 512, rep.Metrics.RefusedByReason[codeHeld])
				o.judge(t)
				leave()
				for left := time.Now(); ; time.Sleep(5 * time.Millisecond) {
					late := time.Since(left) > time.Second
					rep = r.reports()[0]
					n := rep.Buf.InUse - rep.Loop.Posted
					if n <= 0 && rep.Exchanges == 0 {
						break
					}
					if late {
						t.Fatalf("1 s after they have left %d blocks are in use, %d exchanges", n, rep.Exchanges)
					}
				}
			})
		})
	}
}
