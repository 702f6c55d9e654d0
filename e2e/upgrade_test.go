package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/child"
	"zproxy/internal/longtest"
	"zproxy/internal/mixedload"
)

// lineage is a proxy that is upgraded: processes that come from the first one.
type lineage struct {
	*zproxy
	bin string // the file that is started
}

// startLineage starts a copy of the program, which can be exchanged. What text has of LISTEN is
// as in start.
func startLineage(t *testing.T, backend, text string) *lineage {
	t.Helper()
	l := &lineage{bin: filepath.Join(t.TempDir(), "zproxy")}
	l.exchange(t, zproxyBin)
	l.zproxy = startWith(t, l.bin, backend, text)
	first := l.zproxy.cmd.Process.Pid
	t.Cleanup(func() { syscall.Kill(-first, syscall.SIGKILL) }) // all are of its group
	return l
}

// exchange puts a copy of the file from in the place of the program.
func (l *lineage) exchange(t *testing.T, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = child.WriteProgram(l.bin+".new", b)
	}
	if err == nil {
		err = os.Rename(l.bin+".new", l.bin)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// upgrade runs the command, and gives what it printed and its exit status.
func (l *lineage) upgrade(t *testing.T) (says string, status int) {
	t.Helper()
	cmd := exec.Command(zproxyBin, "upgrade", "-admin", l.admin)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (l *lineage) mustUpgrade(t *testing.T) {
	t.Helper()
	before := l.pid(t)
	says, status := l.upgrade(t)
	if status != 0 {
		t.Fatalf("the upgrade fails with status %d: %s\n%s", status, says, tail(l.out.String()))
	}
	// Until the older process has heard of it, both answer.
	handed := fmt.Sprintf("new_pid=%s", strings.TrimSuffix(strings.Fields(says)[1], ","))
	eventually(t, patience, "the older process has heard of it", func() (bool, string) {
		// What is printed is read for some minutes longer than the first process runs.
		return strings.Contains(l.out.String(), handed) || !l.running(), tail(l.out.String())
	})
	for streak, deadline := 0, time.Now().Add(patience); streak < 10; streak++ {
		if now := l.pid(t); !strings.HasSuffix(handed, fmt.Sprintf("=%d", now)) || now == before {
			streak = -1
		}
		if time.Now().After(deadline) {
			t.Fatalf("the command says %s, and process %d serves on", says, before)
		}
	}
}

// pid is the number of the process that serves.
func (l *lineage) pid(t *testing.T) int {
	t.Helper()
	for began := time.Now(); ; {
		var pid int
		res, err := adminClient.Get("http://" + l.admin + "/status")
		if err == nil {
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if i := strings.Index(string(b), `"pid": `); i >= 0 {
				fmt.Sscan(string(b[i+len(`"pid": `):]), &pid)
				return pid
			}
		}
		if time.Since(began) > patience {
			t.Fatalf("no process answers at the admin address: %v\n%s", err, tail(l.out.String()))
		}
		time.Sleep(5 * time.Millisecond) // who hands over has cut the answer off
	}
}

// ends has the process that serves come to its end, and waits until all have.
func (l *lineage) ends(t *testing.T) {
	t.Helper()
	l.rests(t)
	syscall.Kill(l.pid(t), syscall.SIGTERM)
	eventually(t, 2*stopLimit, "all processes end", func() (bool, string) {
		return syscall.Kill(-l.cmd.Process.Pid, 0) == syscall.ESRCH, tail(l.out.String())
	})
	l.wait(t, stopLimit) // the first has been seen to end, which the end of the test asks about
	if s := l.out.String(); strings.Contains(s, "panic:") || strings.Contains(s, "DATA RACE") {
		t.Errorf("it printed:\n%s", tail(s))
	}
}

const upgradeConfig = `
loops: LOOPS
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {endpoints: [{address: %[1]q}]}, calls: {protocol: h2c, endpoints: [{address: %[1]q}]}}
routes: [{path: "/*", upstream: app}, {path: /grpc, upstream: calls}]
shutdown: {grace: %[2]s}
`

// A new process takes over under load, with other loops and another backend each time: no
// request fails or is made twice, and no connection ends of which its client was not told.
func TestUpgradeUnderLoad(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		upgradesUnderLoad(t, backend, 4, 15*time.Second, mixedload.Clients{Each: 12, Pauses: []time.Duration{3 * time.Millisecond, 3 * time.Millisecond, 1300 * time.Millisecond}})
	})
}

func TestLengthyUpgrades(t *testing.T) {
	longtest.Need(t)
	eachBackend(t, func(t *testing.T, backend string) {
		upgradesUnderLoad(t, backend, 100, 20*time.Second, mixedload.Clients{Secure: freeAddr(t), Each: 8, Pauses: lengthyPauses})
	})
}

// lengthyPauses are of clients that are there for minutes.
var lengthyPauses = []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, 5 * time.Second}

// upgradesUnderLoad upgrades while there is a load, of clients that are within TLS too if they have an address for it.
// Some pause for so long that an older process waits for them; grace is far longer, so that they ask within it on a machine that is busy.
func upgradesUnderLoad(t *testing.T, backend string, times int, grace time.Duration, clients mixedload.Clients) {
	origin := loadedOrigin(t)
	text := fmt.Sprintf(upgradeConfig, origin.addr, grace)
	if clients.Secure != "" {
		pair := newAuthority(t, "ca", nil).issue(t, "ecdsa", nil, "a.example")
		text = strings.Replace(text, "listeners: [", fmt.Sprintf("listeners: [{address: %q, tls: {certificates: [{cert: %q, key: %q}]}}, ", clients.Secure, pair.cert, pair.key), 1)
	}
	l := startLineage(t, backend, strings.Replace(text, "LOOPS", "2", 1))
	clients.Clear, clients.Prior = l.addr, l.addr
	m := mixedload.Start(clients)
	defer m.Stop()
	for i := range times {
		done := m.Of(mixedload.Fresh).Answered + m.Of(mixedload.Kept).Answered
		io := backends[(i/2)%len(backends)]
		config := strings.Replace(l.config, "loops: 2", fmt.Sprintf("loops: %d", 1+i%2), 1)
		config = strings.Replace(config, "io: "+backend, "io: "+io, 1)
		writeFile(t, l.file, config)
		l.mustUpgrade(t)
		eventually(t, patience, "clients are served", func() (bool, string) {
			return m.Of(mixedload.Fresh).Answered+m.Of(mixedload.Kept).Answered > done+50, tail(l.out.String())
		})
		l.counts(t, float64(i+1), "zproxy_upgrades_total")
	}
	eventually(t, patience+grace, "WebSockets of an older process are told to go away", func() (bool, string) { return m.Of(mixedload.WebSocket).Told > 0, tail(l.out.String()) })
	origin.allWell(t, m)
	l.ends(t)
}

// holding is an origin that answers /slow when it is told to, and the rest at once.
func holding(t *testing.T) (origin string, release chan bool) {
	release = make(chan bool)
	return startOrigin(t, answering(func(c *originConn, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-release:
			case <-t.Context().Done():
			}
			c.write(ok("late"))
			return
		}
		c.write(ok("hello\n"))
	})).addr, release
}

// hold has a request under way in the process that serves.
func (l *lineage) hold(t *testing.T) *client {
	t.Helper()
	active := func() (n int) {
		for _, loop := range l.status(t).Loops {
			n += loop.Active
		}
		return n
	}
	was := active()
	c := dial(t, l.addr)
	c.write("GET /slow HTTP/1.1\r\nHost: e2e\r\n\r\n")
	eventually(t, patience, "the request is under way", func() (bool, string) { n := active(); return n > was, fmt.Sprint(n) })
	return c
}

// late reads the answer to a request that was held.
func late(t *testing.T, c *client) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if res, body := c.response("GET"); body != "late" || !res.Close {
		t.Errorf("the request under way in an older process: %q, close %v", body, res.Close)
	}
	c.Close()
}

// A new process that does not come to serve changes nothing, and why is said where it was asked
// for, in the log and in the metrics. Then one that serves takes over all the same.
func TestUpgradeThatFails(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		l := startLineage(t, backend, `
listeners: [{address: LISTEN}]
routes: [{path: "/*", respond: {body: ok}}]
`)
		kept, pid := dial(t, l.addr), l.pid(t)
		script := func(text string) {
			l.exchange(t, writeFile(t, filepath.Join(t.TempDir(), "script"), "#!/bin/sh\n"+text+"\n"))
		}
		for i, c := range []struct {
			prepare func()
			says    string
		}{
			{func() { script("exit 3") }, "exit status 3"},
			{func() { os.Remove(l.bin) }, "no such file"},
			{func() { l.exchange(t, zproxyBin); writeFile(t, l.file, l.config+"nonsense: true\n") }, "nonsense"},
		} {
			c.prepare()
			if says, status := l.upgrade(t); status != 1 || !strings.Contains(says, c.says) {
				t.Errorf("status %d, and it says %q, want %q", status, says, c.says)
			}
			l.logged(t, c.says)
			kept.SetDeadline(time.Now().Add(patience))
			kept.get("/")
			if got := l.pid(t); got != pid {
				t.Fatalf("process %d serves, want %d", got, pid)
			}
			l.counts(t, float64(i+1), "zproxy_upgrade_failures_total")
			l.counts(t, 1, "zproxy_upgrade_failing")
		}
		kept.Close()
		l.ends(t)
	})
}

// A new process that says nothing is killed after a while.
func TestUpgradeThatHangs(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		l := startLineage(t, backend, `
listeners: [{address: LISTEN}]
routes: [{path: "/*", respond: {body: ok}}]
shutdown: {upgrade_timeout: 300ms}
`)
		pid := l.pid(t)
		l.exchange(t, writeFile(t, filepath.Join(t.TempDir(), "script"), "#!/bin/sh\nexec sleep 1000\n"))
		if says, status := l.upgrade(t); status != 1 || !strings.Contains(says, "did not serve within 300ms") {
			t.Errorf("status %d, and it says %q", status, says)
		}
		if got := l.pid(t); got != pid {
			t.Fatalf("process %d serves, want %d", got, pid)
		}
		l.ends(t) // which waits for all there are
	})
}

// The process that dies is replaced by the other one: the new one by the old one, as long as that
// has not ended, the old one by the new one. Requests in the one that lives are finished.
func TestUpgradeAndDeath(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		origin, release := holding(t)
		l := startLineage(t, backend, strings.Replace(fmt.Sprintf(upgradeConfig, origin, "1m"), "LOOPS", "2", 1))
		first := l.pid(t)
		one := l.hold(t)
		for range 2 { // the second time it has been replaced before
			l.mustUpgrade(t)
			syscall.Kill(l.pid(t), syscall.SIGKILL)
			eventually(t, patience, "the old process serves again", func() (bool, string) { return l.pid(t) == first, tail(l.out.String()) })
			for range 20 {
				c := dial(t, l.addr)
				c.get("/")
				c.Close()
			}
		}
		l.mustUpgrade(t)
		second, two := l.pid(t), l.hold(t)
		l.mustUpgrade(t) // while the first still finishes
		third := l.pid(t)
		close(release)
		late(t, one)
		late(t, two)
		for _, pid := range []int{first, second} {
			eventually(t, patience, "older processes end", func() (bool, string) {
				return gone(pid), tail(l.out.String())
			})
		}
		if now := l.pid(t); now != third {
			t.Errorf("process %d serves, want %d", now, third)
		}
		l.ends(t)
	})
}

// gone says that a process has ended, though nobody may have asked how.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// An old process that is killed behind the hand-over takes nothing with it.
func TestUpgradeAndDeathOfTheOld(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		origin, _ := holding(t)
		l := startLineage(t, backend, strings.Replace(fmt.Sprintf(upgradeConfig, origin, "1m"), "LOOPS", "2", 1))
		held, first := l.hold(t), l.pid(t)
		l.mustUpgrade(t)
		syscall.Kill(first, syscall.SIGKILL)
		l.logged(t, "the older process has ended")
		held.Close()
		for range 20 {
			c := dial(t, l.addr)
			c.get("/")
			c.Close()
		}
		if l.pid(t) == first {
			t.Error("the dead one serves")
		}
		l.ends(t)
	})
}

// Sockets in files are passed on too, tickets of TLS sessions stay good, and what the
// configuration has no more is closed; the last process removes the files.
func TestUpgradePassesOn(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		pair := ca.issue(t, "ecdsa", nil, "a.example")
		file, gone := filepath.Join(t.TempDir(), "z.sock"), freeAddr(t)
		l := startLineage(t, backend, fmt.Sprintf(`listeners:
  - {address: LISTEN, tls: {certificates: [{cert: %q, key: %q}]}}
  - {address: "unix:%s"}
  - {address: %q}
routes: [{path: "/*", respond: {body: ok}}]
`, pair.cert, pair.key, file, gone))
		cache := fixedSession{tls.NewLRUClientSessionCache(4)}
		resumed := func() bool {
			c, err := tls.Dial("tcp", l.addr, &tls.Config{RootCAs: ca.pool(), ServerName: "a.example", ClientSessionCache: cache})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
			if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "ok") { // the ticket comes before
				t.Fatalf("%q, %v", b, err)
			}
			return c.ConnectionState().DidResume
		}
		if resumed() || !resumed() {
			t.Fatal("sessions are not resumed, or strangers' are")
		}
		writeFile(t, l.file, strings.Replace(l.config, fmt.Sprintf("  - {address: %q}\n", gone), "", 1))
		l.mustUpgrade(t)
		eventually(t, patience, "the older process ends", func() (bool, string) {
			return strings.Contains(l.out.String(), "the older process has ended"), tail(l.out.String())
		})
		if !resumed() {
			t.Error("the new process does not resume what the old one began")
		}
		if c, err := net.Dial("unix", file); err != nil {
			t.Errorf("the socket in a file: %v", err)
		} else {
			c.Close()
		}
		refused(t, gone)
		l.ends(t)
		if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket's file behind the end: %v", err)
		}
	})
}
