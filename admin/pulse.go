package admin

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"zproxy/metrics"
)

// Figures of the last second, for all who look on: they are taken once a second while somebody does.

const (
	pulseInterval = time.Second
	// maxWatchers bounds who looks on at once; each holds a connection.
	maxWatchers = 32
	// pulseRows bounds routes, and upstreams, that are told apart.
	pulseRows = 100
	// pulseFailures is how many of the last failures are shown.
	pulseFailures = 20
)

// Pulse is what has happened since the one before, and how things stand.
type Pulse struct {
	Time     time.Time     `json:"time" doc:"When these figures were taken."`
	Seconds  float64       `json:"seconds" doc:"What rates and latencies are of: so long until then."`
	Process  Process       `json:"process" doc:"The process."`
	Traffic  Traffic       `json:"traffic" doc:"Of all requests."`
	Total    Totals        `json:"total" doc:"Since the start, as /metrics has it."`
	Clients  uint64        `json:"client_connections" doc:"Open."`
	Streams  uint64        `json:"streams" doc:"Of HTTP/2, open to clients."`
	Tunnels  uint64        `json:"tunnels" doc:"WebSockets and other tunnels, open."`
	Active   uint64        `json:"active_requests" doc:"Under way."`
	Loops    []LoopPulse   `json:"loops" doc:"Event loops."`
	Routes   []SeriesPulse `json:"routes" doc:"In the order of the configuration."`
	Upstream []SeriesPulse `json:"upstreams" doc:"In the order of the configuration."`
	Endpoint []EndpointRow `json:"endpoints" doc:"Of all upstreams."`
	Failures []Outcome     `json:"failures" doc:"The last requests that failed, the newest first."`
	Error    string        `json:"error,omitempty" doc:"Why there are no figures."`
}

// Traffic are rates and latencies.
type Traffic struct {
	Requests float64    `json:"requests_per_s" doc:"Requests that ended."`
	Classes  [6]float64 `json:"classes_per_s" doc:"Of these, by class of status; the first one is of none."`
	P50      float64    `json:"p50_ms" doc:"Half of them took less."`
	P90      float64    `json:"p90_ms" doc:"Nine in ten took less."`
	P99      float64    `json:"p99_ms" doc:"99 in 100 took less."`
	In       float64    `json:"in_bytes_per_s" doc:"From clients."`
	Out      float64    `json:"out_bytes_per_s" doc:"To clients."`
}

// Totals are counters.
type Totals struct {
	Requests  uint64    `json:"requests" doc:"zproxy_requests_total."`
	Responses [6]uint64 `json:"responses" doc:"zproxy_responses_total, by class."`
	In        uint64    `json:"in_bytes" doc:"From clients."`
	Out       uint64    `json:"out_bytes" doc:"To clients."`
}

// LoopPulse is one event loop.
type LoopPulse struct {
	Index       int     `json:"index" doc:"Its number."`
	CPU         int     `json:"cpu" doc:"That it is pinned to."`
	Node        int     `json:"node" doc:"Its NUMA node."`
	IO          string  `json:"io" doc:"epoll or uring."`
	Requests    float64 `json:"requests_per_s" doc:"That came."`
	Connections uint64  `json:"connections" doc:"Open, those to endpoints among them."`
	Blocks      uint64  `json:"blocks" doc:"Of its buffer pool."`
	InUse       uint64  `json:"blocks_in_use" doc:"Of these."`
	BlockBytes  uint64  `json:"block_bytes" doc:"Each has."`
	Turns       float64 `json:"turns_per_s" doc:"Of the loop."`
	LongestUs   uint64  `json:"longest_turn_us" doc:"Since the start."`
}

// SeriesPulse is one route or upstream.
type SeriesPulse struct {
	Name    string  `json:"name" doc:"As /metrics has it."`
	Traffic Traffic `json:"traffic" doc:"Of its requests; percentiles are upper bounds."`
	Idle    int     `json:"idle_connections" doc:"Of an upstream: kept for the next request."`
	Waiting int     `json:"waiting_requests" doc:"Of an upstream: in the queue for a connection."`
}

// EndpointRow is an endpoint of an upstream.
type EndpointRow struct {
	Upstream    string `json:"upstream" doc:"Its name."`
	Address     string `json:"address" doc:"Of the endpoint."`
	Up          bool   `json:"up" doc:"It gets requests."`
	Reason      string `json:"reason,omitempty" doc:"Why it does not."`
	Weight      int    `json:"weight" doc:"In the long run."`
	Connections uint64 `json:"connections" doc:"Open."`
	Active      uint64 `json:"active_requests" doc:"Under way, or streams."`
	Failures    uint64 `json:"failures" doc:"Attempts to connect that failed."`
}

// watchers are who looks on.
type watchers struct {
	s    *Server
	mu   sync.Mutex
	all  map[chan []byte]struct{}
	stop chan struct{} // of the goroutine that takes the figures; nil: there is none
}

// join has c get each Pulse as JSON, if there is room.
func (ws *watchers) join() (c chan []byte, ok bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.all) >= maxWatchers {
		return nil, false
	}
	c = make(chan []byte, 1)
	if ws.all == nil {
		ws.all = map[chan []byte]struct{}{}
	}
	ws.all[c] = struct{}{}
	if ws.stop == nil {
		ws.stop = make(chan struct{})
		go ws.run(ws.stop)
	}
	return c, true
}

func (ws *watchers) leave(c chan []byte) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, c)
	if len(ws.all) == 0 {
		close(ws.stop)
		ws.stop = nil
	}
}

func (ws *watchers) run(stop chan struct{}) {
	tick := time.NewTicker(pulseInterval)
	defer tick.Stop()
	last := ws.s.takeFigures()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		next := ws.s.takeFigures()
		text, err := json.Marshal(next.since(last))
		if err != nil {
			ws.s.http.ErrorLog.Printf("events: %v", err)
			continue
		}
		last = next
		ws.mu.Lock()
		for c := range ws.all {
			select {
			case c <- text:
			default: // whoever is slow misses some
			}
		}
		ws.mu.Unlock()
	}
}

// events sends a Pulse every second, until the client leaves or the server ends.
func (s *Server) events(c *call) (any, error) {
	from, ok := s.watchers.join()
	if !ok {
		return nil, &statusError{http.StatusServiceUnavailable, "too many look on already"}
	}
	defer s.watchers.leave(from)
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Time{})
	for {
		select {
		case text := <-from:
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := c.w.Write(append(append([]byte("data: "), text...), "\n\n"...)); err != nil {
				return nil, nil
			}
			if control.Flush() != nil {
				return nil, nil
			}
		case <-c.Context().Done():
			return nil, nil
		case <-s.ending:
			return nil, nil
		}
	}
}

// figures are everything at one moment.
type figures struct {
	at       time.Time
	snap     metrics.Snapshot
	sum      *metrics.Loop
	failures []Outcome
	process  Process
	err      error
}

func (s *Server) takeFigures() *figures {
	f := &figures{at: time.Now(), process: s.src.Process()}
	if f.snap, f.err = s.src.Snapshot(); f.err == nil {
		f.sum = metrics.Sum(f.snap.Loops)
		f.failures, f.err = s.src.Failures()
	}
	return f
}

// since is what has happened between before and f.
func (f *figures) since(before *figures) *Pulse {
	p := &Pulse{Time: f.at, Seconds: f.at.Sub(before.at).Seconds(), Process: f.process}
	if f.err != nil || before.err != nil {
		if p.Error = "the next figures will have rates"; f.err != nil {
			p.Error = f.err.Error()
		}
		return p
	}
	p.Failures = f.failures[:min(len(f.failures), pulseFailures)]
	m, was := f.sum, before.sum
	p.Clients, p.Streams, p.Tunnels, p.Active = m.ClientConns, m.Streams, m.Tunnels, f.snap.Active
	p.Total = Totals{m.Requests, m.ResponsesByClass, m.BytesIn, m.BytesOut}
	p.Traffic = Traffic{In: rate(m.BytesIn, was.BytesIn, p.Seconds), Out: rate(m.BytesOut, was.BytesOut, p.Seconds)}
	for i := range m.ResponsesByClass {
		p.Traffic.Classes[i] = rate(m.ResponsesByClass[i], was.ResponsesByClass[i], p.Seconds)
		p.Traffic.Requests += p.Traffic.Classes[i]
	}
	took := m.Total.Since(&was.Total)
	p.Traffic.P50, p.Traffic.P90, p.Traffic.P99 = ms(took.Quantile(.5)), ms(took.Quantile(.9)), ms(took.Quantile(.99))
	for i, l := range f.snap.States {
		row := LoopPulse{Index: l.Index, CPU: l.CPU, Node: l.Node, IO: l.IO, Connections: l.Conns, Blocks: l.Blocks, InUse: l.InUse, BlockBytes: l.BlockBytes, LongestUs: l.LongestTurn}
		if i < len(before.snap.States) {
			row.Turns = rate(l.Polls, before.snap.States[i].Polls, p.Seconds)
			row.Requests = rate(f.snap.Loops[i].Requests, before.snap.Loops[i].Requests, p.Seconds)
		}
		p.Loops = append(p.Loops, row)
	}
	p.Routes = seriesPulses(f.snap.RouteNames, before.snap.RouteNames, m.Routes, was.Routes, p.Seconds)
	p.Upstream = seriesPulses(f.snap.UpstreamNames, before.snap.UpstreamNames, m.Upstreams, was.Upstreams, p.Seconds)
	for _, pool := range f.snap.Pools {
		for i := range p.Upstream {
			if p.Upstream[i].Name == pool.Upstream {
				p.Upstream[i].Idle += int(pool.Idle)
				p.Upstream[i].Waiting += int(pool.Waiting)
			}
		}
	}
	for _, e := range f.snap.Endpoints {
		p.Endpoint = append(p.Endpoint, EndpointRow{e.Upstream, e.Endpoint, !e.Down, e.Reason, e.Weight, e.Open, max(e.Active, e.Streams), e.Failures})
	}
	return p
}

// seriesPulses pairs series by name: a reload may have moved them.
func seriesPulses(names, had []string, now, was []metrics.Series, seconds float64) (rows []SeriesPulse) {
	at := map[string]int{}
	for i, name := range had {
		at[name] = i
	}
	for i := range names[:min(len(names), len(now), pulseRows)] {
		var before metrics.Series
		if j, ok := at[names[i]]; ok && j < len(was) {
			before = was[j]
		}
		d := now[i].Since(&before)
		row := SeriesPulse{Name: names[i]}
		for class, n := range d.Classes {
			row.Traffic.Classes[class] = float64(n) / seconds
			row.Traffic.Requests += float64(n) / seconds
		}
		row.Traffic.In, row.Traffic.Out = float64(d.BytesIn)/seconds, float64(d.BytesOut)/seconds
		row.Traffic.P50, row.Traffic.P90, row.Traffic.P99 = ms(d.Quantile(.5)), ms(d.Quantile(.9)), ms(d.Quantile(.99))
		rows = append(rows, row)
	}
	return rows
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }

// rate is 0 where a counter began anew.
func rate(now, was uint64, seconds float64) float64 {
	if now < was || seconds <= 0 {
		return 0
	}
	return float64(now-was) / seconds
}
