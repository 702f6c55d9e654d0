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
	"strconv"
	"strings"
	"time"
)

// Round is one measurement of one contender.
type Round struct {
	CPUMicros float64 `json:"cpu_us"`     // CPU time per answered request
	UserShare float64 `json:"user_share"` // part of it spent outside the kernel
	Requests  int64   `json:"requests"`
	Seconds   float64 `json:"seconds"`
	P50Micros int64   `json:"p50_us"` // closed loop: each connection waits for its answer
	P99Micros int64   `json:"p99_us"`
	Void      string  `json:"void,omitempty"` // why it does not count
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
	var why []string
	for _, c := range []struct {
		n    int64
		what string
	}{{w.Connect, "connect errors"}, {w.Read, "read errors"}, {w.Write, "write errors"}, {w.Status, "answers that are not 2xx"}, {w.Timeout, "timeouts"}} {
		if c.n != 0 {
			why = append(why, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if w.Requests == 0 {
		why = append(why, "nothing was answered")
	} else if w.Bytes < w.Requests*int64(s.body) {
		why = append(why, fmt.Sprintf("%d bytes for %d answers of %d bytes", w.Bytes, w.Requests, s.body))
	}
	return strings.Join(why, ", ")
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

// wrk runs the load generator once.
func (b *bench) wrk(s *scenario, url string, d time.Duration) (*wrkReport, error) {
	ctx, cancel := context.WithTimeout(b.ctx, d+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.programs["wrk"], b.wrkArgs(s, url, d)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := b.launcher.start(cmd, b.set.loadCPU); err != nil {
		return nil, fmt.Errorf("starting wrk: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		return nil, fmt.Errorf("wrk: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return parseWrk(out.String())
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

// measure loads a contender once and says what each request cost it.
func (b *bench) measure(st *started, s *scenario, d time.Duration) (Round, error) {
	before, err := cpuOf(st.members)
	if err != nil {
		return Round{}, st.process.complain(err)
	}
	w, err := b.wrk(s, st.url, d)
	if err != nil {
		return Round{}, err
	}
	after, err := cpuOf(st.members)
	if err != nil {
		return Round{}, st.process.complain(err)
	}
	if st.process.ended() {
		return Round{}, st.process.complain(errors.New("ended under load"))
	}
	r := Round{Requests: w.Requests, Seconds: float64(w.DurationUs) / 1e6, P50Micros: w.P50Us, P99Micros: w.P99Us, Void: w.void(s)}
	if w.Requests > 0 {
		r.CPUMicros = float64(after.total-before.total) / 1e3 / float64(w.Requests)
	}
	if user, system := after.user-before.user, after.system-before.system; user+system > 0 {
		r.UserShare = user / (user + system)
	}
	return r, nil
}
