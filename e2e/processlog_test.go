package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// says tells whether one line of what the process printed has all parts.
func (p *process) says(parts ...string) bool {
	for line := range strings.Lines(p.out.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

var logLine = regexp.MustCompile(`^time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=(?:INFO|WARN|ERROR) msg=(?:[^ "=]+|"(?:[^"\\]|\\.)*") subject=[a-z_0-9]+(?: [a-z0-9_]+=(?:[^ "=]+|"(?:[^"\\]|\\.)*"))*$`)

// Every line of the process log has one shape; the first one says which process
// this is, the last one what it has cut off.
func TestProcessLog(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		for _, format := range []string{"text", "json"} {
			t.Run(format, func(t *testing.T) { processLog(t, backend, format) })
		}
	})
}

func processLog(t *testing.T, backend, format string) {
	silent := startSilent(t)
	z := start(t, backend, fmt.Sprintf(`
log: {format: %s}
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
access_log: {path: LOGFILE}
shutdown: {grace: 300ms}
upstreams:
  app: {endpoints: [{address: %q}]}
  dead: {endpoints: [{address: %q}], pool: {prewarm: 1}}
  odd: {endpoints: [{address: "no.such.host.invalid:80"}]}
routes:
  - {path: "/*", upstream: app}
  - {path: "/dead", upstream: dead}
  - {path: "/odd", upstream: odd}
`, format, silent, freeAddr(t)))
	c, err := net.Dial("tcp", z.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	h := dialH2(t, z.addr)
	h.ask(1, true, "GET", "/")
	h.ask(3, true, "GET", "/")
	eventually(t, patience, "three requests are at the origin", func() (bool, string) {
		active := 0
		for _, l := range z.status(t).Loops {
			active += l.Active
		}
		return active == 3, fmt.Sprint(active)
	})
	z.signal(t, syscall.SIGUSR1)
	z.signal(t, syscall.SIGHUP)
	eventually(t, patience, "SIGHUP is answered", func() (bool, string) { return z.says("SIGHUP"), z.out.String() })
	z.signal(t, syscall.SIGTERM)
	if status := z.wait(t, stopLimit); status != 0 {
		t.Errorf("exit status %d", status)
	}
	checkLines(t, z, format)
}

func checkLines(t *testing.T, z *zproxy, format string) {
	lines := strings.Split(strings.TrimSuffix(z.out.String(), "\n"), "\n")
	if len(lines) < 10 {
		t.Fatalf("only %d lines:\n%s", len(lines), z.out.String())
	}
	for _, line := range lines {
		if format == "text" && !logLine.MatchString(line) {
			t.Errorf("of another shape: %s", line)
		}
		if format == "json" {
			var l struct{ Time, Level, Msg, Subject string }
			if err := json.Unmarshal([]byte(line), &l); err != nil || l.Time == "" || l.Level == "" || l.Msg == "" || l.Subject == "" {
				t.Errorf("%v: %s", err, line)
			}
		}
	}
	pair := func(key string, value any) string {
		if format == "json" {
			b, _ := json.Marshal(value)
			return fmt.Sprintf("%q:%s", key, b)
		}
		return fmt.Sprintf("%s=%v", key, value)
	}
	for _, want := range []string{pair("subject", "process"), pair("pid", z.cmd.Process.Pid), pair("config", z.cmd.Args[3]), strings.TrimSuffix(pair("version", 0), "0")} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the first line does not say %s: %s", want, lines[0])
		}
	}
	for _, want := range []string{pair("subject", "process"), pair("msg", "ended"), pair("cut_connections", 2), pair("cut_streams", 2), pair("cut_requests", 3)} {
		if last := lines[len(lines)-1]; !strings.Contains(last, want) {
			t.Errorf("the last line does not say %s: %s", want, last)
		}
	}
	if strings.Contains(z.out.String(), "zproxy: ") {
		t.Errorf("a prefix beside the shape:\n%s", z.out.String())
	}
}
