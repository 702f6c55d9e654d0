package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"zproxy/e2e/hostile"
	"zproxy/internal/longtest"
)

var update = flag.Bool("update", false, "write docs/conformance.md from what TestLengthyHostileBytesSideBySide finds")

const conformancePage = "../docs/conformance.md"

// openLanes makes n lanes whose proxies are still to be started. Their
// addresses differ, and from those of the origins, too.
func openLanes(t *testing.T, n int, judge hostile.Oracle) []*lane {
	t.Helper()
	ls := make([]*lane, n)
	for i := range ls {
		ls[i] = &lane{addr: freeAddr(t), origin: newRecorder(t, judge), judge: judge}
	}
	return ls
}

// eachLane joins what text gives for every lane.
func eachLane(ls []*lane, text func(i int, l *lane) string) string {
	var b strings.Builder
	for i, l := range ls {
		b.WriteString(text(i, l))
	}
	return b.String()
}

// nginxLanes starts an nginx as reverse proxy, with kept-alive origin
// connections and the time limits of the others. option is what stands behind
// the address of a listener.
func nginxLanes(t *testing.T, option string) []*lane {
	t.Helper()
	ls := openLanes(t, 2*lanes, hostile.Oracle{Fair: true}) // they wait more often
	dir := t.TempDir()
	servers := eachLane(ls, func(i int, l *lane) string {
		return fmt.Sprintf("  upstream o%d { server %s; keepalive 16; }\n  server { listen %s%s; location / { proxy_pass http://o%d; } }\n", i, l.origin.Addr(), l.addr, option, i)
	})
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	config := writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`%s
daemon off;
worker_processes 1;
pid %[2]s/nginx.pid;
error_log /dev/null;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
  client_header_timeout 1s; client_body_timeout 1s; proxy_read_timeout 1s;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
%[3]s}
`, user, dir, servers))
	p := spawn(t, "nginx", "-c", config, "-p", dir)
	awaitLanes(t, p, ls)
	return ls
}

// haproxyLanes is nginxLanes for HAProxy.
func haproxyLanes(t *testing.T, option string) []*lane {
	t.Helper()
	ls := openLanes(t, 2*lanes, hostile.Oracle{Fair: true}) // they wait more often
	config := writeFile(t, filepath.Join(t.TempDir(), "haproxy.cfg"), `
global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
  timeout http-request 1s
  http-reuse always
`+eachLane(ls, func(i int, l *lane) string {
		return fmt.Sprintf("frontend f%[1]d\n  bind %[2]s%[4]s\n  default_backend b%[1]d\nbackend b%[1]d\n  server s %[3]s\n", i, l.addr, l.origin.Addr(), option)
	}))
	p := spawn(t, "haproxy", "-f", config)
	awaitLanes(t, p, ls)
	return ls
}

func awaitLanes(t *testing.T, p *process, ls []*lane) {
	t.Helper()
	for _, l := range ls {
		p.awaitListener(t, l.addr)
	}
}

// forwardBlindly starts what forwards bytes and looks at none.
func forwardBlindly(t *testing.T, l *lane) {
	t.Helper()
	in, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.addr = in.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				o, err := net.Dial("tcp", l.origin.Addr().String())
				if err != nil {
					return
				}
				defer o.Close()
				deadline := time.Now().Add(2 * time.Second)
				c.SetDeadline(deadline)
				o.SetDeadline(deadline)
				go func() {
					io.Copy(o, c)
					o.(*net.TCPConn).CloseWrite()
				}()
				io.Copy(c, o)
			})
		}
	})
	t.Cleanup(func() {
		in.Close()
		serving.Wait()
	})
}

// What does not look at what it forwards fails where there is something to
// see: the judges do judge.
func TestHostileBytesThroughBlindForwarder(t *testing.T) {
	ls := openLanes(t, 4*lanes, hostile.Oracle{})
	for _, l := range ls {
		forwardBlindly(t, l)
	}
	v := runTables(ls)
	requests, responses := hostile.Requests(), hostile.Responses()
	for i := range requests {
		// What needs nothing taken out or put in may pass as it is, and what
		// ends early ends early.
		want := &requests[i].Want
		if got := v.requests[i]; got.class == asWanted && want.Status > 0 {
			t.Errorf("%s: %s, where nobody refused it", requests[i].Name, got.label)
		}
	}
	for i := range responses {
		if got := v.responses[i]; got.class == asWanted && responses[i].Want.Status >= 500 {
			if len(responses[i].Bytes) > 0 {
				t.Errorf("response %s: %s, where nobody refused it", responses[i].Name, got.label)
			}
		}
	}
	if n := count(append(v.requests, v.responses...), unsafe); n < 150 {
		t.Errorf("%d rows unsafe behind a forwarder that is blind", n)
	}
}

func count(vs []verdict, c class) (n int) {
	for _, v := range vs {
		if v.class == c {
			n++
		}
	}
	return n
}

// contestant is one column of the comparison.
type contestant struct {
	name string
	verdicts
}

// The tables once more, with nginx and HAProxy beside: what it comes to is
// printed with -v, and all of it written to the page of conformance with
// -update.
func TestLengthyHostileBytesSideBySide(t *testing.T) {
	longtest.Need(t)
	need(t, "nginx", "haproxy")
	var columns []contestant
	add := func(name string, ls []*lane) {
		columns = append(columns, contestant{name, runTables(ls)})
	}
	add("zproxy", hostileZproxy(t, backends[0]))
	add("nginx "+programVersion(t, "nginx"), nginxLanes(t, ""))
	add("haproxy "+programVersion(t, "haproxy"), haproxyLanes(t, ""))
	page := conformance(columns)
	_, summary, _ := strings.Cut(page, "## Summary\n\n")
	summary, _, _ = strings.Cut(summary, "\n\n")
	t.Logf("\n%s", summary)
	if *update {
		writeFile(t, conformancePage, page)
	}
}

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+`)

func programVersion(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.Command(program, "-v").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return versionNumber.FindString(string(out))
}

// The page lists the rows that there are, with the outcomes they are held to.
func TestConformancePageIsCurrent(t *testing.T) {
	page, err := os.ReadFile(conformancePage)
	if err != nil {
		t.Fatal(err)
	}
	const again = "ZPROXY_LONG=1 go test ./e2e -run HostileBytesSideBySide -update"
	lines := bytes.Split(page, []byte("\n"))
	rows := map[string]string{}
	for _, line := range lines {
		if cells := strings.Split(string(line), " | "); len(cells) > 4 && strings.Contains(cells[0], "/") {
			rows[strings.TrimPrefix(cells[0], "| ")] = cells[2]
		}
	}
	n := 0
	check := func(name, want string) {
		n++
		if rows[name] != want {
			t.Errorf("%s: row %q has outcome %q, the table has %q: %s", conformancePage, name, rows[name], want, again)
		}
	}
	for _, r := range hostile.Requests() {
		check(r.Name, wanted(&r.Want))
	}
	for _, r := range hostile.Responses() {
		check("response "+r.Name, wantedAnswer(&r.Want))
	}
	if len(rows) != n {
		t.Errorf("%s has %d rows, the tables %d: %s", conformancePage, len(rows), n, again)
	}
}
