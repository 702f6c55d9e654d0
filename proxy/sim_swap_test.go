package proxy

import (
	"fmt"
	"strings"
	"testing"

	"zproxy/config"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// swapNs is how long a configuration lasts at most where they are changed all the time.
const swapNs = 3e6

// swaps are changes of the configuration in the middle of everything.
type swaps struct {
	registry *snapshot.Registry
	variants []*config.Config
	most     int // 0: there are none
	done     int
	owed     [][]*snapshot.Snapshot // by worker: its mailbox was full
}

// swapping has a part of all runs change their configuration. The set-up of the others, and
// what they do, does not depend on it.
func (s *simulation) swapping(loops int) (err error) {
	if s.seed%7 != 3 && s.swaps.most == 0 {
		return nil
	}
	s.swaps.most = max(s.swaps.most, 20)
	s.swaps.owed = make([][]*snapshot.Snapshot, loops)
	for _, text := range s.variants() {
		cfg, err := config.Parse("sim.yaml", []byte(text))
		if err != nil {
			return err
		}
		if s.tls[fromClient] {
			cfg.Listeners[0].TLS.Certificates[0] = simCertificate()
		}
		s.swaps.variants = append(s.swaps.variants, cfg)
	}
	s.world.After(1, s.swap)
	return nil
}

// variants serve alike, and are alike where it does not matter to who asks: in one half of
// the runs the upstream stays what it is, and others come and go; in the other half it is
// another one each time. Where requests may fail, the route of a variant is gone in the next one, which has
// one like it, and what began on it soon ends.
func (s *simulation) variants() (texts []string) {
	for i := range 3 {
		text := s.text
		if s.seed%2 == 0 {
			text = strings.Replace(text, "idle_timeout: 4s", fmt.Sprintf("idle_timeout: %dms", 4000+i), 1)
		}
		more := strings.Repeat(fmt.Sprintf("  other%d: {endpoints: [{address: \"10.9.0.%d:80\"}]}\n", i, i+1), min(i, 1))
		text = strings.Replace(text, "routes: [", more+"routes: [", 1)
		if more != "" {
			text = strings.Replace(text, "routes: [", fmt.Sprintf("routes: [{path: \"/other/*\", upstream: other%d}, ", i), 1)
		}
		if !s.calm && s.seed%3 != 0 {
			text = strings.Replace(text, "/r/:id", fmt.Sprintf("/r/:id%d", i), 1) + fmt.Sprintf("reload: {grace: %dms}\n", 1+s.seed%5*25)
		}
		texts = append(texts, text)
	}
	return texts
}

func (s *simulation) swap() {
	if s.swaps.done == s.swaps.most || s.drainedAny() {
		return
	}
	s.swaps.done++
	snap, err := s.swaps.registry.Compile(s.swaps.variants[s.swaps.done%len(s.swaps.variants)])
	if err != nil {
		s.fail("another configuration: %v", err)
		return
	}
	snap.Workers = s.snap.Workers
	s.delaying(snap)
	s.snap = snap
	for i := range s.workers {
		s.swaps.owed[i] = append(s.swaps.owed[i], snap)
	}
	s.tellSwaps()
	s.world.After(1+int64(s.swaps.done*7919%swapNs), s.swap)
}

func (s *simulation) tellSwaps() {
	again := false
	for i, w := range s.workers {
		owed := &s.swaps.owed[i]
		for len(*owed) > 0 && AskAdopt(w.l.Loop, (*owed)[0]) {
			*owed = (*owed)[1:]
		}
		again = again || len(*owed) > 0
	}
	if again && !s.drainedAny() {
		s.world.After(1e6, s.tellSwaps)
	}
}

func (s *simulation) drainedAny() bool {
	for _, w := range s.workers {
		if w.drain.on {
			return true
		}
	}
	return false
}

// clusters are those that any worker has.
func (s *simulation) clusters() map[*upstream.Cluster]bool {
	all := map[*upstream.Cluster]bool{}
	for _, w := range s.workers {
		for _, cl := range w.clusters {
			if cl != nil {
				all[cl.Shared] = true
			}
		}
	}
	return all
}

// openSlots is how many connections, or leaves, are counted.
func (s *simulation) openSlots() (n int) {
	for c := range s.clusters() {
		for _, e := range c.Endpoints() {
			n += e.Open()
		}
	}
	return n
}

// checkSwapped: when nothing is under way a worker has what the newest configuration says, and
// nothing of those before.
func (s *simulation) checkSwapped(i int, w *simWorker) {
	has, clusters := 0, 0
	for _, snap := range w.snaps.all {
		has += bit(snap != nil)
	}
	for _, cl := range w.clusters {
		clusters += bit(cl != nil)
	}
	if want := len(s.snap.Resolved()); has != 1 || w.snap != s.snap || clusters != want {
		s.fail("at rest loop %d has %d snapshots and %d upstreams, want 1 and %d (the newest: %v)", i, has, clusters, want, w.snap == s.snap)
	}
	if most := 1 + s.swaps.most; len(w.snaps.all) > most || len(w.clusters) > (2+s.subset.parts)*most {
		s.fail("loop %d had %d snapshots and %d upstreams at once", i, len(w.snaps.all), len(w.clusters))
	}
}

// Ten thousand configurations, one after the other under load: nobody notices, and nothing of
// them is left.
func TestSimSwaps(t *testing.T) {
	done, requests := 0, 0
	for seed := uint64(1); done < 10_000; seed++ {
		s, err := simulateSwaps(seed, t.TempDir(), 60)
		if err != nil {
			t.Fatal(err)
		}
		done, requests = done+s.swaps.done, requests+len(s.run.Requests)
		if len(s.failed) > 0 {
			s.report(t)
			return
		}
		if _, err := s.swaps.registry.Compile(s.swaps.variants[0]); err != nil {
			t.Fatal(err)
		}
		if n := s.swaps.registry.Live(); n > 2 && !s.early { // the last one, and this
			t.Fatalf("seed %d: %d of %d snapshots are held", seed, n, s.swaps.done)
		}
	}
	t.Logf("%d snapshots under %d requests", done, requests)
}
