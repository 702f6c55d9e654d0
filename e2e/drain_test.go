package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slowAnswer is an origin that has the second half of /slow wait for until, and answers the rest
// at once.
func slowAnswer(t *testing.T, until <-chan bool) func(*originConn) {
	return answering(func(c *originConn, r *http.Request) {
		if r.URL.Path == "/slow" {
			c.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
			select {
			case <-until:
			case <-t.Context().Done(): // the test has ended
			}
			c.write("-last")
			return
		}
		c.write(ok("hello\n"))
	})
}

// atOnce is what has come already.
var atOnce = func() <-chan bool {
	c := make(chan bool)
	close(c)
	return c
}()

const drainConfig = `
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}]
shutdown: {grace: %s, idle_timeout: 100ms}
`

// SIGTERM under load: nobody new is let in, what is under way is finished,
// idle connections are closed, and the process ends by itself with status 0.
func TestDrain(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		until := make(chan bool)
		z := start(t, backend, fmt.Sprintf(drainConfig, startOrigin(t, slowAnswer(t, until)).addr, "60s"))
		idle, slow := dial(t, z.addr), dial(t, z.addr)
		idle.get("/")
		slow.write("GET /slow HTTP/1.1\r\nHost: e2e\r\n\r\n")
		res := slow.head("GET")
		clients := startLoad(z.addr, "/", "hello\n", 8)
		clients.reach(t, 100)

		z.signal(t, syscall.SIGTERM)
		eventually(t, stopLimit, "new connections are refused", func() (bool, string) {
			c, err := net.Dial("tcp", z.addr)
			if err == nil {
				c.Close()
			}
			return err != nil, "connected"
		})
		idle.ends()
		if res, err := adminClient.Get("http://" + z.admin + "/readyz"); err == nil {
			if res.StatusCode != 503 {
				t.Errorf("/readyz: %s while draining, want 503", res.Status)
			}
			res.Body.Close()
		}
		if !z.running() {
			t.Error("it did not wait for the request under way")
		}
		close(until)
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "first-last" {
			t.Errorf("the response under way: %q, %v", b, err)
		}
		slow.ends()
		if status := z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		answered, _, _ := clients.stop(t)
		if answered == 0 {
			t.Error("nothing was answered under load")
		}
	})
}

// Of what clients under load had sent before they could know of the end, every
// request is answered, or its connection closed before a byte of an answer.
func TestDrainCutsNothing(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(drainConfig, startOrigin(t, slowAnswer(t, atOnce)).addr, "5m"))
		halves := make(chan error, 16)
		var begun sync.WaitGroup
		begun.Add(cap(halves))
		for range cap(halves) {
			go func() { halves <- untilClosed(z.addr, begun.Done) }()
		}
		begun.Wait()
		z.signal(t, syscall.SIGTERM)
		for range cap(halves) {
			if err := <-halves; err != nil {
				t.Error(err)
			}
		}
		if status := z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
	})
}

// untilClosed asks on one connection until it is closed; an error is an answer
// of which only a part came. begun is called once it has been answered often, or will not be.
func untilClosed(addr string, begun func()) error {
	begun = sync.OnceFunc(begun)
	defer begun()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	counted := &counter{Conn: c}
	for n := 0; ; n++ {
		if n == 20 {
			begun()
		}
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: e2e\r\n\r\n"); err != nil {
			return nil
		}
		counted.n = 0
		answer := make([]byte, len("HTTP/1.1 "))
		if _, err := io.ReadFull(counted, answer); err != nil {
			if counted.n > 0 {
				return fmt.Errorf("answer %d is cut after %d bytes: %v", n, counted.n, err)
			}
			return nil
		}
		// The rest of a head and a body of known length.
		end, got := "hello\n", ""
		for len(got) < len(end) || got[len(got)-len(end):] != end {
			b := make([]byte, 512)
			m, err := counted.Read(b)
			if got += string(b[:m]); err != nil {
				return fmt.Errorf("answer %d is cut: %q: %v", n, got, err)
			}
		}
	}
}

type counter struct {
	net.Conn
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n += n
	return n, err
}

// The grace is an end, too: a request that takes longer is cut and the process
// ends.
func TestDrainDeadline(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(drainConfig, startOrigin(t, slowAnswer(t, nil)).addr, "500ms"))
		slow := dial(t, z.addr)
		slow.write("GET /slow HTTP/1.1\r\nHost: e2e\r\n\r\n")
		res := slow.head("GET")
		begin := time.Now()
		z.signal(t, syscall.SIGTERM)
		if status := z.wait(t, stopLimit); status != 0 {
			t.Errorf("exit status %d, want 0", status)
		}
		if took := time.Since(begin); took < 450*time.Millisecond || took > 3*time.Second {
			t.Errorf("the process ended after %v, want 500ms", took)
		}
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("the cut response looks whole: %q", b)
		}
	})
}

// A second signal ends at once, and says that it was not a clean end.
func TestSecondSignal(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(drainConfig, startOrigin(t, slowAnswer(t, nil)).addr, "5m"))
		slow := dial(t, z.addr)
		slow.write("GET /slow HTTP/1.1\r\nHost: e2e\r\n\r\n")
		slow.head("GET")
		z.signal(t, syscall.SIGTERM)
		eventually(t, stopLimit, "it drains", func() (bool, string) {
			c, err := net.Dial("tcp", z.addr)
			if err == nil {
				c.Close()
			}
			return err != nil, "connected"
		})
		if !z.running() {
			t.Fatal("it did not wait for the request under way")
		}
		z.signal(t, syscall.SIGINT)
		if status := z.wait(t, stopLimit); status != 1 {
			t.Errorf("exit status %d, want 1", status)
		}
	})
}
