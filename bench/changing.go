package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

const (
	largeRoutes    = 10_000
	largeUpstreams = 1_000
	largeHosts     = 100
)

// changeLimit is how long a configuration may take until it is in force.
const changeLimit = time.Minute

// askAgain is how long HAProxy gets for a configuration before it is asked for it again.
const askAgain = 5 * time.Second

// changing is a proxy whose configuration changes while it runs.
type changing struct {
	b       *bench
	c       *contender
	process *process
	file    string
	now     changed
}

// changed is a configuration, which the Turn makes another one.
type changed struct {
	Dir, IO, Loops               string
	Clear, Prior, Secure, Second string // addresses of clients; Second is a listener that comes and goes
	Admin                        string
	Origin, Another              string // the second one comes and goes
	TLS                          *keyFiles
	Root, Large                  bool
	Turn                         int
}

// numberedUpstream, numberedRoute and numberedHost are parts of a large configuration.
type numberedUpstream struct {
	Number  int
	Changed bool
}

type numberedRoute struct{ Number, Host, Upstream int }

type numberedHost struct {
	Number int
	Routes []numberedRoute
}

// Odd and Third say which of the routes and listeners a turn has.
func (c *changed) Odd() bool { return c.Turn%2 == 1 }

func (c *changed) Third() bool { return c.Turn%3 == 1 }

// Upstreams are those that nobody asks for; one of them is another one in each turn.
func (c *changed) Upstreams() (all []numberedUpstream) {
	for i := 0; c.Large && i < largeUpstreams; i++ {
		all = append(all, numberedUpstream{i, i == c.Turn%largeUpstreams})
	}
	return all
}

func (c *changed) Routes() (all []numberedRoute) {
	for i := 0; c.Large && i < largeRoutes; i++ {
		all = append(all, numberedRoute{i, i % largeHosts, i % largeUpstreams})
	}
	return all
}

// Hosts are the same routes by host.
func (c *changed) Hosts() (all []numberedHost) {
	if !c.Large {
		return nil
	}
	all = make([]numberedHost, largeHosts)
	for _, r := range c.Routes() {
		all[r.Host].Number = r.Host
		all[r.Host].Routes = append(all[r.Host].Routes, r)
	}
	return all
}

// startChanging starts a contender for origins that are there, and waits until it serves.
func startChanging(b *bench, name string, loops int, large bool, origin string) (*changing, error) {
	p := &changing{b: b, c: contenderNamed(name)}
	p.now = changed{Dir: filepath.Join(b.dir, name), IO: p.c.io, Loops: strconv.Itoa(loops), Origin: origin, Large: large, Root: os.Geteuid() == 0}
	if err := os.MkdirAll(p.now.Dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if p.now.TLS, err = b.keyFiles(keyP256); err != nil {
		return nil, err
	}
	for _, addr := range []*string{&p.now.Clear, &p.now.Prior, &p.now.Secure, &p.now.Second, &p.now.Admin} {
		if *addr, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if p.c.program == "zproxy" { // which tells the versions apart
		p.now.Prior = p.now.Clear
	}
	p.file = filepath.Join(p.now.Dir, "changing"+filepath.Ext(p.c.template))
	if err := p.write(); err != nil {
		return nil, err
	}
	if p.process, err = b.startProcess(name, -1, append(b.programs.argv(p.c.program), p.args()...)...); err != nil {
		return nil, err
	}
	return p, p.process.waitFor(b.ctx, p.inForce)
}

func (p *changing) args() []string {
	if p.c.program == "haproxy" {
		return []string{"-W", "-db", "-f", p.file}
	}
	return p.c.args(p.file, &place{Dir: p.now.Dir})
}

// write puts the configuration of the turn in the place of the one before.
func (p *changing) write() error {
	t, err := template.ParseFS(peerFiles, "peers/changing"+filepath.Ext(p.c.template))
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := t.Execute(&text, &p.now); err != nil {
		return err
	}
	if p.c.program == "haproxy" && p.now.Large {
		var routes strings.Builder
		for _, r := range p.now.Routes() {
			fmt.Fprintf(&routes, "h%d.example/r%d/ u%d\n", r.Host, r.Number, r.Upstream)
		}
		if err := os.WriteFile(filepath.Join(p.now.Dir, "routes.map"), []byte(routes.String()), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.file+".new", []byte(text.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(p.file+".new", p.file)
}

// reload has the next turn come into force, and says how long that took from the last signal on.
func (p *changing) reload(another string) (took time.Duration, err error) {
	p.now.Turn++
	if p.now.Another = ""; p.now.Turn%4 > 1 {
		p.now.Another = another
	}
	if err := p.write(); err != nil {
		return 0, err
	}
	signal := unix.SIGHUP
	if p.c.program == "haproxy" {
		signal = unix.SIGUSR2
	}
	var began time.Time
	for deadline := time.Now().Add(changeLimit); ; {
		// HAProxy's master may lose a signal that comes while it starts itself anew.
		if began.IsZero() || p.c.program == "haproxy" && time.Since(began) > askAgain {
			began = time.Now()
			if err := p.process.cmd.Process.Signal(signal); err != nil {
				return 0, p.process.complain(err)
			}
		}
		if err = p.inForce(); err == nil {
			break
		}
		if p.b.ctx.Err() != nil {
			return 0, p.b.ctx.Err()
		}
		if p.process.ended() || time.Now().After(deadline) {
			return 0, p.process.complain(fmt.Errorf("reload %d is not in force: %w", p.now.Turn, err))
		}
		time.Sleep(time.Millisecond)
	}
	took = time.Since(began)
	return took, p.ended()
}

// inForce asks for what the turn has, by a connection of its own: several times, as old and new workers may both accept.
func (p *changing) inForce() error {
	for range 3 {
		text, err := fetchText("http://" + p.now.Clear + "/turn")
		if err != nil {
			return err
		}
		if text != strconv.Itoa(p.now.Turn) {
			return fmt.Errorf("turn %s answers, want %d", text, p.now.Turn)
		}
	}
	return nil
}

// ended waits until zproxy has done with a reload: signals until then may be one. Others take any.
func (p *changing) ended() error {
	for began := time.Now(); p.c.program == "zproxy"; time.Sleep(time.Millisecond) {
		n, err := p.metric(`zproxy_reloads_total{outcome="done"}`, sum)
		if err != nil {
			return p.process.complain(err)
		}
		if int(n) >= p.now.Turn {
			return nil
		}
		if time.Since(began) > changeLimit {
			return p.process.complain(fmt.Errorf("%v reloads are done, want %d", n, p.now.Turn))
		}
	}
	return p.b.ctx.Err()
}

// metric reads one of zproxy's, over all samples whose name and labels begin like it.
func (p *changing) metric(like string, with func(a, b float64) float64) (all float64, err error) {
	text, err := fetchText("http://" + p.now.Admin + "/metrics")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, like) {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		all = with(all, n)
	}
	return all, err
}

func sum(a, b float64) float64 { return a + b }

func most(a, b float64) float64 { return max(a, b) }

// longest is the longest turn of a loop until now, and how many were longer than 2 ms; zproxy alone tells.
func (p *changing) longest() (turn time.Duration, long int, err error) {
	if p.c.program != "zproxy" {
		return 0, 0, nil
	}
	us, err := p.metric("zproxy_loop_longest_turn_microseconds{", most)
	if err != nil {
		return 0, 0, err
	}
	n, err := p.metric("zproxy_loop_long_turns_total{", sum)
	return time.Duration(us) * time.Microsecond, int(n), err
}

// resident is the memory of all its processes.
func (p *changing) resident() (uint64, error) {
	rss, _, err := memoryOf(tree(p.process.pid()))
	return rss, err
}

// noKeeping has a connection for each request.
var noKeeping = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}}

func fetchText(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), changeLimit)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := noKeeping.Do(q)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(text), err
}
