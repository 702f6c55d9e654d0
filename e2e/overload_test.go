package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"zproxy/internal/child"
)

// undisturbed is what a healthy client sees whatever others do: every request
// answered, none slowly.
func undisturbed(t *testing.T, beside string, l *load) {
	t.Helper()
	l.reach(t, 50)
	answered, failed, slowest := l.stop(t)
	if failed > 0 || answered < 50 || slowest > fastLimit {
		t.Errorf("beside %s %d requests were answered and %d not, the slowest in %v", beside, answered, failed, slowest)
	}
	t.Logf("beside %s: %d requests answered, the slowest in %v", beside, answered, slowest)
}

// drip sends b a few bytes at a time until it is sent or nobody takes it, and
// gives how long it took.
func drip(c net.Conn, b string, size int, every time.Duration) time.Duration {
	begun := time.Now()
	for len(b) > 0 {
		n := min(size, len(b))
		if _, err := io.WriteString(c, b[:n]); err != nil {
			break
		}
		b = b[n:]
		time.Sleep(every)
	}
	return time.Since(begun)
}

// endOf reads to the end and gives what came and when.
func endOf(c net.Conn) (text string, after time.Duration) {
	begun := time.Now()
	c.SetReadDeadline(begun.Add(patience))
	b, _ := io.ReadAll(c)
	return string(b), time.Since(begun)
}

const slowConfig = `
loops: 1
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
limits: {request_header_timeout: 3s, request_body_timeout: 3s, send_timeout: 3s, min_rate: 500}
`

// Heads and bodies that drip in are answered 408 in time, however regularly
// they drip; a body that is slow, but not too slow, arrives whole.
func TestSlowloris(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		origin := startHashing(t)
		z := start(t, backend, fmt.Sprintf(slowConfig, origin.addr))
		fast := startLoad(z.addr, "/", uploaded(0, sumOfStream(t, 0), "length", ""), 4)
		var slow sync.WaitGroup
		refused := func(kind, text string, size int, limit time.Duration) {
			c := dial(t, z.addr)
			slow.Go(func() {
				go drip(c.Conn, text, size, 50*time.Millisecond)
				if got, after := endOf(c.Conn); !strings.HasPrefix(got, "HTTP/1.1 408 ") || after > limit {
					t.Errorf("%s: %.40q after %v, want a 408 within %v", kind, got, after, limit)
				}
			})
		}
		for range 50 {
			refused("a head", "GET / HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("X: y\r\n", 1000), 1, 6*time.Second)
			refused("a body", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"+strings.Repeat("a", 100), 1+70, 9*time.Second)
		}
		for range 10 {
			long := "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("a", 6000)
			refused("a body of 200 bytes/s", long, 10, 15*time.Second)
			refused("chunks of 20 bytes/s", "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1\r\na\r\n", 600), 6, 12*time.Second)
		}
		const size = 8000
		c := dial(t, z.addr)
		body, err := io.ReadAll(stream(size))
		if err != nil {
			t.Fatal(err)
		}
		c.write(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
		took := drip(c.Conn, string(body), 100, 50*time.Millisecond) // 2000 bytes/s
		if _, got := c.response("PUT"); got != uploaded(size, sumOfStream(t, size), "length", "") || took < 2*time.Second {
			t.Errorf("a body sent in %v: %s", took, got)
		}
		slow.Wait()
		c.Close()
		undisturbed(t, "dripping heads and bodies", fast)
	})
}

// Clients that take their answer too slowly are cut off; one that is slow
// behind large buffers, but not too slow, gets every byte.
func TestSlowTakers(t *testing.T) {
	const size, slowTakers = 64 * mib, 12 * time.Second
	besides(t, func(t *testing.T, backend string) {
		path, sum := bodyFile(t, size, "64MiB")
		z := start(t, backend, fmt.Sprintf(slowConfig, startNginx(t, bodyDir).addr))
		fast := startLoad(z.addr, "/hello", "hello\n", 4)
		var slow sync.WaitGroup
		for i := range 10 {
			c := dialSmall(t, z.addr)
			c.write("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
			slow.Go(func() {
				// Half of them take 200 bytes/s, the others nothing at all.
				for begun := time.Now(); time.Since(begun) < slowTakers; time.Sleep(50 * time.Millisecond) {
					if i%2 == 0 {
						io.CopyN(io.Discard, c.Conn, 10)
					}
				}
				if n, err := io.Copy(io.Discard, c.Conn); err == nil || n > mib {
					t.Errorf("after %v a client that was too slow still got %d bytes, %v", slowTakers, n, err)
				}
			})
		}
		c := dial(t, z.addr)
		c.write("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		res := c.head("GET")
		if n, got, err := sumUp(&steady{r: res.Body, rate: 200e3, begun: time.Now(), until: slowTakers}); err != nil || n != size || got != sum {
			t.Errorf("a client that takes 200 KB/s: %d bytes, %v", n, err)
		}
		c.Close()
		slow.Wait()
		undisturbed(t, "clients that hardly read", fast)
	})
}

// processCPU is the CPU time a proxy has taken.
func (z *zproxy) processCPU(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", z.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// limitDescriptors has the program be started with no more than n, until it is undone.
func limitDescriptors(t *testing.T, n int) (undo func()) {
	t.Helper()
	binary := zproxyBin
	limited := filepath.Join(t.TempDir(), "limited")
	if err := child.WriteProgram(limited, fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", n, binary)); err != nil {
		t.Fatal(err)
	}
	zproxyBin = limited
	return func() { zproxyBin = binary }
}

// Out of descriptors (EMFILE), the proxy neither spins nor stops: who is
// connected is served, and new ones are again once there are descriptors.
func TestOutOfDescriptors(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		// io_uring notes the limit when an accept is begun, so it holds from the start.
		defer limitDescriptors(t, 200)()
		z := start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}], pool: {prewarm: 16}}}
routes: [{path: "/*", upstream: app}]
limits: {connections: 100000}
`, startNginx(t, t.TempDir()).addr))
		fast := startLoad(z.addr, "/hello", "hello\n", 8)
		time.Sleep(300 * time.Millisecond)
		f := startFlood(z.addr, 1000)
		f.all.Wait()
		time.Sleep(300 * time.Millisecond)
		undisturbed(t, "a lack of descriptors", fast)
		cpu := z.processCPU(t)
		time.Sleep(time.Second)
		if spent := z.processCPU(t) - cpu; spent > 300*time.Millisecond {
			t.Errorf("%v of CPU in a second in which there is nothing to do but to wait for descriptors", spent)
		}
		f.stop()
		fresh(t, z)
		eventually(t, patience, "errors of accept are counted: there was a lack", func() (bool, string) {
			n := z.metrics(t).sum("zproxy_loop_accept_errors_total")
			return n > 0, fmt.Sprint(n)
		})
		eventually(t, patience, "there is a warning at the start", func() (bool, string) {
			return z.says("level=WARN", "subject=limits", "limits.connections does not fit", "LimitNOFILE"), z.out.String()
		})
		eventually(t, patience, "the log says that descriptors have run out", func() (bool, string) {
			return z.says("level=WARN", "subject=limits", "file descriptors have run out", "times=", "LimitNOFILE"), z.out.String()
		})
		if n := strings.Count(z.out.String(), "file descriptors have run out"); n > 2 {
			t.Errorf("said %d times", n)
		}
	})
}

// Buffer memory is used up by uploads that their origin does not take: new
// work is shed, with 503 or by not reading it, and what was begun finishes.
func TestMemoryUsedUp(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		var release = make(chan struct{})
		stuck := startOrigin(t, func(c *originConn) {
			c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			<-release
			for r := c.request(); r != nil; r = c.request() {
				n, sum, err := sumUp(r.Body)
				if err != nil {
					return
				}
				c.write(ok(uploaded(n, sum, "length", "")))
			}
		})
		z := start(t, backend, fmt.Sprintf(`
loops: 1
buffers: {max_per_loop: 8MiB}
listeners: [{address: LISTEN}]
upstreams:
  stuck: {endpoints: [{address: %q}], timeouts: {idle: 20s}, socket: {send_buffer: 16KiB}}
routes:
  - {path: "/up", upstream: stuck}
  - {path: "/own", respond: {body: "own\n"}}
limits: {request_body_timeout: 20s}
access_log: {path: LOGFILE, flush: 20ms}
`, stuck.addr))
		const size = 2 * mib
		want := uploaded(size, sumOfStream(t, size), "length", "")
		var whole, refused, other atomic.Int64
		var uploads sync.WaitGroup
		for range 60 {
			c := dial(t, z.addr)
			uploads.Go(func() {
				switch status, answer := putStream(c, size); {
				case status == 200 && answer == want:
					whole.Add(1)
				case status == 503:
					refused.Add(1)
				case status == 0:
					other.Add(1)
				default:
					t.Errorf("an upload was answered %d: %.60s", status, answer)
				}
			})
		}
		time.Sleep(time.Second)
		m := z.metrics(t)
		held := m.sum("zproxy_buffer_blocks_in_use") * m.sum("zproxy_buffer_block_bytes")
		if held > 8*mib {
			t.Errorf("%v bytes of buffers in use, the limit is 8 MiB", held)
		}
		// A healthy client meanwhile is answered, or told to come back: at once.
		for range 5 {
			begun := time.Now()
			if status := askOnce(z.addr, "/own"); status != 200 && status != 503 || time.Since(begun) > fastLimit {
				t.Errorf("a client beside got status %d after %v, want 200 or 503", status, time.Since(begun))
			}
		}
		close(release)
		uploads.Wait()
		if whole.Load() < 10 {
			t.Errorf("of 60 uploads %d arrived whole, %d were refused, %d ended without an answer", whole.Load(), refused.Load(), other.Load())
		}
		t.Logf("%.1f MiB held; %d uploads whole, %d refused with 503, %d reset in mid-upload; %s", held/mib, whole.Load(), refused.Load(), other.Load(), z.failures())
		eventually(t, patience, "there is memory again", func() (bool, string) { n := askOnce(z.addr, "/own"); return n == 200, fmt.Sprint(n) })
		if got := dial(t, z.addr).get("/own"); got != "own\n" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// putStream sends a body of size bytes and reads the answer meanwhile; status 0:
// there was none.
func putStream(c *client, size int64) (status int, answer string) {
	go func() {
		io.WriteString(c.Conn, fmt.Sprintf("PUT /up HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
		io.Copy(c.Conn, stream(size))
	}()
	res, err := readHead(c)
	if err != nil {
		return 0, ""
	}
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// Heads that do not go on hold a block each. With the last blocks gone their
// clients are told to come back, and whoever sends a whole request is answered.
func TestMemoryUsedUpByHeads(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		z := start(t, backend, `
loops: 1
buffers: {max_per_loop: 2MiB}
listeners: [{address: LISTEN}]
routes: [{path: "/own", respond: {body: "own\n"}}]
limits: {request_header_timeout: 2m}
`)
		const blocks, many = 128, 400
		var heads []*client
		for range many {
			c := dial(t, z.addr)
			c.write("GET /own HTTP/1.1\r\n")
			heads = append(heads, c)
		}
		time.Sleep(300 * time.Millisecond)
		for range 20 {
			begun := time.Now()
			if status := askOnce(z.addr, "/own"); status != 200 && status != 503 || time.Since(begun) > fastLimit {
				t.Errorf("a client beside got status %d after %v, want 200 or 503", status, time.Since(begun))
			}
		}
		var refused atomic.Int64
		var reading sync.WaitGroup
		for _, c := range heads {
			reading.Go(func() {
				if res, err := readHead(c); err == nil {
					if refused.Add(1); res.StatusCode != 503 {
						t.Errorf("a client with half a head got %s, want 503", res.Status)
					}
				}
			})
		}
		eventually(t, patience, "clients with half a head are told to come back", func() (bool, string) {
			n := refused.Load()
			return n >= many-blocks, fmt.Sprintf("%d of %d", n, many)
		})
		for _, c := range heads {
			c.Close()
		}
		reading.Wait()
		eventually(t, patience, "there is memory again", func() (bool, string) {
			status := askOnce(z.addr, "/own")
			return status == 200, fmt.Sprint(status)
		})
	})
}

// An origin that accepts and never answers, and one that dies in the middle of
// its answers, cost nobody anything who does not ask them.
func TestSickOriginsBesideHealthy(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		silent := startOrigin(t, func(c *originConn) { io.Copy(io.Discard, c.Conn) })
		dying := startOrigin(t, func(c *originConn) {
			if c.request() != nil {
				c.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("a", 50000))
				time.Sleep(time.Millisecond)
				c.Conn.(*net.TCPConn).SetLinger(0)
			}
		})
		z := start(t, backend, fmt.Sprintf(`
loops: 1
listeners: [{address: LISTEN}]
upstreams:
  silent: {endpoints: [{address: %q}], timeouts: {response: 500ms}, pool: {max_connections: 16, queue: 16, queue_timeout: 300ms}}
  dying: {endpoints: [{address: %q}]}
  app: {endpoints: [{address: %q}]}
routes:
  - {path: "/silent", upstream: silent}
  - {path: "/dying", upstream: dying}
  - {path: "/*", upstream: app}
`, silent.addr, dying.addr, startNginx(t, t.TempDir()).addr))
		fast := startLoad(z.addr, "/hello", "hello\n", 8)
		var asking sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		deadline := time.Now().Add(1500 * time.Millisecond)
		for i := range 64 {
			asking.Go(func() {
				for time.Now().Before(deadline) {
					path, wants := "/silent", []int{503, 504}
					if i%2 == 1 {
						path, wants = "/dying", []int{-1}
					}
					status := askOnce(z.addr, path)
					mu.Lock()
					statuses[status]++
					mu.Unlock()
					if status != wants[0] && status != wants[len(wants)-1] {
						t.Errorf("%s: status %d (-1: cut), want one of %v", path, status, wants)
						return
					}
				}
			})
		}
		asking.Wait()
		undisturbed(t, "sick origins", fast)
		if statuses[-1] == 0 {
			t.Error("no answer was cut")
		}
		t.Logf("by status, -1 a visible cut: %v", statuses)
	})
}

// askOnce gives the status of one answer, -1 for one that is cut, 0 for none.
func askOnce(addr, path string) int {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0
	}
	defer c.Close()
	k := &talk{Conn: c}
	k.send("GET "+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0)
	k.listen(1, true, patience)
	switch {
	case len(k.answers) == 1 && k.fault == nil:
		return k.answers[0].Status
	case k.ended && len(k.answers) == 0 && len(k.in) > 0:
		return -1
	}
	return 0
}

// A disk that is full costs log lines, which are counted, and nothing else.
func TestLogDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("there is no /dev/full (mknod /dev/full c 1 7): %v", err)
	}
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
access_log: {path: /dev/full, flush: 20ms, buffer_bytes: 4KiB}
`, startNginx(t, t.TempDir()).addr))
		fast := startLoad(z.addr, "/hello", "hello\n", 8)
		eventually(t, patience, "lost lines are counted and reported", func() (bool, string) {
			dropped := z.metrics(t).sum("zproxy_access_log_dropped_total")
			return dropped > 0 && strings.Contains(z.out.String(), syscall.ENOSPC.Error()), fmt.Sprintf("%v dropped", dropped)
		})
		undisturbed(t, "a full disk", fast)
		if n := strings.Count(z.out.String(), syscall.ENOSPC.Error()); n > 3 {
			t.Errorf("%d reports of the same", n)
		}
	})
}

// The admin pages are there while the proxy is busy, and asking for them all
// the time slows nobody down.
func TestAdminUnderLoad(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
`, startNginx(t, t.TempDir()).addr))
		fast := startLoad(z.addr, "/hello", "hello\n", 32)
		var pages, failed atomic.Int64
		var asking sync.WaitGroup
		const enough = 600
		deadline, late := time.Now().Add(1500*time.Millisecond), time.Now().Add(patience)
		for i := range 4 {
			asking.Go(func() {
				for time.Now().Before(deadline) || pages.Load() < enough && time.Now().Before(late) {
					res, err := adminClient.Get("http://" + z.admin + []string{"/metrics", "/status", "/healthz", "/readyz"}[i])
					if err != nil {
						failed.Add(1)
						continue
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if pages.Add(1); res.StatusCode != 200 {
						failed.Add(1)
					}
				}
			})
		}
		// Connections that say nothing there must not shut others out.
		before := z.files()
		idle := startFlood(z.admin, 320)
		asking.Wait()
		grown := z.files() - before
		opened := idle.stop()
		if grown > 200 { // there may be 128 of them
			t.Errorf("%d connections to the admin listener cost %d descriptors", opened, grown)
		}
		// Who comes with the flood may be taken for a part of it, once in a while.
		if failed.Load()*100 > pages.Load() || pages.Load() < 20 {
			t.Errorf("%d admin pages, %d failed, beside %d idle connections", pages.Load(), failed.Load(), opened)
		}
		undisturbed(t, "a busy admin listener", fast)
	})
}
