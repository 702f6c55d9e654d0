package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/internal/longtest"
)

const (
	// changesFor is how long endpoints change, and changesPerSecond how often.
	changesFor       = 10 * time.Second
	changesPerSecond = 1000
)

// loopCPU is the CPU time of the threads of a process that may run on one CPU alone: its loops.
func loopCPU(t *testing.T, pid int) (sum time.Duration) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	loops := 0
	for _, task := range tasks {
		status, err := os.ReadFile(task + "/status")
		if err != nil {
			continue // it has ended
		}
		_, allowed, _ := strings.Cut(string(status), "Cpus_allowed_list:")
		allowed, _, _ = strings.Cut(strings.TrimSpace(allowed), "\n")
		if strings.ContainsAny(allowed, ",-") {
			continue
		}
		b, err := os.ReadFile(task + "/schedstat")
		if err != nil {
			t.Skipf("%v: a kernel with CONFIG_SCHED_INFO is needed", err)
		}
		ns, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ns)
		loops++
	}
	if loops == 0 {
		t.Skip("no thread of the proxy is bound to one CPU: two CPUs are needed in the affinity mask")
	}
	return sum
}

// evenLoad sends requests at an even pace for a while, and gives how many were answered and how many were not.
func evenLoad(addr string, clients int, pause, long time.Duration) (answered, failed int) {
	var good, bad atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Add(1)
		go func() {
			defer all.Done()
			client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for end, i := time.Now().Add(long), 0; time.Now().Before(end); i++ {
				resp, err := client.Get(fmt.Sprintf("http://%s/%d", addr, i))
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if err != nil || resp.StatusCode != http.StatusOK {
					bad.Add(1)
				} else {
					good.Add(1)
				}
				<-tick.C
			}
		}()
	}
	all.Wait()
	return int(good.Load()), int(bad.Load())
}

// changing are changes of the endpoints of an upstream until stop is closed: how many were in force, and how many failed.
type changing func(t *testing.T, u *unixAdmin, addrs []string, stop <-chan struct{}) (made, failed int)

// changeWeights sets weights by the admin socket.
func changeWeights(t *testing.T, u *unixAdmin, addrs []string, stop <-chan struct{}) (made, failed int) {
	const every, atOnce = 10 * time.Millisecond, 60 // that wait to be in force
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", u.socket)
	}}}
	defer client.CloseIdleConnections()
	set := func(i int) error {
		body := strings.NewReader(fmt.Sprintf(`{"weight": %d}`, i/len(addrs)%3*(1+i%2)))
		req, err := http.NewRequest("PUT", "http://admin/upstreams/app/endpoints/"+addrs[i*7%len(addrs)], body)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %s, %v", resp.StatusCode, b, err)
		}
		return nil
	}
	var good, bad atomic.Int64
	var all sync.WaitGroup
	tick := time.NewTicker(every)
	defer tick.Stop()
	slots := make(chan struct{}, atOnce)
	for i := 0; ; {
		select {
		case <-stop:
			all.Wait()
			return int(good.Load()), int(bad.Load())
		case <-tick.C:
		}
		for range changesPerSecond * every / time.Second {
			select {
			case slots <- struct{}{}:
			default:
				continue
			}
			i++
			all.Add(1)
			go func() {
				defer all.Done()
				if err := set(i); err != nil {
					if bad.Add(1) == 1 {
						t.Error(err)
					}
				} else {
					good.Add(1)
				}
				<-slots
			}()
		}
	}
}

// changeFile has endpoints come and go in the file that discovery reads.
func changeFile(t *testing.T, u *unixAdmin, addrs []string, stop <-chan struct{}) (made, failed int) {
	const every, gone = 200 * time.Millisecond, 100
	before := u.updates(t)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return 2 * gone * (u.updates(t) - before), 0
		case <-tick.C:
		}
		at := i * gone % len(addrs)
		there := append(append([]string{}, addrs[:at]...), addrs[min(at+gone, len(addrs)):]...)
		name := filepath.Join(u.dir, "endpoints.yaml")
		if err := os.Rename(writeFile(t, name+".new", list(there...)), name); err != nil {
			t.Error(err)
			return 0, 1
		}
	}
}

// updates is how many lists of endpoints discovery has found.
func (u *unixAdmin) updates(t *testing.T) int {
	t.Helper()
	resp, err := u.http.Get("http://admin/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if line := sc.Text(); strings.HasPrefix(line, "zproxy_discovery_updates_total{") {
			n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("/metrics has no zproxy_discovery_updates_total")
	return 0
}

// A thousand changes each second of a thousand endpoints, with the tables that take longest to build too, cost
// a loop at most a twentieth of its time, and no request. What else runs only adds to that time: the least of three
// measurements counts.
func TestLengthyEndpointChanges(t *testing.T) {
	longtest.Need(t)
	eachBackend(t, func(t *testing.T, backend string) {
		m := startMany(t, 1000)
		listed := fmt.Sprintf("endpoints: [%s]", m.config())
		for _, row := range []struct {
			what, upstream string
			change         changing
		}{
			{"weights", "balance: least_conn, " + listed, changeWeights},
			{"endpoints of a file", `discover: {file: {path: "./endpoints.yaml"}}`, changeFile},
			{"endpoints of a file with maglev", `balance: maglev, hash_on: path, discover: {file: {path: "./endpoints.yaml"}}`, changeFile},
		} {
			t.Run(row.what, func(t *testing.T) { costOfChanges(t, backend, row.upstream, m.addrs, row.change) })
		}
	})
}

func costOfChanges(t *testing.T, backend, upstream string, addrs []string, change changing) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "endpoints.yaml"), list(addrs...))
	u := startUnixAdmin(t, fmt.Sprintf(`
io: %s
loops: 1
log: {level: error}
listeners: [{address: LISTEN}]
upstreams: {app: {%s}}
routes: [{path: "/*", upstream: app}]
`, backend, strings.ReplaceAll(upstream, "./", dir+"/")))
	u.dir = dir
	load := func() (spent time.Duration, answered int) {
		before := loopCPU(t, u.cmd.Process.Pid)
		answered, failed := evenLoad(u.addr, 4, 8*time.Millisecond, changesFor)
		if failed > 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
		return loopCPU(t, u.cmd.Process.Pid) - before, answered
	}
	evenLoad(u.addr, 8, time.Millisecond, 2*time.Second) // connections are made
	var share float64
	for try := 1; try <= 3; try++ {
		if share = shareOfChanges(t, u, addrs, change, load); share <= 0.05 {
			return
		}
	}
	t.Errorf("changes cost the loop %.1f %% of its time", 100*share)
}

// shareOfChanges is how much of a loop's time changes take, by load without and with them.
func shareOfChanges(t *testing.T, u *unixAdmin, addrs []string, change changing, load func() (time.Duration, int)) float64 {
	t.Helper()
	alone, first := load()
	stop, done := make(chan struct{}), make(chan [2]int)
	go func() {
		made, failed := change(t, u, addrs, stop)
		done <- [2]int{made, failed}
	}()
	beside, second := load()
	close(stop)
	n := <-done
	share := float64(beside-alone*time.Duration(second)/time.Duration(max(1, first))) / float64(changesFor)
	t.Logf("%d changes; %d requests took the loop %v without, and %d %v with them: changes cost %.1f %% of its time", n[0], first, alone, second, beside, 100*share)
	if n[0] < changesPerSecond*int(changesFor/time.Second)/2 || n[1] > 0 {
		t.Errorf("%d changes were made, and %d failed", n[0], n[1])
	}
	return share
}
