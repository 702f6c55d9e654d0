package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"zproxy/internal/longtest"
	"zproxy/internal/mixedload"
)

const (
	largeRoutes    = 10_000
	largeUpstreams = 1_000
	largeReloads   = 100
	// largeGrowth is how much more may be held after many reloads than after a few: what
	// is garbage, and in which pieces the kernel has it back, is chance.
	largeGrowth = 48 * mib
	// mostGrowth is how many times more what is left may be once garbage has been collected.
	mostGrowth = 1.05
)

// largeText is a configuration of many routes and upstreams, in which turn changes one of each.
func largeText(addr, loaded string, turn int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners:\n  - {address: %q}\nupstreams:\n", addr)
	for i := range largeUpstreams {
		retries := 1
		if i == turn%largeUpstreams {
			retries = 2
		}
		fmt.Fprintf(&b, "  u%d: {endpoints: [{address: \"127.0.0.1:9\"}], retries: %d}\n", i, retries)
	}
	fmt.Fprintf(&b, "  loaded: {endpoints: [{address: %q}]}\nroutes:\n  - {path: /echo, upstream: loaded}\n  - {path: /turn, respond: {status: 200, body: \"%d\"}}\n", loaded, turn)
	for i := range largeRoutes - 1 {
		fmt.Fprintf(&b, "  - {host: h%d.example, path: \"/r%d/*\", upstream: u%d}\n", i%100, i, i%largeUpstreams)
	}
	return b.String()
}

// A configuration of many routes and upstreams is reloaded many times, and what it takes does not grow.
func TestLengthyLargeReload(t *testing.T) {
	longtest.Need(t)
	eachBackend(t, func(t *testing.T, backend string) {
		origin := loadedOrigin(t)
		z := start(t, backend, largeText("LISTEN", origin.addr, 0))
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		head, _, _ := strings.Cut(z.config, "listeners:")
		asking := mixedload.Start(mixedload.Clients{Clear: z.addr, Kinds: []mixedload.Kind{mixedload.Kept}, Each: 4, Pauses: []time.Duration{time.Millisecond}})
		defer asking.Stop()
		eventually(t, patience, "clients are served", func() (bool, string) { return asking.Total().Answered > 1000, asking.String() })
		delays("without reloads", t, asking)
		var took []time.Duration
		var rss, live float64
		for turn := 1; turn <= largeReloads; turn++ {
			writeFile(t, z.file, head+largeText(z.addr, origin.addr, turn))
			began := time.Now()
			z.signal(t, syscall.SIGHUP)
			for z.turn(t, client) != turn {
				if time.Since(began) > time.Minute {
					t.Fatalf("reload %d is not in force: %s", turn, tail(z.out.String()))
				}
				time.Sleep(time.Millisecond)
			}
			took = append(took, time.Since(began))
			// A loop serves the route before the reload has ended, and signals until then may be one.
			eventually(t, time.Minute, "the reload has ended", func() (bool, string) {
				return z.metrics(t).sum("zproxy_reloads_total", `outcome="done"`) >= float64(turn), tail(z.out.String())
			})
			if turn == 5 {
				rss, live = z.resident(t), z.live(t)
			}
		}
		delays("beside reloads", t, asking)
		asking.Stop()
		if n := asking.Total(); n.Failed+n.Early > 0 {
			t.Errorf("clients that ask: %v", asking)
		}
		slices.Sort(took)
		t.Logf("%s: from signal to effect: median %v, longest %v", backend, took[len(took)/2], took[len(took)-1])
		eventually(t, 5*time.Minute, "memory is as it was", func() (bool, string) {
			r, l := z.resident(t), z.live(t)
			says := fmt.Sprintf("%s: resident set %.1f MiB, live heap %.1f MiB; after 5 reloads %.1f and %.1f", backend, r/mib, l/mib, rss/mib, live/mib)
			t.Log(says)
			return r <= rss+largeGrowth && l <= live*mostGrowth, says
		})
	})
}

// delays logs how long answers took since it was asked last: what a reload holds a loop up for is
// in the longest.
func delays(when string, t *testing.T, l *mixedload.Load) {
	took := l.Took()
	slices.Sort(took)
	n := len(took)
	t.Logf("%s: of %d answers half took %v, 99 %% %v, 99.9 %% %v, all %v", when, n, took[n/2], took[n*99/100], took[n*999/1000], took[n-1])
}

// turn is which configuration answers.
func (z *zproxy) turn(t *testing.T, client *http.Client) (turn int) {
	t.Helper()
	resp, err := client.Get(z.url("/turn"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(body), &turn); err != nil {
		t.Fatalf("%s %q: %v", resp.Status, body, err)
	}
	return turn
}

func (z *zproxy) resident(t *testing.T) float64 {
	t.Helper()
	return float64(z.memory(t, "smaps_rollup", "Rss"))
}

// live is the memory that objects of the program take, without garbage: the least of some collections, since one
// that comes amid a request for the metrics finds what that takes. Such requests are what brings them on.
func (z *zproxy) live(t *testing.T) (least float64) {
	t.Helper()
	const collections = 6
	first, last := z.metrics(t).sum("go_gc_cycles_total"), 0.
	eventually(t, patience, "garbage is collected", func() (bool, string) {
		m := z.metrics(t)
		n := m.sum("go_gc_cycles_total") - first
		// The first of them may have begun before, and have taken what became garbage meanwhile for alive.
		if l := m.sum("go_heap_live_bytes"); n > 1 && n > last && (least == 0 || l < least) {
			least = l
		}
		last = n
		return n >= collections, fmt.Sprintf("%v collections", n)
	})
	return least
}
