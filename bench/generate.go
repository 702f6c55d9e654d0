package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// generated is what a load generator has seen.
type generated struct {
	requests int64
	seconds  float64
	p50, p99 float64 // us; 0 when the generator does not tell
	cpu      float64 // seconds of CPU time it used itself
	void     string  // why it does not count; "" if it does
}

// loadNotOffered is bench/load's status when the server does not have what is to be loaded.
const loadNotOffered = 3

// generator is the program that loads a scenario, "" when none does.
func (s *scenario) generator() string {
	switch {
	case s.memory != noMemory:
		return ""
	// wrk would need a script for these, does not resume sessions, and waits whole seconds.
	case s.message > 0 || s.pipeline > 0 || s.upload > 0 || s.tls != noKey && s.closing || s.own && s.streams == 0 && s.tls == noKey:
		return "load"
	case s.streams > 0:
		return "h2load"
	}
	return "wrk"
}

// generatorFor is the same where bench/load takes wrk's place.
func (s scenario) generatorFor(own bool) string {
	s.own = own
	return s.generator()
}

// loadCommand is how the generator of s is called, with names instead of paths.
func (b *bench) loadCommand(s *scenario, url string, d time.Duration) []string {
	return append([]string{s.generator()}, loadArgs(s, url, d)...)
}

func loadArgs(s *scenario, url string, d time.Duration) []string {
	switch s.generator() {
	case "h2load":
		return []string{"-t1", "-c" + strconv.Itoa(s.connections), "-m" + strconv.Itoa(s.streams), "-D" + strconv.Itoa(int(d.Milliseconds())) + "ms", url}
	case "load":
		return ownArgs(s, url, d)
	}
	// wrk takes whole seconds.
	args := []string{"-t1", "-c" + strconv.Itoa(s.connections), "-d" + strconv.Itoa(int(math.Ceil(d.Seconds()))) + "s", "--timeout", "5s", "--latency"}
	if s.closing {
		args = append(args, "-H", "Connection: close")
	}
	return append(args, url)
}

// ownArgs are those of bench/load.
func ownArgs(s *scenario, url string, d time.Duration) []string {
	args := []string{"-connect", address(url), "-connections", strconv.Itoa(s.connections * max(1, s.streams)), "-duration", d.String()}
	if s.message > 0 {
		args = append(args, "-websocket", strconv.Itoa(s.message))
		if s.http2Clients() {
			args = append(args, "-http2")
		}
		return args
	}
	args = append(args, "-rate", "0", "-warm-up", "0s")
	switch {
	case s.closing:
		args = append(args, "-closing")
		if s.tls != noKey {
			args = append(args, "-tls")
		}
		if s.resumed {
			args = append(args, "-resume")
		}
	case s.pipeline > 0:
		args = append(args, "-pipeline", strconv.Itoa(s.pipeline))
	case s.upload > 0:
		args = append(args, "-upload", strconv.Itoa(s.upload))
	}
	return args
}

// address takes the scheme off a URL.
func address(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		url = rest
	}
	return strings.TrimSuffix(url, "/")
}

// generate loads url once.
func (b *bench) generate(s *scenario, url string, d time.Duration) (*generated, error) {
	program := s.generator()
	ctx, cancel := context.WithTimeout(b.ctx, d+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.programs.argv(program)[0], loadArgs(s, url, d)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := b.launcher.start(cmd, b.set.loadCPU); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	if err := cmd.Wait(); err != nil {
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		if exit := new(exec.ExitError); program == "load" && errors.As(err, &exit) && exit.ExitCode() == loadNotOffered {
			return nil, notYet{string(bytes.TrimSpace(out.Bytes()))}
		}
		return nil, fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out.Bytes()))
	}
	g, err := parseLoad(program, out.String(), s)
	if err == nil {
		g.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	}
	return g, err
}

// parseLoad reads what a generator has said.
func parseLoad(program, out string, s *scenario) (*generated, error) {
	switch program {
	case "h2load":
		return parseH2load(out, s)
	case "load":
		return parseOwn([]byte(out))
	}
	return parseWrk(out, s)
}

// counted is something that must not happen.
type counted struct {
	n    int64
	what string
}

// whyVoid is "" when nothing happened that must not, and something was answered.
func whyVoid(requests, bytes int64, s *scenario, bad []counted) string {
	var why []string
	for _, c := range bad {
		if c.n != 0 {
			why = append(why, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if requests == 0 {
		why = append(why, "nothing was answered")
	} else if bytes < requests*int64(s.body) {
		why = append(why, fmt.Sprintf("%d bytes for %d answers of %d bytes", bytes, requests, s.body))
	}
	return strings.Join(why, ", ")
}

// What h2load prints, over four lines.
var h2loadOutput = regexp.MustCompile(`(?s)finished in ([0-9.]+)(us|ms|s|m), .*` +
	`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout.*` +
	`status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx.*traffic: .*, [^,]* \((\d+)\) data`)

func parseH2load(out string, s *scenario) (*generated, error) {
	m := h2loadOutput.FindStringSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("h2load ended without a result: %s", strings.TrimSpace(out))
	}
	took, err := time.ParseDuration(m[1] + m[2])
	if err != nil {
		return nil, err
	}
	var n [12]int64
	for i := 3; i < len(n); i++ {
		if n[i], err = strconv.ParseInt(m[i], 10, 64); err != nil {
			return nil, err
		}
	}
	// Heads are counted when they come, so there may be more of 2xx than requests that are done.
	return &generated{requests: n[3], seconds: took.Seconds(), void: whyVoid(n[3], n[11], s,
		[]counted{{n[5], "failed"}, {n[6], "errors"}, {n[7], "timeouts"}, {n[8] + n[9] + n[10], "answers that are not 2xx"}})}, nil
}

func parseOwn(out []byte) (*generated, error) {
	var r struct {
		LatencyRound
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("the result of load %q: %w", out, err)
	}
	// Answers have been read as long as they said they are, and echoes compared with the messages.
	return &generated{requests: r.Requests, seconds: r.Seconds, p50: r.P50Micros, p99: r.P99Micros,
		void: whyVoid(r.Requests, 0, &scenario{}, []counted{{r.Errors, "errors"}, {r.Unanswered, "without an answer or echo"}})}, nil
}

// What wrk prints with --latency, as far as it is about what went well, and the
// lines it adds when something did not.
var (
	wrkOutput = regexp.MustCompile(`(?s)50%\s+([0-9.]+)(us|ms|s|m)\s.*99%\s+([0-9.]+)(us|ms|s|m)\s+(\d+) requests in ([0-9.]+)(us|ms|s|m), ([0-9.]+)(B|KB|MB|GB|TB) read`)
	wrkErrors = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// wrkRounding is how much more wrk may have read than it says with two decimals.
const wrkRounding = 1.01

func parseWrk(out string, s *scenario) (*generated, error) {
	m := wrkOutput.FindStringSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("wrk ended without a result: %s", strings.TrimSpace(out))
	}
	var times [3]time.Duration
	for i, at := range []int{1, 3, 6} {
		var err error
		if times[i], err = time.ParseDuration(m[at] + m[at+1]); err != nil {
			return nil, err
		}
	}
	requests, err := strconv.ParseInt(m[5], 10, 64)
	if err != nil {
		return nil, err
	}
	read, err := strconv.ParseFloat(m[8], 64)
	if err != nil {
		return nil, err
	}
	read *= map[string]float64{"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}[m[9]]
	var bad []counted
	for _, line := range []struct {
		form *regexp.Regexp
		what []string
	}{{wrkErrors, []string{"connect errors", "read errors", "write errors", "timeouts"}}, {wrkStatus, []string{"answers that are not 2xx"}}} {
		if m := line.form.FindStringSubmatch(out); m != nil {
			for i, what := range line.what {
				n, err := strconv.ParseInt(m[i+1], 10, 64)
				if err != nil {
					return nil, err
				}
				bad = append(bad, counted{n, what})
			}
		}
	}
	return &generated{requests: requests, seconds: times[2].Seconds(), p50: micros(times[0]), p99: micros(times[1]),
		void: whyVoid(requests, int64(read*wrkRounding), s, bad)}, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
