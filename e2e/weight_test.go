package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// weigh is PUT of a weight of an endpoint of upstream app.
func (u *unixAdmin) weigh(t *testing.T, address, weight string) (status int, says string) {
	t.Helper()
	return u.ask(t, "/upstreams/app/endpoints/"+address, `{"weight": `+weight+`}`)
}

// which counts who answers n requests, each on a connection of its own.
func which(t *testing.T, addr string, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		resp, err := once.Get("http://" + addr + "/which")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d, %q, %v", resp.StatusCode, b, err)
		}
		got[string(b)]++
	}
	return got
}

// A weight that is set by the admin socket holds at once, and over reloads, under load.
func TestWeightsAtRunTime(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		one, two := startNumbered(t, 1), startNumbered(t, 2)
		text := fmt.Sprintf(`
io: %s
loops: 2
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}, {address: %q}]%%s}}
routes: [{path: "/*", upstream: app}]
`, backend, one, two)
		u := startUnixAdmin(t, fmt.Sprintf(text, ""))
		l := startLoad(u.addr, "/", "ok", 2)
		expects := func(what string, good func(first, second int) bool) {
			t.Helper()
			if got := which(t, u.addr, 40); !good(got["1"], got["2"]) {
				t.Errorf("%s %v have answered", what, got)
			}
		}
		put := func(address, weight string, want int) {
			t.Helper()
			if status, says := u.weigh(t, address, weight); status != want {
				t.Errorf("weight %s of %s: %d, expected %d: %s", weight, address, status, want, says)
			}
		}
		expects("at the start", func(first, second int) bool { return first > 10 && second > 10 })
		put(one, "0", 200)
		expects("without the first", func(first, second int) bool { return first == 0 })
		if status, says := u.put(t, u.whole(fmt.Sprintf(text, ", retries: 2"))); status != 200 {
			t.Fatalf("%d: %s", status, says)
		}
		expects("behind a reload", func(first, second int) bool { return first == 0 })
		put(one, "9", 200)
		expects("with weight 9", func(first, second int) bool { return first > 30 && second > 0 })
		put(one, "null", 200)
		expects("with its own weight", func(first, second int) bool { return first > 10 && second > 10 })
		put("127.0.0.1:1", "1", 422)
		put(one, "65537", 422)
		put(one, "-1", 400)
		if answered, failed, _ := l.stop(t); failed != 0 || answered == 0 {
			t.Errorf("of %d requests %d failed", answered+failed, failed)
		}
	})
}

// A weight that was set holds in the process that takes over, and is the endpoint's own again when that is asked for.
func TestWeightsOutliveAnUpgrade(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		one, two := startNumbered(t, 1), startNumbered(t, 2)
		u := startUnixAdmin(t, fmt.Sprintf(`
io: %s
loops: 2
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}, {address: %q}]}}
routes: [{path: "/*", upstream: app}]
`, backend, one, two))
		first := u.cmd.Process.Pid
		t.Cleanup(func() { syscall.Kill(-first, syscall.SIGKILL) }) // the next process is of its group
		if status, says := u.weigh(t, one, "0"); status != 200 {
			t.Fatalf("%d: %s", status, says)
		}
		if out, err := exec.Command(zproxyBin, "upgrade", "-admin", "unix:"+u.socket).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		eventually(t, patience, "the older process has ended", func() (bool, string) {
			return strings.Contains(u.out.String(), "the older process has ended"), tail(u.out.String())
		})
		if got := which(t, u.addr, 20); got["1"] != 0 {
			t.Errorf("behind an upgrade %v have answered", got)
		}
		if status, says := u.weigh(t, one, "null"); status != 200 {
			t.Fatalf("%d: %s", status, says)
		}
		if got := which(t, u.addr, 20); got["1"] == 0 || got["2"] == 0 {
			t.Errorf("with its own weight %v have answered", got)
		}
	})
}

// An endpoint that comes up begins with a tenth of its share.
func TestSlowStart(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		for _, slow := range []struct {
			time string
			good func(new int) bool
		}{{"1h", func(new int) bool { return new > 0 && new < 20 }}, {"300ms", func(new int) bool { return new > 35 }}} {
			addrs := []string{startNumbered(t, 0), startNumbered(t, 1), startNumbered(t, 2)}
			d := startDiscovering(t, backend, "http1", "", list(addrs[:1]...))
			if !d.reload(t, strings.ReplaceAll(fmt.Sprintf(foundInFile, "http1", d.endpoints, "", ", slow_start: "+slow.time), "LISTEN", fmt.Sprintf("%q", d.addr))) {
				t.Fatal("it does not reload")
			}
			d.replace(t, list(addrs[:2]...))
			d.has(t, addrs[:2]...)
			if slow.time != "1h" {
				eventually(t, patience, "it has its whole share", func() (bool, string) {
					m := d.metrics(t)
					return m.sum("zproxy_endpoint_slow_start_percent", addrs[1]) == 100, fmt.Sprint(m.sum("zproxy_endpoint_slow_start_percent"))
				})
			}
			if got := d.each(t, 100); !slow.good(got["1"]) {
				t.Errorf("with slow_start: %s %v have answered", slow.time, got)
			}
		}
	})
}
