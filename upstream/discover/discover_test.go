package discover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/upstream"
)

func TestParseFile(t *testing.T) {
	ready := func(addrs ...string) (list []Endpoint) {
		for _, addr := range addrs {
			list = append(list, Endpoint{Address: addr, Weight: 1})
		}
		return list
	}
	for _, c := range []struct {
		text  string
		want  []Endpoint
		wrong string
	}{
		{text: "[]", want: []Endpoint{}},
		{text: "endpoints: []", want: []Endpoint{}},
		{text: "- 10.0.0.2:80\n- 10.0.0.1:80\n", want: ready("10.0.0.1:80", "10.0.0.2:80")},
		{text: `["[2001:DB8::1]:80", "unix:/run/app.sock"]`, want: ready("[2001:db8::1]:80", "unix:/run/app.sock")},
		{text: `[{"address": "10.0.0.1:80", "weight": 7, "priority": 3, "zone": "a", "labels": {"v": "2"}, "state": "draining"}]`,
			want: []Endpoint{{Address: "10.0.0.1:80", Weight: 7, Priority: 3, Zone: "a", Labels: map[string]string{"v": "2"}, Draining: true}}},
		{text: "- {address: 10.0.0.1:80, state: ready}\n", want: ready("10.0.0.1:80")},
		{text: "", wrong: "empty"},
		{text: `["10.0.0.1:80"`, wrong: "line"},
		{text: "10.0.0.1:80", wrong: "a list"},
		{text: "- 10.0.0.1:80\n---\n- 10.0.0.2:80\n", wrong: "more"},
		{text: "- 10.0.0.1:80\n- 10.0.0.1:80\n", wrong: "twice"},
		{text: "- '[::ffff:10.0.0.1]:80'\n- 10.0.0.1:80\n", wrong: "twice"},
		{text: "- app.example:80\n", wrong: "names"},
		{text: "- 10.0.0.1\n", wrong: "10.0.0.1"},
		{text: "- {address: 10.0.0.1:80, backup: true}\n", want: []Endpoint{{Address: "10.0.0.1:80", Weight: 1, Backup: true}}},
		{text: "- {address: 10.0.0.1:80, priority: 16}\n", wrong: "0 to 15"},
		{text: "- {address: 10.0.0.1:80, backup: maybe}\n", wrong: "true or false"},
		{text: "- {address: 10.0.0.1:80, backup: true, priority: 1}\n", wrong: "one of them"},
		{text: "- {weight: 1}\n", wrong: "without address"},
		{text: "- {address: 10.0.0.1:80, weight: 0}\n", wrong: "1 to 256"},
		{text: "- {address: 10.0.0.1:80, weight: 1, weight: 2}\n", wrong: "twice"},
		{text: "- {address: 10.0.0.1:80, state: gone}\n", wrong: "ready or draining"},
		{text: "- {address: 10.0.0.1:80, wieght: 1}\n", wrong: `"wieght" is not known`},
		{text: "- {address: 10.0.0.1:80, labels: [a]}\n", wrong: "labels"},
		{text: "- [10.0.0.1:80]\n", wrong: "expected an address"},
	} {
		got, err := parseFile([]byte(c.text))
		switch {
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%q: got %v, %v, expected an error with %q", c.text, got, err, c.wrong)
		case c.wrong == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%q: got %v, %v, expected %v", c.text, got, err, c.want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("- {address: 10.0.0.1:80, weight: 3, labels: {a: b}}\n- unix:/x\n"))
	f.Add([]byte(`{"endpoints": ["10.0.0.1:80"]}`))
	f.Add([]byte("&a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseFile(data)
		if err != nil {
			return
		}
		again, err := tidied(list)
		if err != nil || !sameList(list, again) {
			t.Errorf("%v becomes %v, %v", list, again, err)
		}
	})
}

// told is a Sink that keeps what it is told.
type told struct {
	mu    sync.Mutex
	lists [][]Endpoint
	errs  []error
	same  int
}

func (s *told) Found(list []Endpoint) { s.mu.Lock(); s.lists = append(s.lists, list); s.mu.Unlock() }
func (s *told) Failed(err error)      { s.mu.Lock(); s.errs = append(s.errs, err); s.mu.Unlock() }
func (s *told) Same()                 { s.mu.Lock(); s.same++; s.mu.Unlock() }

// await waits until ok, which sees what s was told.
func (s *told) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		is := ok()
		s.mu.Unlock()
		if is {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s; it was told %v, %v", what, s.lists, s.errs)
		}
	}
}

// What a file goes through: it is not there, half there, there, another one by a link, gone.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "endpoints")
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var s told
	var running sync.WaitGroup
	running.Go(func() { (&file{path}).Run(ctx, &s) })
	defer running.Wait()
	defer cancel()
	is := func(port string) func() bool {
		return func() bool {
			n := len(s.lists)
			return n > 0 && len(s.lists[n-1]) == 1 && s.lists[n-1][0].Address == "10.0.0.1:"+port
		}
	}
	s.await(t, "it is not there", func() bool { return len(s.errs) == 1 && errors.Is(s.errs[0], os.ErrNotExist) })
	write("endpoints", `["10.0.0.1:1"]`)
	s.await(t, "it is there", is("1"))
	s.await(t, "it stays", func() bool { return s.same > 2 })
	write("endpoints", `["10.0.0.1:2"`)
	s.await(t, "half of it is there", func() bool { return len(s.errs) == 2 })
	must(os.Rename(write("other", `["10.0.0.1:2"]`), path))
	s.await(t, "it is there again", is("2"))
	// Two folders and a link between them, as Kubernetes updates what it mounts.
	must(os.MkdirAll(filepath.Join(dir, "a"), 0o700))
	must(os.MkdirAll(filepath.Join(dir, "b"), 0o700))
	write("a/list", `["10.0.0.1:3"]`)
	write("b/list", `["10.0.0.1:4"]`)
	must(os.Symlink("a", filepath.Join(dir, "data")))
	must(os.Symlink("data/list", filepath.Join(dir, "link")))
	must(os.Rename(filepath.Join(dir, "link"), path))
	s.await(t, "it is a link", is("3"))
	must(os.Symlink("b", filepath.Join(dir, "data2")))
	must(os.Rename(filepath.Join(dir, "data2"), filepath.Join(dir, "data")))
	s.await(t, "the link has been turned", is("4"))
	errs := 0
	s.await(t, "errors are counted", func() bool { errs = len(s.errs); return true })
	must(os.Remove(path))
	s.await(t, "it is gone", func() bool { return len(s.errs) > errs })
}

// fed is a feed without a source, and the cluster that has what it finds.
type fed struct {
	*feed
	c      *upstream.Cluster
	mu     sync.Mutex
	events []Event
}

func feedFor(t *testing.T, empty string, slots int) *fed {
	t.Helper()
	c, err := upstream.NewCluster(upstream.Config{Name: "app", Slots: slots, MaxConnections: 10, Queue: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := &fed{c: c}
	set := New(Config{
		Report:  func(e Event) { f.mu.Lock(); f.events = append(f.events, e); f.mu.Unlock() },
		Lacking: func() {},
	})
	t.Cleanup(set.Stop)
	f.feed = &feed{set: set, name: "app", first: make(chan struct{}), wake: make(chan struct{}, 1), clusters: []*upstream.Cluster{c},
		spec: config.Discover{File: &config.DiscoverFile{}, Empty: empty}}
	set.all.Go(func() { f.run(set.ctx) })
	return f
}

func at(ports ...int) (list []Endpoint) {
	for _, port := range ports {
		list = append(list, Endpoint{Address: fmt.Sprintf("10.0.0.1:%d", port)})
	}
	return list
}

// has waits until the cluster has the endpoints at ports.
func (f *fed) has(t *testing.T, ports ...int) {
	t.Helper()
	want := map[string]bool{}
	for _, e := range at(ports...) {
		want[e.Address] = true
	}
	var got map[string]bool
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		got = map[string]bool{}
		for _, e := range f.c.Endpoints() {
			if !e.Vacant() {
				got[e.Address] = true
			}
		}
		if reflect.DeepEqual(got, want) {
			return
		}
	}
	t.Fatalf("the cluster has %v, expected %v", got, want)
}

func (f *fed) saw(kind EventKind) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestFeedKeepsWhatThereWas(t *testing.T) {
	f := feedFor(t, "keep", 8)
	f.Found(at(1, 2))
	f.has(t, 1, 2)
	f.Failed(errors.New("no"))
	f.Failed(errors.New("no"))
	f.Found(append(at(1), at(1)...))
	f.has(t, 1, 2)
	if s := f.state(time.Now()); s.Failures != 3 || s.Failing == "" || f.saw(Fails) != 2 {
		t.Errorf("after failures the state is %+v, and %d were reported", s, f.saw(Fails))
	}
	f.Found(nil)
	for f.saw(Empty) == 0 {
		time.Sleep(time.Millisecond)
	}
	f.has(t, 1, 2)
	if s := f.state(time.Now()); !s.Kept || s.Failing != "" || f.saw(Works) != 1 {
		t.Errorf("without endpoints the state is %+v", s)
	}
	f.Found(at(3))
	f.has(t, 3)
	if s := f.state(time.Now()); s.Kept || s.Updates != 2 || s.AgeSec < 0 {
		t.Errorf("at last the state is %+v", s)
	}
}

func TestFeedDrains(t *testing.T) {
	f := feedFor(t, "drain", 8)
	f.Found(at(1, 2))
	f.has(t, 1, 2)
	list := at(1, 2)
	list[0].Draining = true
	f.Found(list)
	f.has(t, 2)
	list[1].Draining = true
	f.Found(list)
	f.has(t, 1, 2) // better than nothing
	f.Found(nil)
	f.has(t)
}

// More than there is room for is told, and served once there is room.
func TestFeedLacks(t *testing.T) {
	f := feedFor(t, "keep", 2)
	f.Found(at(1, 2, 3))
	f.has(t, 1, 2)
	for end := time.Now().Add(20 * time.Second); f.state(time.Now()).Lacking != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the state is %+v", f.state(time.Now()))
		}
	}
	ups := []config.Upstream{{Name: "app", Discover: &f.spec, Room: config.Room{Slots: 2}}}
	p := &Plan{feeds: []*feed{f.feed}}
	p.Room(ups)
	if ups[0].Room != (config.Room{Slots: fewest, Round: 1}) {
		t.Errorf("the room is %+v", ups[0].Room)
	}
	c, err := upstream.NewCluster(upstream.Config{Name: "app", Slots: ups[0].Room.Slots, Queue: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	p.Fill([]*upstream.Cluster{c})
	f.set.Use(p, []*upstream.Cluster{c})
	f.c = c
	f.has(t, 1, 2, 3)
	if s := f.state(time.Now()); s.Lacking != 0 {
		t.Errorf("the state is %+v", s)
	}
	was := ups[0].Room
	if p.Room(ups); ups[0].Room != was {
		t.Errorf("where there is room it becomes %+v", ups[0].Room)
	}
}

// A subset has the endpoints with its labels, which may come and go, and of those that drain those that would else be none.
func TestFeedFillsSubsets(t *testing.T) {
	f := feedFor(t, "keep", 8)
	sub, err := upstream.NewCluster(upstream.Config{Name: "app", Labels: map[string]string{"v": "b"}, Slots: 8, Queue: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{feeds: []*feed{f.feed}}
	f.set.Use(p, []*upstream.Cluster{f.c, sub})
	whole := f.c
	of := func(labels ...string) {
		list := at(1, 2, 3)
		for i, v := range labels {
			if v != "" {
				list[i].Labels = map[string]string{"v": v[:1]}
				list[i].Draining = len(v) > 1
			}
		}
		f.Found(list)
	}
	for _, c := range []struct {
		labels []string
		want   []int
	}{
		{[]string{"a", "b", "b"}, []int{2, 3}}, {[]string{"b", "b", "a"}, []int{1, 2}}, {[]string{"a", "", "a"}, nil},
		{[]string{"b-", "b", "b"}, []int{2, 3}}, {[]string{"b-", "a", "a"}, []int{1}}, {[]string{"b", "b", "b"}, []int{1, 2, 3}},
	} {
		of(c.labels...)
		f.c = sub
		f.has(t, c.want...)
	}
	f.c = whole
	f.has(t, 1, 2, 3)
}

// A source that is the same goes on when another configuration comes.
func TestPlanKeepsSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(`["10.0.0.1:1"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	set := New(Config{Report: func(Event) {}, Lacking: func() {}})
	defer set.Stop()
	of := func(path, empty string) []config.Upstream {
		return []config.Upstream{{Name: "app", Discover: &config.Discover{File: &config.DiscoverFile{Path: path}, Empty: empty, Wait: time.Minute}}, {Name: "listed"}}
	}
	first := set.Plan(of(path, "keep"))
	first.Wait()
	set.Use(first, nil)
	if first.Found("app") != 1 {
		t.Fatalf("%d endpoints were found", first.Found("app"))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	same := set.Plan(of(path, "keep"))
	same.Wait()
	if len(same.begun) != 0 || same.Found("app") != 1 {
		t.Errorf("%d sources begin, %d endpoints are known", len(same.begun), same.Found("app"))
	}
	set.Use(same, nil)
	other := set.Plan(of(path, "drain"))
	other.Wait() // the file is not there, so this is soon
	if len(other.begun) != 1 || other.Found("app") != 0 {
		t.Errorf("of another configuration %d sources begin, %d endpoints are known", len(other.begun), other.Found("app"))
	}
	other.Abandon()
	if same.Found("app") != 1 {
		t.Error("what is in force has lost its endpoints")
	}
}
