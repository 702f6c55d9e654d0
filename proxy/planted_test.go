package proxy

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// plantedBug is a known bug for the simulator to find: oracles that were never seen
// to fail prove nothing. The program has none of it: go build -overlay puts patched
// files in the place of its own.
type plantedBug struct {
	name    string
	does    string
	patches []patch
	// A test other than TestSim that is to find it, and what that says then.
	test, says string
}

// patch puts to in the place of from, which stands once in what the patches are for,
// in whatever file. To asks planted whether its bug is let loose.
type patch struct{ from, to string }

// patched is where the patches are for, without tests.
var patched = []string{".", "../upstream"}

var plantedBugs = []plantedBug{
	{name: "release", does: "a block is released once too often", patches: []patch{{
		`ln.pool.Retain(x.head)`,
		`if !planted("release") { ln.pool.Retain(x.head) }`}}},
	{name: "byte", does: "a byte of a body is lost now and then", patches: []patch{{
		"if !chunked {\n\t\tln.l.Send(conn, v)",
		"if planted(\"byte\") && v.Len%64 == 63 { v.Len-- }\n\tif !chunked {\n\t\tln.l.Send(conn, v)"}}},
	{name: "swap", does: "a connection is used again in the middle of an answer", patches: []patch{{
		`case reusable && o.state == originBusy`,
		`case (reusable || planted("swap")) && o.state == originBusy`}}},
	{name: "cut", does: "an answer that was cut short ends in order", patches: []patch{{
		"case toClose:\n",
		"case toClose && !planted(\"cut\"):\n"}}},
	{name: "pause", does: "a paused client is not always resumed", patches: []patch{{
		"c.flags &^= clientPaused\n",
		"c.flags &^= clientPaused\n\t\tif planted(\"pause\") && c.requests%4 == 3 { lg.w.memory.paused--; return }\n"}}},
	{name: "log", does: "a request of a client that leaves is not logged", patches: []patch{{
		"rc.Add(r)\n",
		"if planted(\"log\") && x.status == statusClientGone { return }\n\trc.Add(r)\n"}}},
	{name: "twice", does: "a request that must not be repeated is sent again", patches: []patch{{
		"x.again = retry.Of(cl.Retry.Repeat(h))\n",
		"x.again = retry.Of(cl.Retry.Repeat(h))\n\tif planted(\"twice\") { x.again = retry.Of(2) }\n"}}},
	{name: "leak", does: "a block is not given back", patches: []patch{{
		`w.pool.Release(*v)`,
		`if !planted("leak") || v.Len%64 != 63 { w.pool.Release(*v) }`}}},
	{name: "slot", does: "a connection that ends is still counted against its cap", patches: []patch{{
		`} else if l.flags&uncounted == 0 {`,
		`} else if l.flags&uncounted == 0 && !(planted("slot") && l.uses%8 == 7) {`}}},
	{name: "bound", does: "an origin whose client does not keep up is read on", patches: []patch{{
		`if o.flags&originPaused == 0 && rs.w.legs.queued(&c.leg) > rs.w.legs.highFor(c) {`,
		`if o.flags&originPaused == 0 && rs.w.legs.queued(&c.leg) > rs.w.legs.highFor(c) && !planted("bound") {`}}},
	{name: "credit", does: "a stream that was paused is not given all its window back", patches: []patch{{
		`se.H2.Consumed(st.id, int(st.owed))`,
		`if !planted("credit") || st.owed%2 == 0 { se.H2.Consumed(st.id, int(st.owed)) }`}}},
	{name: "stream", does: "bytes of a stream leave on another one, which the peer opened before", patches: []patch{{
		"head := se.H2.AppendDataHeader(b[:0], st.id, n, end)\n",
		"head := se.H2.AppendDataHeader(b[:0], st.id, n, end)\n" +
			"\tif last := len(head) - 1; planted(\"stream\") && n%64 == 63 && head[last] > 2 { head[last] -= 2 }\n"}}},
	{name: "end", does: "a stream whose answer was cut short ends in order", patches: []patch{{
		"// RFC 9113 8.1: a message that ends before END_STREAM is incomplete.\n",
		"if planted(\"end\") { lg.closeAfterFlush(c, linger); return }\n"}}},
	{name: "leave", does: "a permit for a stream is lost", patches: []patch{{
		"case l.flags&uncounted != 0:\n",
		"case l.flags&uncounted != 0:\n\tcase planted(\"leave\") && gs.l.Now()/1000%8 == 7:\n"}}},
	{name: "half", does: "the end of a tunnel's direction does not leave on a stream", patches: []patch{{
		"case tunnel.Finish:\n",
		"case tunnel.Finish:\n\t\t\tif o.stream != 0 && ev.Side == tunnel.Origin && planted(\"half\") { break }\n"}}},
	{name: "early", does: "what a client sends before its tunnel is open is lost", patches: []patch{{
		"c.flags |= clientEOF\n\t}\n\tif data.Len > 0 {\n",
		"c.flags |= clientEOF\n\t}\n\tif data.Len > 0 && !planted(\"early\") {\n"}}},
	{name: "connect", does: "a WebSocket goes to an origin that takes none", patches: []patch{{
		`!se.H2.ExtendedConnect() {`,
		`!se.H2.ExtendedConnect() && !planted("connect") {`}}},

	{name: "named", does: "a connection has the name that a PROXY header gave to one before it", patches: []patch{{
		`t.greetings.named[slot].id == id`,
		`(t.greetings.named[slot].id == id || planted("named") && t.greetings.named[slot].id != 0)`}}},
	{name: "header", does: "the last byte of a PROXY header is left before the request", patches: []patch{{
		`gs.skip(&g.in, n)`,
		"if planted(\"header\") { n-- }\n\tgs.skip(&g.in, n)"}}},
	{name: "stranger", does: "anybody may send a PROXY header", patches: []patch{{
		`l.Greeted(cs.l.Peer(conn).Addr())`,
		`(planted("stranger") || l.Greeted(cs.l.Peer(conn).Addr()))`}}},
	{name: "unnamed", does: "an origin is told of who has connected, whomever a PROXY header names", patches: []patch{{
		`source, destination := ls.l.Peer(from.Conn), transport.Local(ls.l, from.Conn)`,
		"source, destination := ls.l.Peer(from.Conn), transport.Local(ls.l, from.Conn)\n\tif planted(\"unnamed\") { source = ls.l.Loop.Peer(from.Conn) }"}}},
	{name: "shared", does: "a connection that names a client is kept for others", patches: []patch{{
		`cl.SendProxy == 0 && cl.pool`,
		`(cl.SendProxy == 0 || planted("shared")) && cl.pool`}}},
	{name: "identifier", does: "an origin is told the identifier of another request", patches: []patch{{
		`u.n = uint8(copy(u.text[:], q.ID()))`,
		"u.n = uint8(copy(u.text[:], q.ID()))\n\t\tif planted(\"identifier\") && xi > 1 { *u = ol.uniqueIDs[xi-1] }"}}},
	{name: "sent", does: "what leaves of a PROXY header counts as a part of the request", patches: []patch{{
		`return ev.N > 0 || t.IsSecure(ev.Conn)`,
		"if planted(\"sent\") { ev.N += n }\n\t\treturn ev.N > 0 || t.IsSecure(ev.Conn)"}},
		test: "TestOnlyThePROXYHeaderWasSent", says: "of them sent again"},

	{name: "subset", does: "requests of a subset go to all endpoints of its upstream", patches: []patch{{
		"p.Cluster = clusters[of.Key()]\n",
		"p.Cluster = clusters[of.Key()]\n\tif planted(\"subset\") { p.Cluster = clusters[of.Upstream] }\n"}}},

	{name: "held", does: "who holds memory without moving keeps it", patches: []patch{
		{`if now < h.at {`, `if now < h.at || planted("held") {`},
		{`if mm.l.Room(loop.Requests) {`, `if mm.l.Room(loop.Requests) || planted("held") {`},
		{`if mm.l.Room(loop.Responses) {`, `if mm.l.Room(loop.Responses) || planted("held") {`}},
		test: "TestSimHolders", says: "a client of another upstream"},

	{name: "line", does: "who waits for a connection waits in one line, whoever asks for it", patches: []patch{{
		`if x.from.Named() {`,
		"if planted(\"line\") { return upstream.Client{} }\n\tif x.from.Named() {"}},
		test: "TestSimRivals", says: "its share is"},
	{name: "each", does: "an address has a turn on each loop", patches: []patch{{
		`n := &q.nodes[a]; q.lines != nil {`,
		`n := &q.nodes[a]; q.lines != nil && !planted("each") {`}},
		test: "TestSimRivals", says: "its share is"},
	{name: "pass", does: "a request that a filter refuses goes on", patches: []patch{{
		"case filter.Reply:\n",
		"case filter.Reply:\n\t\tif planted(\"pass\") { return true }\n"}}},
	{name: "mark", does: "what a client sends in the place of what a filter sets goes on", patches: []patch{{
		"if p.Forward.Any() {\n",
		"if p.Forward.Any() && !planted(\"mark\") {\n"}}},
	{name: "stall", does: "who holds a connection without moving keeps it", patches: []patch{{
		`if waiting == 0 {`,
		`if waiting == 0 || planted("stall") {`}},
		test: "TestSimRivals", says: "there was time for"},
}

// looseBug names the one bug that is let loose, in the environment.
const looseBug = "ZPROXY_PLANTED"

// plantedFile is put beside patched files.
const plantedFile = `
import "os"

var looseBug_ = os.Getenv("` + looseBug + `")

func planted(bug string) bool { return bug == looseBug_ }
`

// plantedSources gives the patched files and those beside them, by path.
func plantedSources(t *testing.T) map[string]string {
	t.Helper()
	plain, changed := map[string]string{}, map[string]string{}
	for _, root := range patched {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			plain[path] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, bug := range plantedBugs {
		if len(bug.patches) == 0 {
			t.Errorf("%s has no patches", bug.name)
		}
		for _, p := range bug.patches {
			if !strings.Contains(p.to, "planted("+strconv.Quote(bug.name)+")") {
				t.Errorf("%s: does not ask whether it is let loose: %s", bug.name, p.to)
			}
			places, at := 0, ""
			for path, text := range plain {
				if n := strings.Count(text, p.from); n > 0 {
					places, at = places+n, path
				}
			}
			if places != 1 {
				t.Errorf("%s (%s): this stands in %d places and not in one:\n%s", bug.name, bug.does, places, p.from)
				continue
			}
			if changed[at] == "" {
				changed[at] = plain[at]
			}
			if strings.Count(changed[at], p.from) != 1 {
				t.Errorf("%s: another patch changes the same:\n%s", bug.name, p.from)
			}
			changed[at] = strings.Replace(changed[at], p.from, p.to, 1)
		}
	}
	for path, text := range changed {
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Errorf("patched: %v", err)
			continue
		}
		changed[filepath.Join(filepath.Dir(path), "planted.go")] = "package " + file.Name.Name + "\n" + plantedFile
	}
	return changed
}

// TestPlantedBugsFit: each patch has its place. TestSimFindsPlantedBugs has more to
// say about them, and takes longer.
func TestPlantedBugsFit(t *testing.T) { plantedSources(t) }

// buildPlanted builds these tests with all bugs, none of which is let loose, and
// gives the program's path.
func buildPlanted(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not in PATH: it builds the package with the planted bugs")
	}
	dir := t.TempDir()
	replace, n := map[string]string{}, 0
	for path, text := range plantedSources(t) {
		from, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		n++
		to := filepath.Join(dir, strconv.Itoa(n)+".go")
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[from] = to
	}
	if t.Failed() {
		t.FailNow()
	}
	overlay, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "planted.test")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("building with the planted bugs: %v\n%s", err, out)
	}
	return bin
}
