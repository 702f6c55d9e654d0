package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// generated is what a load generator has seen.
type generated struct {
	requests int64
	seconds  float64
	p50, p99 float64 // us; 0 when the generator does not tell
	void     string  // why it does not count; "" if it does
}

// loadNotOffered is bench/load's status when the server does not have what is to be loaded.
const loadNotOffered = 3

// generator is the program that loads a scenario, "" when none does.
func (s *scenario) generator() string {
	switch {
	case s.memory != noMemory:
		return ""
	case s.message > 0:
		return "load"
	case s.streams > 0:
		return "h2load"
	}
	return "wrk"
}

// loadCommand is how the generator of s is called, with names instead of paths.
func (b *bench) loadCommand(s *scenario, url string, d time.Duration) []string {
	command := append([]string{s.generator()}, b.loadArgs(s, url, d)...)
	if i := slices.Index(command, "-s"); i > 0 {
		command[i+1] = filepath.Base(command[i+1])
	}
	return command
}

func (b *bench) loadArgs(s *scenario, url string, d time.Duration) []string {
	switch s.generator() {
	case "h2load":
		return []string{"-t1", "-c" + strconv.Itoa(s.connections), "-m" + strconv.Itoa(s.streams), "-D" + strconv.Itoa(int(math.Ceil(d.Seconds()))), url}
	case "load":
		args := []string{"-connect", address(url), "-websocket", strconv.Itoa(s.message), "-connections", strconv.Itoa(s.connections * max(1, s.streams)), "-duration", d.String()}
		if s.http2Clients() {
			args = append(args, "-http2")
		}
		return args
	}
	return b.wrkArgs(s, url, d)
}

// address takes the scheme off a URL.
func address(url string) string {
	return strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")
}

// generate loads url once.
func (b *bench) generate(s *scenario, url string, d time.Duration) (*generated, error) {
	program := s.generator()
	ctx, cancel := context.WithTimeout(b.ctx, d+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.programs[program], b.loadArgs(s, url, d)...)
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
	switch program {
	case "h2load":
		return parseH2load(out.String(), s)
	case "load":
		return parseLoad(out.Bytes())
	}
	w, err := parseWrk(out.String())
	if err != nil {
		return nil, err
	}
	return &generated{w.Requests, float64(w.DurationUs) / 1e6, float64(w.P50Us), float64(w.P99Us), w.void(s)}, nil
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

func parseLoad(out []byte) (*generated, error) {
	var r struct {
		LatencyRound
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("the result of load %q: %w", out, err)
	}
	// The echoes have been compared with the messages.
	return &generated{r.Requests, r.Seconds, r.P50Micros, r.P99Micros,
		whyVoid(r.Requests, 0, &scenario{}, []counted{{r.Errors, "errors"}, {r.Unanswered, "messages without an echo"}})}, nil
}

// wrkReport is the line that peers/wrk.lua writes.
type wrkReport struct {
	Requests   int64 `json:"requests"`
	DurationUs int64 `json:"duration_us"`
	Bytes      int64 `json:"bytes"`
	Connect    int64 `json:"connect"`
	Read       int64 `json:"read"`
	Write      int64 `json:"write"`
	Status     int64 `json:"status"`
	Timeout    int64 `json:"timeout"`
	P50Us      int64 `json:"p50_us"`
	P99Us      int64 `json:"p99_us"`
}

// void says why a run does not count; "" if it does.
func (w *wrkReport) void(s *scenario) string {
	return whyVoid(w.Requests, w.Bytes, s, []counted{{w.Connect, "connect errors"}, {w.Read, "read errors"}, {w.Write, "write errors"},
		{w.Status, "answers that are not 2xx"}, {w.Timeout, "timeouts"}})
}

// wrkArgs is the command line that loads url with s.
func (b *bench) wrkArgs(s *scenario, url string, d time.Duration) []string {
	// wrk takes whole seconds.
	args := []string{"-t1", "-c" + strconv.Itoa(s.connections), "-d" + strconv.Itoa(int(math.Ceil(d.Seconds()))) + "s", "--timeout", "5s"}
	if s.closing {
		args = append(args, "-H", "Connection: close")
	}
	args = append(args, "-s", filepath.Join(b.dir, "wrk.lua"), url, "--")
	switch {
	case s.pipeline > 0:
		args = append(args, "pipeline", strconv.Itoa(s.pipeline))
	case s.upload > 0:
		args = append(args, "upload", strconv.Itoa(s.upload))
	}
	return args
}

func parseWrk(out string) (*wrkReport, error) {
	_, line, ok := strings.Cut(out, "\nRESULT ")
	if !ok {
		return nil, fmt.Errorf("wrk ended without a result: %s", strings.TrimSpace(out))
	}
	line, _, _ = strings.Cut(line, "\n")
	r := new(wrkReport)
	if err := json.Unmarshal([]byte(line), r); err != nil {
		return nil, fmt.Errorf("wrk's result %q: %w", line, err)
	}
	return r, nil
}
