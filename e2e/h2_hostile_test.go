package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"zproxy/e2e/hostile"
	"zproxy/internal/longtest"
)

// runH2Tables runs the table of requests that arrive by HTTP/2 through lanes.
func runH2Tables(t *testing.T, ls []*lane) []verdict {
	rows := hostile.H2Requests()
	v := make([]verdict, len(rows))
	var running sync.WaitGroup
	for li, l := range ls {
		running.Go(func() {
			for i := li; i < len(rows); i += len(ls) {
				v[i] = l.runH2Request(t, &rows[i], i)
			}
		})
	}
	running.Wait()
	return v
}

// send sends the row on stream 1.
func sendH2(h *h2conn, row *hostile.H2Request) {
	section := func(fields []hostile.Field, end bool) {
		block := hostile.H2Block(fields)
		first := block[:min(len(block), 16384)]
		h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: end, EndHeaders: len(first) == len(block)})
		for block = block[len(first):]; len(block) > 0; {
			next := block[:min(len(block), 16384)]
			block = block[len(next):]
			h.fr.WriteContinuation(1, len(block) == 0, next)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	section(row.Fields, len(row.Body)+len(row.Trailers) == 0 && !row.Open)
	for i, b := range row.Body {
		end := i == len(row.Body)-1 && len(row.Trailers) == 0 && !row.Open
		if row.Pad {
			h.fr.WriteDataPadded(1, end, []byte(b), make([]byte, 100))
		} else {
			h.fr.WriteData(1, end, []byte(b))
		}
	}
	if len(row.Trailers) > 0 {
		section(row.Trailers, !row.Open)
	}
}

// h2Probe asks for target on stream id and says what is wrong with the answer.
func h2Probe(h *h2conn, id uint32, target string, limit time.Duration) string {
	s := h.ask(id, true, "GET", target)
	switch err := h.within(limit, s.over); {
	case err != nil && !s.over():
		return err.Error()
	case s.status() != "200" || string(s.body) != target || s.reset:
		return s.String()
	}
	return ""
}

// runH2Request sends a row, and asks on behind it.
func (l *lane) runH2Request(t *testing.T, row *hostile.H2Request, i int) verdict {
	l.origin.begin(nil)
	h, err := openH2(t, l.addr)
	if err != nil {
		return verdict{err.Error(), unsafe}
	}
	defer h.Close()
	s := h.stream(1)
	sendH2(h, row)
	h.within(l.rowLimit(), s.over)
	here := ""
	if h.ended == nil && len(h.goaways) == 0 {
		here = h2Probe(h, 3, "/again", l.second())
	}
	got, faults, stuck := l.origin.settled(l.second())
	got = slices.DeleteFunc(slices.Clone(got), func(m hostile.Message) bool { return m.Target == "/again" })
	after := "no connection"
	if fresh, err := openH2(t, l.addr); err == nil {
		after = h2Probe(fresh, 1, fmt.Sprintf("/probe-%d", i), patience)
		fresh.Close()
	}
	return judgeH2(&row.Want, h, s, got, faults, stuck, here, after, !l.judge.Fair)
}

// judgeH2 is judgeRequest for a stream.
func judgeH2(want *hostile.Outcome, h *h2conn, s *h2stream, got []hostile.Message, faults []error, stuck bool, here, after string, strict bool) verdict {
	label := h2Outcome(h, s, len(got))
	for i, m := range got {
		if strings.Contains(m.Target, hostile.Smuggled) && (i >= len(want.Got) || want.Got[i].Target != m.Target) {
			return verdict{label + ", smuggled request", unsafe}
		}
	}
	switch {
	case len(faults) > 0:
		return verdict{label + ", passes on " + faults[0].Error(), unsafe}
	case want.Cut && len(got) > 0:
		return verdict{"cut, passed as whole", unsafe}
	case after != "":
		return verdict{label + ", the next client gets " + after, unsafe}
	case stuck:
		return verdict{label + ", origin is left waiting", different}
	case here != "":
		return verdict{label + ", the next request gets " + here, different}
	case len(got) != len(want.Got):
		return verdict{label, different}
	}
	for i := range got {
		if why := differs(&want.Got[i], &got[i], strict); why != "" {
			return verdict{label + ", with " + why, different}
		}
	}
	switch {
	case len(h.goaways) > 0 || h.ended != nil:
		return verdict{label, different} // others' streams end with it
	case len(got) > 0:
		if s.ended && s.status() == "200" && (string(s.body) == got[0].Target || got[0].Method == "HEAD") {
			return verdict{label: label}
		}
		return verdict{label + ", answered with " + s.String(), unsafe}
	case want.Status == 400 || want.Cut:
		if s.reset && s.code == http2.ErrCodeProtocol || s.status() == "400" {
			return verdict{label: h2Wanted(want)}
		}
		// What never ends is nothing malformed: it takes too long.
		if want.Cut && (s.reset || s.status() >= "400") {
			return verdict{label: label}
		}
	case s.status() == fmt.Sprint(want.Status):
		return verdict{label: label}
	}
	return verdict{label, different}
}

func h2Outcome(h *h2conn, s *h2stream, n int) string {
	var parts []string
	if n > 0 {
		parts = append(parts, "forwarded")
	}
	if st := s.status(); st != "" && st != "200" {
		parts = append(parts, st)
	}
	if s.reset && s.status() == "" {
		parts = append(parts, s.code.String())
	}
	switch {
	case len(h.goaways) > 0:
		parts = append(parts, "connection ends with "+h.goaways[len(h.goaways)-1].code.String())
	case h.ended != nil:
		parts = append(parts, "connection ends")
	case len(parts) == 0:
		parts = append(parts, "waits")
	}
	return strings.Join(parts, ", ")
}

// h2Wanted is the label of a row as it should come out.
func h2Wanted(o *hostile.Outcome) string {
	switch {
	case o.Cut:
		return "broken off"
	case o.Status == 400:
		return "malformed"
	case o.Status > 0:
		return fmt.Sprint(o.Status)
	}
	return "forwarded"
}

// h2Zproxy is hostileZproxy for clients of HTTP/2.
func h2Zproxy(t *testing.T, backend string) []*lane {
	t.Helper()
	return startLanes(t, backend, "h2c", "limits: {request_header_timeout: 1s, request_body_timeout: 1s}")
}

// No request of HTTP/2 becomes two of HTTP/1.1, or one that can be misread.
func TestH2HostileRequests(t *testing.T) {
	rows := hostile.H2Requests()
	if len(rows) < 120 {
		t.Fatalf("the table has %d requests", len(rows))
	}
	if standIn != "" {
		for i, v := range runH2Tables(t, haproxyLanes(t, " proto h2")) {
			t.Logf("%s: %s; want %s", rows[i].Name, v.label, h2Wanted(&rows[i].Want))
		}
		return
	}
	eachBackend(t, func(t *testing.T, backend string) {
		for i, got := range runH2Tables(t, h2Zproxy(t, backend)) {
			if got.class != asWanted {
				t.Errorf("%s (RFC %s): %s; want %s", rows[i].Name, rows[i].Section, got.label, h2Wanted(&rows[i].Want))
			}
		}
		t.Logf("%d hostile requests by HTTP/2", len(rows))
	})
}

const h2ConformancePage = "../docs/conformance-http2.md"

const h2ConformanceIntro = `# Conformance to RFC 9113 under hostile requests

What becomes of requests that arrive by HTTP/2 and are to go on by HTTP/1.1, where a byte too many in a name or a value
would be a field or a request of its own (RFC 9113 section 10.3). The table is in ` + "`e2e/hostile/h2*.go`" + `; it is run and judged
like those of [conformance.md](conformance.md), by ` + "`ZPROXY_LONG=1 go test ./e2e -run H2HostileSideBySide -update`" + `. What frames
may do beyond that is h2spec's matter ([testing.md](testing.md)).

"malformed" is a stream error PROTOCOL_ERROR, or a 400, after which the connection serves on. *Different* is any other outcome
in which nobody comes to harm here: among them the end of the whole connection, with which other clients' requests end that
a proxy in front has put on it. **Unsafe** is what the origin cannot read, or can read in two ways, or reads as more
than there is.

`

// h2Conformance renders the comparison.
func h2Conformance(names []string, columns [][]verdict) string {
	rows := hostile.H2Requests()
	var b strings.Builder
	b.WriteString(h2ConformanceIntro + "| | as wanted | different | unsafe or invalid |\n|---|---|---|---|\n")
	for i, name := range names {
		vs := columns[i]
		fmt.Fprintf(&b, "| %s | %d of %d | %d | %d |\n", name, count(vs, asWanted), len(vs), count(vs, different), count(vs, unsafe))
	}
	fmt.Fprintf(&b, "\n| case | RFC | wanted | %s |\n|---|---|---%s|\n", strings.Join(names, " | "), strings.Repeat("|---", len(names)))
	for i, r := range rows {
		section := r.Section
		if !strings.Contains(section, " ") {
			section = "9113 " + section
		}
		fmt.Fprintf(&b, "| %s | %s | %s", strings.ReplaceAll(r.Name, "|", "\\|"), section, h2Wanted(&r.Want))
		for _, vs := range columns {
			b.WriteString(" | " + cell(vs[i]))
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// The table once more, with nginx and HAProxy beside.
func TestLengthyH2HostileSideBySide(t *testing.T) {
	longtest.Need(t)
	need(t, "nginx", "haproxy")
	var names []string
	var columns [][]verdict
	add := func(name string, ls []*lane) {
		names, columns = append(names, name), append(columns, runH2Tables(t, ls))
	}
	if standIn == "" {
		add("zproxy", h2Zproxy(t, backends[0]))
	}
	add("nginx "+programVersion(t, "nginx"), nginxLanes(t, " http2"))
	add("haproxy "+programVersion(t, "haproxy"), haproxyLanes(t, " proto h2"))
	page := h2Conformance(names, columns)
	t.Logf("\n%s", page)
	if *update && standIn == "" {
		writeFile(t, h2ConformancePage, page)
	}
}
