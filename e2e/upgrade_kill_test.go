package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
)

// A new process that is killed at any point of its life before the old one has ended leaves the old
// one serving at all addresses, with whom it had before; an old one that is killed behind the hand-over
// leaves the new one. An older process that still finishes what is under way does so all the while.
func TestUpgradeKilledAtAnyPoint(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		seed := uint64(time.Now().UnixNano())
		rng := rand.New(rand.NewPCG(seed, 0))
		t.Logf("seed %d", seed)
		ca := newAuthority(t, "ca", nil)
		pair := ca.issue(t, "ecdsa", nil, "a.example")
		secure, file := freeAddr(t), filepath.Join(t.TempDir(), "z.sock")
		origin, release := holding(t)
		another, finish := holding(t)
		l := startLineage(t, backend, fmt.Sprintf(`
loops: 2
listeners:
  - {address: LISTEN, protocols: [http1, h2c]}
  - {address: %q, tls: {certificates: [{cert: %q, key: %q}]}}
  - {address: "unix:%s"}
upstreams: {app: {endpoints: [{address: %q}]}, later: {endpoints: [{address: %q}]}, loaded: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app}, {path: /slow, methods: [PUT], upstream: later}, {path: /ws, upstream: loaded}]
shutdown: {grace: 5m}
`, secure, pair.cert, pair.key, file, origin, another, loadedOrigin(t).addr))
		serves := func() { t.Helper(); l.servesAll(t, secure, file, ca) }
		one := l.hold(t)
		began := time.Now()
		l.mustUpgrade(t)
		lasts := time.Since(began)
		old, two := l.pid(t), l.hold(t)
		echoes := l.echoes(t)
		stream := dialH2(t, l.addr)
		held := stream.ask(1, true, "PUT", "/slow")
		served := 0 // before they were killed
		for range 8 {
			kept := dial(t, l.addr)
			kept.SetDeadline(time.Now().Add(2 * patience))
			kept.get("/")
			if l.killsNext(t, old, time.Duration(rng.Int64N(int64(3*lasts/2)+1))) {
				served++
			}
			serves()
			kept.get("/")
			kept.Close()
			echoes()
		}
		echoes()
		t.Logf("%d of 8 served before they were killed", served)
		l.mustUpgrade(t)
		echoes()
		close(finish)
		stream.SetDeadline(time.Now().Add(patience))
		stream.until("a stream that was open all the while is answered", held.over)
		if held.status() != "200" {
			t.Errorf("a stream that was open all the while: %v", held)
		}
		newest := l.pid(t)
		time.Sleep(time.Duration(rng.Int64N(int64(lasts) + 1)))
		syscall.Kill(old, syscall.SIGKILL)
		two.Close()
		l.logged(t, "the older process has ended")
		serves()
		close(release)
		late(t, one)
		if now := l.pid(t); now != newest {
			t.Errorf("process %d serves, want %d", now, newest)
		}
		l.ends(t)
	})
}

// servesAll asks at all addresses, each time by a new connection.
func (l *lineage) servesAll(t *testing.T, secure, file string, ca *authority) {
	t.Helper()
	for range 4 {
		c := dial(t, l.addr)
		c.get("/")
		c.Close()
		within, err := tls.Dial("tcp", secure, &tls.Config{RootCAs: ca.pool(), ServerName: "a.example"})
		if err != nil {
			t.Fatalf("TLS: %v\n%s", err, tail(l.out.String()))
		}
		asked(t, within)
		named, err := net.Dial("unix", file)
		if err != nil {
			t.Fatalf("the socket in a file: %v\n%s", err, tail(l.out.String()))
		}
		asked(t, named)
	}
}

// killsNext has the process old upgraded and kills the new one after a while, and says whether it has served
// before. When it returns old serves again.
func (l *lineage) killsNext(t *testing.T, old int, after time.Duration) (served bool) {
	t.Helper()
	cmd := exec.Command(zproxyBin, "upgrade", "-admin", l.admin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var next int
	eventually(t, patience, "a new process is started", func() (bool, string) { next = childOf(old); return next > 0, tail(l.out.String()) })
	time.Sleep(after)
	syscall.Kill(next, syscall.SIGKILL)
	served = cmd.Wait() == nil
	eventually(t, patience, "the new process is gone, and the old one serves", func() (bool, string) {
		return gone(next) && l.pid(t) == old, fmt.Sprintf("killed after %v: %s", after, tail(l.out.String()))
	})
	return served
}

// echoes opens a WebSocket, and gives what asks for an echo by it.
func (l *lineage) echoes(t *testing.T) func() {
	t.Helper()
	ws, _, err := gorilla.DefaultDialer.Dial("ws://"+l.addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return func() {
		t.Helper()
		ws.SetReadDeadline(time.Now().Add(patience))
		if err := ws.WriteMessage(gorilla.TextMessage, []byte("still there")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := ws.ReadMessage(); err != nil || string(b) != "still there" {
			t.Fatalf("a WebSocket: %q, %v", b, err)
		}
	}
}

// asked has c ask for something, once.
func asked(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
		t.Errorf("%q, %v", b, err)
	}
}

// childOf is the newest process that pid has started and that has not ended, 0: there is none.
func childOf(pid int) (newest int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for _, text := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(text); err == nil && !gone(child) {
				newest = max(newest, child)
			}
		}
	}
	return newest
}
