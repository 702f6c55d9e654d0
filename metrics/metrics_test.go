package metrics_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"zproxy/metrics"
	"zproxy/metrics/accesslog"
)

// full is a snapshot in which everything there is to show is there, each plain
// counter with a value of its own.
func full() *metrics.Snapshot {
	s := &metrics.Snapshot{
		States: []metrics.LoopState{
			{Index: 0, CPU: 2, Node: 1, IO: "epoll", Polls: 7, Bound: true},
			{Index: 1, CPU: 3, Node: 1, IO: "uring"},
		},
		Pools: []metrics.PoolState{{Loop: 0, Upstream: "app", Idle: 3}, {Loop: 1, Upstream: "app", Waiting: 4}},
		Endpoints: []metrics.EndpointState{{Upstream: "app", Endpoint: "10.0.0.5:9000", Open: 5, Down: true, Broken: []metrics.ReasonTimes{{Reason: "http2_ping", Times: 2}},
			Checks: []metrics.CheckState{{Address: "10.0.0.5:9001", State: "up", Passed: 7, Failed: 3, TookMs: 1.5}, {Address: "10.0.0.6:9001", State: "down"}}}, {Upstream: "app", Endpoint: "unix:/a\"b\\c\nd\xff"}},
		Protocols: []metrics.ProtocolState{{Upstream: "app", Protocol: "h2"}, {Upstream: "other", Protocol: "unknown"}},
		Discovery: []metrics.DiscoveryState{{Upstream: "found", Kind: "file", AgeSec: 1.5, Kept: true, Updates: 3, Failures: 2,
			Draining: 1, Endpoints: make([]metrics.DiscoveredEndpoint, 5)}, {Upstream: "never", Kind: "file", AgeSec: -1}},
		Concurrency:      []metrics.ConcurrencyState{{Upstream: "app", Limit: 20, UnderWay: 7, LeastUs: 1500, LastUs: 2000, Samples: 9, Measurements: 2, Shed: make([]uint64, 8)}},
		Certificates:     []metrics.CertificateState{{Listener: "[::]:443", File: "a.pem", Days: 12.5}, {Listener: "[::]:443", File: "b.pem", Days: -1}},
		CertificateFiles: []metrics.CertificateFiles{{Listener: "[::]:443", Reloads: 3, Failures: 1, Failing: true}},
		ACME:             []metrics.ACMEState{{Certificate: "example.com", Failing: true, Issued: 2, Failures: map[string]uint64{"dns": 3, "connection": 1}, NextDays: 0.5}},
		Gauges: []metrics.Gauge{
			{Name: "zproxy_build_info", Labels: metrics.Labels("version", "1.0"), Help: "Build.", Value: 1},
		},
		Reasons:    []string{"", "bare LF", "same", "same"},
		Violations: []string{"", "opcode"},
		RouteNames: []string{"a.example/users/:id", "other"}, UpstreamNames: []string{"app"},
		FilterNames: []metrics.FilterName{{Route: "other", Filter: "ip"}},
	}
	for n := range 2 {
		l := new(metrics.Loop)
		v := reflect.ValueOf(l).Elem()
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Uint64 {
				v.Field(i).SetUint(uint64(1000*(n+1) + i))
			}
		}
		l.Routes, l.Upstreams = make([]metrics.Series, 2), make([]metrics.Series, 1)
		l.Routes[0].Count(200, 10, 100, 2e6)
		l.Routes[1].Count(404, 1, 2, 3e9)
		l.Upstreams[0].Count(200, 10, 100, 2e6)
		l.Filters = []metrics.Filter{{Passed: 6, WouldReject: 5, Rejected: 2, Waited: 3, Timed: 1, TimedNs: 1e9}}
		l.ResponsesByClass = [6]uint64{uint64(n), 1, 20, 3, 4, 5}
		l.RefusedByReason[1], l.RefusedByReason[2], l.RefusedByReason[3], l.RefusedByReason[63] = 11, 12, 13, 14
		l.WebSocket.CountFrame(1, 1, 100)
		l.WebSocket.CountFrame(1, 1, 11)
		l.WebSocket.CountFrame(0, 3, 7)
		l.WebSocket.Violations[1][2], l.WebSocket.Violations[0][1] = 3, 4
		for by, code := range []uint16{1000, 3999, 4000} {
			l.WebSocket.CountClose(uint8(by), code)
		}
		l.WebSocket.CountClose(2, 999)
		l.WebSocket.CountClose(2, 1015)
		l.TLS.Count(metrics.Handshake{Side: metrics.SideClient, Version: "1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519"})
		l.TLS.Count(metrics.Handshake{Side: metrics.SideUpstream, Version: "1.2", Suite: "s", Group: "none", Resumed: true})
		l.TLS.CountFailure(metrics.HandshakeFailure{Side: metrics.SideClient, Reason: "timeout"})
		l.TLS.Time.RecordValue(int64(n+1) * 1e6)
		l.Total.RecordValue(int64(n+1) * 1e6)
		s.Loops = append(s.Loops, l)
	}
	return s
}

func render(t *testing.T, s *metrics.Snapshot) (string, map[string]*family) {
	t.Helper()
	var page bytes.Buffer
	if err := s.WritePrometheus(&page); err != nil {
		t.Fatal(err)
	}
	families, err := parse(page.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, page.String())
	}
	return page.String(), families
}

func TestEveryCounterIsShown(t *testing.T) {
	s := full()
	page, families := render(t, s)
	for n, l := range s.Loops {
		v := reflect.ValueOf(l).Elem()
		for i := range v.NumField() {
			if v.Field(i).Kind() != reflect.Uint64 {
				continue
			}
			want := fmt.Sprintf(`{loop="%d"} %d`+"\n", n, v.Field(i).Uint())
			if !strings.Contains(page, want) {
				t.Errorf("field %s of loop %d is not shown", v.Type().Field(i).Name, n)
			}
		}
	}
	for _, want := range []string{
		`zproxy_requests_total{loop="1"} ` + fmt.Sprint(s.Loops[1].Requests),
		`zproxy_responses_total{loop="0",class="2xx"} 20`,
		`zproxy_responses_total{loop="1",class="other"} 1`,
		`zproxy_filter_requests_total{route="other",filter="ip",verdict="passed"} 2`,
		`zproxy_filter_requests_total{route="other",filter="ip",verdict="rejected"} 4`,
		`zproxy_filter_requests_total{route="other",filter="ip",verdict="dry_run"} 10`,
		`zproxy_filter_waits_total{route="other",filter="ip"} 6`,
		`zproxy_filter_seconds_total{route="other",filter="ip"} 128`,
		`zproxy_refused_total{loop="0",reason="bare LF"} 11`,
		`zproxy_refused_total{loop="0",reason="same (2)"} 12`,
		`zproxy_refused_total{loop="0",reason="same (3)"} 13`,
		`zproxy_refused_total{loop="0",reason="code_63"} 14`,
		`zproxy_loop_info{loop="0",cpu="2",node="1",io="epoll",memory_bound="true"} 1`,
		`zproxy_loop_polls_total{loop="0"} 7`,
		`zproxy_upstream_idle_connections{loop="0",upstream="app"} 3`,
		`zproxy_upstream_waiting_requests{loop="1",upstream="app"} 4`,
		`zproxy_endpoint_connections{upstream="app",endpoint="10.0.0.5:9000"} 5`,
		`zproxy_endpoint_up{upstream="app",endpoint="10.0.0.5:9000"} 0`,
		`zproxy_endpoint_http2_broken_total{upstream="app",endpoint="10.0.0.5:9000",reason="http2_ping"} 2`,
		`zproxy_health_check_up{upstream="app",endpoint="10.0.0.5:9000",address="10.0.0.5:9001"} 1`,
		`zproxy_discovery_endpoints{upstream="found",kind="file",state="ready"} 4`,
		`zproxy_discovery_endpoints{upstream="found",kind="file",state="draining"} 1`,
		`zproxy_discovery_updates_total{upstream="found",kind="file"} 3`,
		`zproxy_discovery_failures_total{upstream="found",kind="file"} 2`,
		`zproxy_discovery_age_seconds{upstream="found",kind="file"} 1.5`,
		`zproxy_discovery_age_seconds{upstream="never",kind="file"} -1`,
		`zproxy_discovery_kept{upstream="found",kind="file"} 1`,
		`zproxy_discovery_kept{upstream="never",kind="file"} 0`,
		`zproxy_health_check_up{upstream="app",endpoint="10.0.0.5:9000",address="10.0.0.6:9001"} 0`,
		`zproxy_health_checks_total{upstream="app",endpoint="10.0.0.5:9000",address="10.0.0.5:9001",result="passed"} 7`,
		`zproxy_health_checks_total{upstream="app",endpoint="10.0.0.5:9000",address="10.0.0.5:9001",result="failed"} 3`,
		`zproxy_health_check_duration_seconds{upstream="app",endpoint="10.0.0.5:9000",address="10.0.0.5:9001"} 0.0015`,
		`zproxy_endpoint_up{upstream="app",endpoint="unix:/a\"b\\c\nd` + "\ufffd" + `"} 1`,
		`zproxy_websocket_frames_total{loop="0",from="origin",opcode="text"} 2`,
		`zproxy_websocket_frames_total{loop="0",from="client",opcode="text"} 0`,
		`zproxy_websocket_frames_total{loop="1",from="client",opcode="opcode_3"} 1`,
		`zproxy_websocket_payload_bytes_total{loop="0",from="origin",opcode="text"} 111`,
		`zproxy_websocket_closes_total{loop="0",by="client",code="1000"} 1`,
		`zproxy_websocket_closes_total{loop="0",by="origin",code="3xxx"} 1`,
		`zproxy_websocket_closes_total{loop="0",by="proxy",code="4xxx"} 1`,
		`zproxy_websocket_closes_total{loop="0",by="proxy",code="other"} 1`,
		`zproxy_websocket_closes_total{loop="1",by="proxy",code="1015"} 1`,
		`zproxy_websocket_violations_total{loop="0",from="client",kind="opcode"} 4`,
		`zproxy_websocket_violations_total{loop="0",from="origin",kind="kind_2"} 3`,
		`zproxy_build_info{version="1.0"} 1`,
		`zproxy_request_duration_seconds_bucket{le="0.001"} 1`,
		`zproxy_request_duration_seconds_bucket{le="+Inf"} 2`,
		`zproxy_request_duration_seconds_sum 0.003`,
		`zproxy_upstream_connect_seconds_count 0`,
	} {
		if !strings.Contains(page, "\n"+want+"\n") {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, `class="other"} 0`) {
		t.Error("a class that does not exist is shown")
	}
	if got := families["zproxy_endpoint_up"].samples[1].labels["endpoint"]; got != "unix:/a\"b\\c\nd\ufffd" {
		t.Errorf("label read back as %q", got)
	}
}

// Every field of LoopState has to be shown somewhere, too.
func TestEveryStateIsShown(t *testing.T) {
	empty, _ := render(t, &metrics.Snapshot{States: make([]metrics.LoopState, 1)})
	typ := reflect.TypeFor[metrics.LoopState]()
	for i := range typ.NumField() {
		var s metrics.LoopState
		switch f := reflect.ValueOf(&s).Elem().Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(77)
		case reflect.Int:
			f.SetInt(77)
		case reflect.String:
			f.SetString("77")
		case reflect.Bool:
			f.SetBool(true)
		}
		if page, _ := render(t, &metrics.Snapshot{States: []metrics.LoopState{s}}); page == empty {
			t.Errorf("%s is not shown", typ.Field(i).Name)
		}
	}
}

func TestExtraSamples(t *testing.T) {
	gauges := []metrics.Gauge{
		{Name: "b", Help: "B\\\n.", Labels: metrics.Labels("x", "1"), Value: 0.5},
		{Name: "a_total", Help: "A.", Value: 2},
		{Name: "b", Help: "B again.", Labels: metrics.Labels("x", "2"), Value: -1},
		{Name: "b", Labels: metrics.Labels("x", "2"), Value: 3},
		{Name: "zproxy_requests_total", Value: 9},
		{Name: "1x", Value: 9},
		{Name: "", Value: 9},
		{Name: "c", Labels: metrics.Labels("le:", "1"), Value: 9},
		{Name: "d", Labels: metrics.Labels("e", "1", "e", "2"), Value: 9},
	}
	var page bytes.Buffer
	err := metrics.WritePrometheus(&page, nil, gauges)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`b{x="2"} given twice`, "zproxy_requests_total is one of", `"1x" is no metric name`, `"" is no metric name`, `"le:" is no label`, "label e given twice"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 6 {
		t.Errorf("%d faults: %v", n, err)
	}
	families, err := parse(page.String())
	if err != nil {
		t.Fatal(err)
	}
	b, a := families["b"], families["a_total"]
	if b == nil || b.kind != "gauge" || len(b.samples) != 2 || b.samples[0].value != 0.5 || b.samples[1].value != -1 || b.help != "B\\\n." {
		t.Errorf("b is %+v", b)
	}
	if a == nil || a.kind != "counter" || a.samples[0].value != 2 {
		t.Errorf("a_total is %+v", a)
	}
	if strings.Contains(page.String(), " 9\n") {
		t.Errorf("a refused sample is shown:\n%s", page.String())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken")

func TestWriteError(t *testing.T) {
	if err := full().WritePrometheus(broken{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

func TestHistogram(t *testing.T) {
	var h metrics.Histogram
	if h.Quantile(0.5) != 0 || h.Count() != 0 {
		t.Error("the zero value is not empty")
	}
	values := []int64{-5e6, 0, 499, 25_000, 999_999_999, int64(time.Hour), 1<<63 - 1}
	for _, v := range values {
		h.RecordValue(v)
	}
	if h.Count() != uint64(len(values)) {
		t.Errorf("%d values", h.Count())
	}
	if want := uint64(499+25_000+999_999_999) + uint64(time.Hour) + 1<<63 - 1; h.SumNs() != want {
		t.Errorf("sum %d, want %d", h.SumNs(), want)
	}
	if got := time.Duration(h.Quantile(1)); got < 10*time.Minute || got > 10*time.Minute*101/100 {
		t.Errorf("an hour is kept as %v, want 10 min", got)
	}
	var large metrics.Histogram
	random := rand.New(rand.NewPCG(1, 2))
	var all []int64
	var sum uint64
	for range 20_000 {
		v := int64(1000 * (1 + random.ExpFloat64()*2000))
		all = append(all, v)
		sum += uint64(v)
		large.RecordValue(v)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := large.Quantile(q); float64(got) < 0.985*float64(exact)-1000 || float64(got) > 1.015*float64(exact)+1000 {
			t.Errorf("quantile %v is %d ns, exactly %d", q, got, exact)
		}
	}
	if large.SumNs() != sum {
		t.Errorf("sum %d, want %d", large.SumNs(), sum)
	}
}

// A duration equal to a bound is in its bucket, one 2 % above it is not.
func TestBucketBounds(t *testing.T) {
	empty, families := render(t, &metrics.Snapshot{})
	buckets := families["zproxy_request_duration_seconds"].samples
	if len(buckets) != 20+3 {
		t.Fatalf("%d samples:\n%s", len(buckets), empty)
	}
	for i, b := range buckets[:20] {
		var le float64
		if _, err := fmt.Sscan(b.labels["le"], &le); err != nil {
			t.Fatal(err)
		}
		l := new(metrics.Loop)
		l.Total.RecordValue(int64(le*1e9 + 0.5))
		l.Total.RecordValue(int64(le * 1.02e9))
		_, families := render(t, &metrics.Snapshot{Loops: []*metrics.Loop{l}})
		got := families["zproxy_request_duration_seconds"].samples
		if got[i].value != 1 || got[i+1].value != 2 || i > 0 && got[i-1].value != 0 {
			t.Errorf("le=%v: %v below, %v below the next", le, got[i].value, got[i+1].value)
		}
	}
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	l := new(metrics.Loop)
	l.Total.RecordValue(1)
	v := int64(1)
	if n := testing.AllocsPerRun(1000, func() {
		l.Total.RecordValue(v)
		v *= 3
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHistogramMemory(t *testing.T) {
	made := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var h metrics.Histogram
			h.RecordValue(1)
		}
	})
	if got := made.AllocedBytesPerOp(); got > 25<<10 {
		t.Errorf("a histogram takes %d bytes, more than 25 KiB", got)
	}
	if size := reflect.TypeFor[metrics.Loop]().Size(); size > 3<<10 {
		t.Errorf("an idle Loop takes %d bytes", size)
	}
}

func TestCopyIsIndependent(t *testing.T) {
	src := full().Loops[0]
	src.Connect.RecordValue(1)
	src.Response.RecordValue(1)
	var dst metrics.Loop
	src.CopyTo(&dst)
	if !reflect.DeepEqual(*src, dst) {
		t.Error("the copy differs")
	}
	src.Requests++
	src.RefusedByReason[5]++
	src.Total.RecordValue(5)
	src.Connect.RecordValue(5)
	src.Response.RecordValue(5)
	if dst.Requests == src.Requests || dst.RefusedByReason[5] != 0 || dst.Total.Count() != 1 || dst.Connect.Count() != 1 || dst.Response.Count() != 1 {
		t.Error("the copy follows the original")
	}
	src.CopyTo(&dst)
	if dst.Total.Count() != 2 || dst.Connect.Count() != 2 || dst.Response.Count() != 2 {
		t.Error("a second copy into the same place is not complete")
	}
}

func TestSum(t *testing.T) {
	s := full()
	sum := metrics.Sum(s.Loops)
	a, b, v := reflect.ValueOf(s.Loops[0]).Elem(), reflect.ValueOf(s.Loops[1]).Elem(), reflect.ValueOf(sum).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Uint64 && v.Field(i).Uint() != a.Field(i).Uint()+b.Field(i).Uint() {
			t.Errorf("%s is %d", v.Type().Field(i).Name, v.Field(i).Uint())
		}
	}
	if sum.ResponsesByClass != [6]uint64{1, 2, 40, 6, 8, 10} || sum.RefusedByReason[63] != 28 {
		t.Errorf("%v %v", sum.ResponsesByClass, sum.RefusedByReason)
	}
	if ws := &sum.WebSocket; ws.Frames[1][1] != 4 || ws.Bytes[1][1] != 222 || ws.Violations[0][1] != 8 || ws.Closes[0][0] != 2 {
		t.Errorf("%+v", *ws)
	}
	if sum.Total.Count() != 2 || sum.Total.SumNs() != 3e6 || s.Loops[0].Total.Count() != 1 {
		t.Errorf("%d values, sum %d; the first loop has %d", sum.Total.Count(), sum.Total.SumNs(), s.Loops[0].Total.Count())
	}
	l := &metrics.Loop{UpstreamReused: 3, UpstreamConnects: 1, RouteCacheHits: 1, RouteCacheMisses: 1}
	if l.ReuseRatio() != 0.75 || l.RouteCacheRatio() != 0.5 || new(metrics.Loop).ReuseRatio() != 0 {
		t.Error("ratios")
	}
}

func TestProcessGauges(t *testing.T) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	cpu := float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
	byName := map[string]float64{}
	for _, g := range metrics.ProcessGauges() {
		byName[g.Name] = g.Value
	}
	for name, bounds := range map[string][2]float64{
		"process_start_time_seconds":    {float64(time.Now().Add(-time.Hour).Unix()), float64(time.Now().Unix() + 1)},
		"process_resident_memory_bytes": {1 << 20, 1 << 32},
		"process_cpu_seconds_total":     {cpu - 0.05, cpu + 1},
		"process_open_fds":              {3, 1000},
		"go_info":                       {1, 1},
		"go_goroutines":                 {1, 1000},
		"go_heap_objects_bytes":         {1 << 10, 1 << 32},
		"go_heap_live_bytes":            {0, 1 << 32}, // nothing was collected yet
		"go_memory_bytes":               {1 << 20, 1 << 32},
		"go_gc_cycles_total":            {0, 1e6},
		"go_heap_allocs_total":          {1, 1e12},
	} {
		if v, ok := byName[name]; !ok || v < bounds[0] || v > bounds[1] {
			t.Errorf("%s is %v (there: %v)", name, v, ok)
		}
	}
}

// docs/metrics.md has a row for each metric there is, and for no other.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	s := full()
	log, err := accesslog.Open(accesslog.Options{Path: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.Gauges = slices.Concat(log.Gauges(), metrics.ProcessGauges(), new(metrics.Reloads).Gauges(), metrics.Upgrades{}.Gauges())
	_, families := render(t, s)
	for name, f := range families {
		row := fmt.Sprintf("\n| `%s` | %s | %s |", name, f.kind, f.help)
		_, rest, ok := strings.Cut(string(manual), row)
		if !ok {
			t.Errorf("docs/metrics.md lacks the row%s", row)
			continue
		}
		labels, _, _ := strings.Cut(rest, "\n")
		for label := range f.samples[0].labels {
			if label != "le" && !strings.Contains(labels, "`"+label+"`") {
				t.Errorf("docs/metrics.md: %s lacks the label %s", name, label)
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllSubmatch(manual, -1) {
		if families[string(m[1])] == nil {
			t.Errorf("docs/metrics.md has a row for %s, which there is not", m[1])
		}
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, file := range append(documents, "../README.md", "../SECURITY.md", "../ARCHITECTURE.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile("zproxy_[a-z0-9_]+[a-z0-9]").FindAllString(string(text), -1) {
			of := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
			if named++; families[name] == nil && families[of] == nil {
				t.Errorf("%s speaks of %s, which there is not", file, name)
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d names were found in the documents", named)
	}
}

func BenchmarkRecordValue(b *testing.B) {
	var h metrics.Histogram
	v := int64(1)
	for b.Loop() {
		h.RecordValue(v & (1<<30 - 1))
		v = v*6364136223846793005 + 1
	}
}

func BenchmarkCopyTo(b *testing.B) {
	l, dst := full().Loops[0], new(metrics.Loop)
	l.Connect.RecordValue(1)
	l.Response.RecordValue(1)
	b.ReportAllocs()
	for b.Loop() {
		l.CopyTo(dst)
	}
}

func BenchmarkScrape(b *testing.B) {
	s := full()
	for i := range 100_000 {
		s.Loops[i&1].Total.RecordValue(int64(i) * 1000)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.WritePrometheus(discard{}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
