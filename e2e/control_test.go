package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"zproxy/internal/mixedload"
)

// controlled is a proxy under load, whose admin address is a unix socket.
type controlled struct {
	*unixAdmin
	t    *testing.T
	docs *jsonschema.Compiler
	doc  map[string]any
}

// call does an operation of the API, and holds what comes back against its document.
func (c *controlled) call(method, path string, body any, want int, out any) {
	c.t.Helper()
	var in []byte
	switch body := body.(type) {
	case nil:
	case string:
		in = []byte(body)
	default:
		in, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, "http://localhost/api/v1"+path, bytes.NewReader(in))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		c.t.Fatalf("%s %s: %d, expected %d: %s, %v", method, path, res.StatusCode, want, text, err)
	}
	c.isAsDocumented(method, path, res.StatusCode, text)
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			c.t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// isAsDocumented holds a response against the OpenAPI document that the proxy serves.
func (c *controlled) isAsDocumented(method, path string, status int, text []byte) {
	c.t.Helper()
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for known := range c.doc["paths"].(map[string]any) {
		own := strings.Split(strings.TrimPrefix(known, "/api/v1"), "/")
		same := len(own) == len(parts)
		for i := 0; same && i < len(own); i++ {
			same = strings.HasPrefix(own[i], "{") || own[i] == parts[i]
		}
		if !same {
			continue
		}
		which := "200"
		if status != 200 {
			which = "default"
		}
		at := "control.json#/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(known) + "/" + strings.ToLower(method) + "/responses/" + which + "/content/application~1json/schema"
		schema, err := c.docs.Compile(at)
		if err != nil {
			c.t.Fatalf("%s: %v", at, err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			c.t.Errorf("%s %s is not as documented: %v\n%s", method, path, err, text)
		}
		return
	}
	c.t.Errorf("%s %s is not in the document", method, path)
}

func startControlled(t *testing.T, text string) *controlled {
	t.Helper()
	c := &controlled{unixAdmin: startUnixAdmin(t, text), t: t, docs: jsonschema.NewCompiler()}
	res, err := c.http.Get("http://localhost/api/v1/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	doc, err := jsonschema.UnmarshalJSON(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	c.doc = doc.(map[string]any)
	if err := c.docs.AddResource("control.json", doc); err != nil {
		t.Fatal(err)
	}
	return c
}

type controlledEndpoint struct {
	Address, State string
	Weight         int
	Added          bool
}

func (c *controlled) endpoint(address string) (e controlledEndpoint, ok bool) {
	c.t.Helper()
	var u struct{ Endpoints []controlledEndpoint }
	c.call("GET", "/upstreams/app", nil, 200, &u)
	for _, e := range u.Endpoints {
		if e.Address == address {
			return e, true
		}
	}
	return e, false
}

const controlledText = `
io: %s
loops: 2
access_log: {path: %q}
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {endpoints: [{address: %q}, {address: %q}]%%s}, stuck: {endpoints: [{address: %q}], timeouts: {response: 60s}}, loaded: {endpoints: [{address: %q}]}}
routes: [{path: /stuck, upstream: stuck}, {path: /echo, upstream: loaded}, {path: /ws, upstream: loaded}, {path: "/*", upstream: app}]
`

// Each operation does what it says while everything passes that the proxy serves.
func TestControl(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		one, two := startNumbered(t, 1), startNumbered(t, 2)
		held := startOrigin(t, func(o *originConn) {
			o.request()
			io.Copy(io.Discard, o.br)
		})
		origin := loadedOrigin(t)
		text := fmt.Sprintf(controlledText, backend, t.TempDir()+"/access.log", one, two, held.addr, origin.addr)
		c := startControlled(t, fmt.Sprintf(text, ""))
		load := mixedload.Start(mixedload.Clients{Clear: c.addr, Prior: c.addr, Kinds: []mixedload.Kind{mixedload.Kept, mixedload.Fresh, mixedload.Streams, mixedload.WebSocket}, Each: 2, Pauses: []time.Duration{5 * time.Millisecond}})
		defer load.Stop()
		c.stuck()
		c.endpoints(one, two, text)
		c.rest(text)
		c.audited()
		load.Stop()
		if n := load.Total(); n.Failed+n.Early+origin.Repeated() > 0 || n.Answered == 0 {
			t.Errorf("beside all that: %v", load)
		}
	})
}

// stuck: a request that waits is seen, with what it waits for, and can be ended.
func (c *controlled) stuck() {
	answers := make(chan int, 3)
	ask := func(by *http.Client) {
		res, err := by.Get("http://" + c.addr + "/stuck?key=1")
		if err != nil {
			answers <- 0
			return
		}
		res.Body.Close()
		answers <- res.StatusCode
	}
	h2 := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	h2.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	go ask(once)
	go ask(h2)
	type exchange struct {
		ID, Connection, Target, Host, Route, Endpoint, Client string
		WaitsFor                                              string  `json:"waits_for"`
		AgeS                                                  float64 `json:"age_s"`
		Stream                                                uint32
	}
	var list struct{ Items []exchange }
	eventually(c.t, patience, "both requests are seen, with what they wait for", func() (bool, string) {
		list.Items = nil // what is left out of an item stays as it was
		c.call("GET", "/exchanges?route=%2Fstuck&older_ms=100", nil, 200, &list)
		good := len(list.Items) == 2
		for _, x := range list.Items {
			good = good && x.WaitsFor == "the origin to respond" && x.Target == "/stuck?key=1" && x.Host == c.addr && x.AgeS >= .1 && x.Client != ""
		}
		return good, fmt.Sprintf("%+v", list.Items)
	})
	for _, x := range list.Items {
		if x.Stream == 0 {
			c.call("DELETE", "/exchanges/"+x.ID, nil, 200, nil)
			c.call("DELETE", "/exchanges/"+x.ID, nil, 404, nil)
			if got := <-answers; got != 503 {
				c.t.Errorf("an ended request got %d", got)
			}
		}
	}
	for _, x := range list.Items {
		if x.Stream != 0 {
			c.endsConnection(x.Connection)
			if got := <-answers; got != 0 {
				c.t.Errorf("a request on an ended connection got %d", got)
			}
		}
	}
	c.failures()
}

// endsConnection: it is listed with its protocol, and can be ended.
func (c *controlled) endsConnection(id string) {
	c.t.Helper()
	var conns struct {
		Items []struct {
			ID, Protocol string
			Active       int `json:"active_requests"`
		}
	}
	c.call("GET", "/streams", nil, 200, nil)
	c.call("GET", "/connections?all", nil, 200, &conns)
	found := false
	for _, k := range conns.Items {
		found = found || k.ID == id && k.Protocol == "h2" && k.Active == 1
	}
	if !found {
		c.t.Errorf("connection %s is not among %+v", id, conns.Items)
	}
	c.call("DELETE", "/connections/"+id, nil, 200, nil)
}

// failures: what was ended is among the requests that failed.
func (c *controlled) failures() {
	var failed struct {
		Items []struct{ Reason, Target string }
	}
	eventually(c.t, patience, "both are among the failures", func() (bool, string) {
		c.call("GET", "/failures", nil, 200, &failed)
		n := 0
		for _, f := range failed.Items {
			if f.Reason == "ended by an administrator" && f.Target == "/stuck?key=1" {
				n++
			}
		}
		return n >= 1, fmt.Sprintf("%+v", failed.Items)
	})
	c.call("DELETE", "/connections/0-123456", nil, 404, nil)
	c.call("DELETE", "/connections/x", nil, 404, nil)
}

// endpoints are drained, disabled, enabled, added and removed, and stay so over reloads.
func (c *controlled) endpoints(one, two, text string) {
	t := c.t
	at := func(address string) string { return "/upstreams/app/endpoints/" + url.PathEscape(address) }
	expects := func(what string, good func(first, second, third int) bool) {
		t.Helper()
		if got := which(t, c.addr, 40); !good(got["1"], got["2"], got["3"]) {
			t.Errorf("%s %v have answered", what, got)
		}
	}
	diff := func(what string, wants ...string) {
		t.Helper()
		var d struct {
			ByHand []struct{ What, Endpoint, Now, File string } `json:"by_hand"`
			File   string
		}
		c.call("GET", "/diff", nil, 200, &d)
		got := []string{}
		for _, h := range d.ByHand {
			got = append(got, fmt.Sprintf("%s %s: %s, in the file %s", h.What, h.Endpoint, h.Now, h.File))
		}
		if !slices.Equal(got, wants) || d.File != "" {
			t.Errorf("%s: changed by hand %q, expected %q; a reload would change %q", what, got, wants, d.File)
		}
	}
	diff("at the start")
	c.call("PUT", at(one)+"/state", `{"state": "drained"}`, 200, nil)
	expects("without the first", func(first, _, _ int) bool { return first == 0 })
	diff("drained", "drained "+one+": weight 0, in the file weight 1")
	c.call("PUT", "/config", c.whole(fmt.Sprintf(text, ", retries: 2")), 200, nil)
	if e, _ := c.endpoint(one); e.State != "drained" {
		t.Errorf("behind a reload it is %+v", e)
	}
	expects("behind a reload", func(first, _, _ int) bool { return first == 0 })
	c.call("PUT", at(one)+"/state", `{"state": "enabled"}`, 200, nil)
	expects("enabled", func(first, second, _ int) bool { return first > 10 && second > 10 })
	c.call("PUT", at(two)+"/state", `{"state": "disabled"}`, 200, nil)
	expects("without the second", func(_, second, _ int) bool { return second == 0 })
	c.call("PUT", at(two)+"/weight", `{"weight": 3}`, 200, nil)
	expects("with weight 3", func(first, second, _ int) bool { return second > first })
	c.call("PUT", at(two)+"/weight", `{"weight": null}`, 200, nil)

	three := startNumbered(t, 3)
	c.call("POST", "/upstreams/app/endpoints", map[string]any{"address": three, "weight": 2}, 200, nil)
	c.call("POST", "/upstreams/app/endpoints", map[string]any{"address": three}, 422, nil)
	expects("with a third", func(_, _, third int) bool { return third > 10 })
	diff("added", "added "+three+": there, in the file not there")
	c.call("POST", "/reload", nil, 200, nil)
	if e, ok := c.endpoint(three); !ok || !e.Added || e.Weight != 2 {
		t.Errorf("behind a reload what was added is %+v", e)
	}
	c.call("DELETE", at(one), nil, 200, nil)
	c.call("DELETE", at(one), nil, 404, nil)
	c.call("POST", "/reload", nil, 200, nil)
	expects("without what was removed", func(first, _, third int) bool { return first == 0 && third > 10 })
	diff("removed", "added "+three+": there, in the file not there", "removed "+one+": not there, in the file there")
	// The file says otherwise: of what was added that it is there, of what was removed that it has another weight.
	own := strings.Replace(fmt.Sprintf(text, ""), fmt.Sprintf("{address: %q}, {address: %q}", one, two), fmt.Sprintf("{address: %q, weight: 2}, {address: %q}, {address: %q}", one, two, three), 1)
	c.call("PUT", "/config", c.whole(own), 200, nil)
	diff("the file has spoken")
	expects("as the file says", func(first, second, third int) bool { return first > 0 && second > 0 && third > 0 })
	c.call("PUT", "/config", c.whole(fmt.Sprintf(text, "")), 200, nil)
	if _, ok := c.endpoint(three); ok {
		t.Error("what the file had and has no more is there")
	}
	c.refuses(at, one, three)
}

// refuses: what is not there, or makes no sense.
func (c *controlled) refuses(at func(string) string, one, three string) {
	c.call("PUT", at("127.0.0.1:1")+"/state", `{"state": "drained"}`, 422, nil)
	c.call("PUT", at(one)+"/state", `{"state": "away"}`, 422, nil)
	c.call("PUT", at(one)+"/state", `{"stat": "drained"}`, 400, nil)
	c.call("POST", "/upstreams/app/endpoints", map[string]any{"address": "nonsense"}, 422, nil)
	c.call("POST", "/upstreams/none/endpoints", map[string]any{"address": three}, 404, nil)
	c.call("GET", "/upstreams/none", nil, 404, nil)
}

// rest is all else.
func (c *controlled) rest(text string) {
	t := c.t
	var traced struct {
		Items []struct {
			Target, Route, Client, Endpoint string
			Status                          int
			TotalMs                         float64 `json:"total_ms"`
		}
	}
	asking := make(chan struct{})
	var asked atomic.Int64
	go func() {
		for {
			select {
			case <-asking:
				return
			default:
				get(t, "http://"+c.addr+"/traced")
				asked.Add(1)
			}
		}
	}()
	c.call("POST", "/traces", map[string]any{"client": "127.0.0.0/8", "route": "/*", "seconds": 0.5}, 200, &traced)
	close(asking)
	n := 0
	for _, r := range traced.Items {
		if r.Target == "/traced" && r.Route == "/*" && r.Status == 200 && r.Endpoint != "" {
			n++
		}
	}
	if n == 0 {
		t.Errorf("of %d requests the trace has %+v", asked.Load(), traced.Items)
	}
	c.call("POST", "/traces", map[string]any{"client": "192.0.2.1", "seconds": 0.2}, 200, &traced)
	if len(traced.Items) != 0 {
		t.Errorf("a trace of somebody else has %+v", traced.Items)
	}
	c.call("POST", "/traces", map[string]any{"seconds": 61}, 400, nil)
	c.call("POST", "/traces", map[string]any{"client": "x", "seconds": 1}, 400, nil)
	c.call("PUT", "/log", `{"level": "error"}`, 200, nil)
	c.call("POST", "/reload", nil, 200, nil)
	var level struct{ Level, Own string }
	c.call("GET", "/log", nil, 200, &level)
	if level.Level != "error" || level.Own != "info" {
		t.Errorf("the level is %+v", level)
	}
	c.call("PUT", "/log", `{"level": "loud"}`, 422, nil)
	c.call("PUT", "/log", `{"level": ""}`, 200, nil)
	c.call("POST", "/logs/rotate", nil, 200, nil)
	c.call("GET", "/process", nil, 200, nil)
	c.call("GET", "/config", nil, 200, nil)
	c.call("GET", "/diff", nil, 200, nil)
	c.call("GET", "/upstreams", nil, 200, nil)
	c.call("GET", "/exchanges?limit=0", nil, 400, nil)
	c.call("GET", "/exchanges?cursor=9.9", nil, 422, nil)
	c.event()
}

// event: the stream of figures has some every second.
func (c *controlled) event() {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://localhost/api/v1/events", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var pulse struct {
		Loops []any
		Total struct{ Requests uint64 }
	}
	for range 2 {
		text := make([]byte, 0, 64<<10)
		for !bytes.HasSuffix(text, []byte("\n\n")) {
			var b [1]byte
			if _, err := io.ReadFull(res.Body, b[:]); err != nil {
				c.t.Fatalf("%v behind %q", err, text)
			}
			text = append(text, b[0])
		}
		if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("data: ")), &pulse); err != nil {
			c.t.Fatalf("%v: %s", err, text)
		}
	}
	if len(pulse.Loops) != 2 || pulse.Total.Requests == 0 {
		c.t.Errorf("%+v", pulse)
	}
}

// audited: who has changed what is in the log, whatever its level was.
func (c *controlled) audited() {
	log := c.out.String()
	for _, want := range []string{"subject=audit", `who="uid `, "PUT /api/v1/log", "DELETE /api/v1/exchanges/", "outcome=done"} {
		if !strings.Contains(log, want) {
			c.t.Errorf("the log lacks %s:\n%s", want, tail(log))
		}
	}
	for _, line := range strings.Split(log, "\n") {
		if strings.Contains(line, "subject=audit") && !strings.Contains(line, "level=INFO") {
			c.t.Errorf("%s", line)
		}
	}
}

// The list of many connections is whole, and no loop is held up by it.
func TestManyConnectionsAreListed(t *testing.T) {
	const many = 4000
	enoughFiles(t, many)
	besides(t, func(t *testing.T, backend string) {
		c := startControlled(t, fmt.Sprintf("io: %s\nloops: 2\n", backend)+saysOne)
		conns := make([]net.Conn, many)
		want := map[string]bool{}
		for i := range conns {
			conn, err := net.Dial("tcp", c.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conns[i] = conn
			want[conn.LocalAddr().String()] = true
		}
		type page struct {
			Items  []struct{ ID, Client string }
			Cursor string
		}
		eventually(t, patience, "all connections are listed once", func() (bool, string) {
			seen, ids := map[string]int{}, map[string]bool{}
			for cursor := ""; ; {
				var p page
				c.call("GET", "/connections?limit=999&cursor="+cursor, nil, 200, &p)
				for _, r := range p.Items {
					seen[r.Client]++
					ids[r.ID] = true
				}
				if cursor = p.Cursor; cursor == "" {
					break
				}
			}
			once := 0
			for client := range want {
				if seen[client] == 1 {
					once++
				}
			}
			return once == many && len(ids) == many, fmt.Sprintf("%d of %d once, %d identifiers", once, many, len(ids))
		})
	})
}
