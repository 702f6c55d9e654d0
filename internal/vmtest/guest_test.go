package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// backends are those that a guest's kernel is known to have.
var backends = []string{"epoll", "uring"}

const nodeDir = "/sys/devices/system/node"

// TestGuest runs in a guest, where nothing else runs and nothing needs to be
// put back but what the next subtest relies on.
func TestGuest(t *testing.T) {
	if os.Getenv("ZPROXY_VM") != "guest" {
		t.Skip("runs in a virtual machine: make test-numa")
	}
	p, err := readPlan()
	if err != nil {
		t.Fatal(err)
	}
	m := &p.Machine
	o := startOrigin(t)
	t.Run("machine", func(t *testing.T) { testMachine(t, m) })
	t.Run("tune", func(t *testing.T) { testTune(t, m) })
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Run("placement", func(t *testing.T) { testPlacement(t, m, backend, o) })
			t.Run("huge_pages_on_one_node", func(t *testing.T) { testHugePages(t, m, backend, o) })
			t.Run("nearest_neighbour", func(t *testing.T) { testNeighbours(t, m, backend, o) })
			t.Run("offline", func(t *testing.T) { testOffline(t, m, backend, o) })
		})
	}
}

// read gives a file's text without the line end.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0); err != nil {
		t.Fatalf("%q to %s: %v", text, name, err)
	}
}

// The kernel sees what qemu was asked for; else the rest tests something else.
func testMachine(t *testing.T, m *machine) {
	var withMemory []int
	for i, n := range m.Nodes {
		dir := filepath.Join(nodeDir, "node"+strconv.Itoa(i))
		if got, want := read(t, dir+"/cpulist"), list(n.CPUs); got != want {
			t.Errorf("node %d has CPUs %q, want %q", i, got, want)
		}
		if got, want := read(t, dir+"/distance"), strings.Trim(fmt.Sprint(m.Distances[i]), "[]"); got != want {
			t.Errorf("node %d has distances %q, want %q", i, got, want)
		}
		if n.MemMiB > 0 {
			withMemory = append(withMemory, i)
		}
	}
	if got, want := read(t, nodeDir+"/has_memory"), list(withMemory); got != want {
		t.Errorf("nodes %q have memory, want %q", got, want)
	}
	for i := range m.Cards {
		m.Cards[i].check(t, m, i)
	}
}

// Each loop is on its CPU, its buffers and its ring are on its node, also when
// its memory has grown, and connections are spread over all nodes.
func testPlacement(t *testing.T, m *machine, backend string, o *origin) {
	z := startProxy(t, backend, o, "")
	st := z.status(t)
	if len(st.Loops) != m.cpus() {
		t.Fatalf("%d loops on %d CPUs", len(st.Loops), m.cpus())
	}
	for i, l := range st.Loops {
		if l.CPU != i || l.Node != m.nodeOf(i) || l.IO != backend || !l.Bound {
			t.Errorf("loop %d: %+v", i, l)
		}
	}
	clients := make([]*client, 24*m.cpus())
	for i := range clients {
		clients[i] = dial(t)
	}
	for range 2 {
		for _, c := range clients {
			c.get("/hello", "hello\n")
		}
	}
	z.checkSpread(t, m, len(clients))
	for _, c := range clients {
		c.close()
	}
	// Responses that nobody reads fill more than a first step of memory.
	clients = clients[:6*m.cpus()]
	for i := range clients {
		clients[i] = z.dialLoop(t, i%m.cpus())
		clients[i].ask("/large")
	}
	z.waitForGrowth(t)
	z.checkThreads(t)
	z.checkBuffers(t, m)
	if backend == "uring" {
		z.checkRings(t, m)
	}
	for _, c := range clients {
		c.answer(largeBody)
		c.close()
	}
	z.stop(t)
}

// checkSpread: every loop has its share, and so has every node.
func (z *proxy) checkSpread(t *testing.T, m *machine, clients int) {
	t.Helper()
	total := 0
	byNode := make([]int, len(m.Nodes))
	st := z.status(t)
	for _, l := range st.Loops {
		total += l.Clients
		byNode[l.Node] += l.Clients
		if fair := clients / len(st.Loops); l.Clients < fair/4 || l.Clients > 3*fair {
			t.Errorf("loop %d has %d of %d clients", l.Index, l.Clients, clients)
		}
		if l.Requests == 0 {
			t.Errorf("loop %d answered nothing", l.Index)
		}
	}
	t.Logf("clients by node: %v", byNode)
	for i, n := range byNode {
		if fair := clients * len(m.Nodes[i].CPUs) / len(st.Loops); n < fair/3 {
			t.Errorf("node %d has %d of %d clients", i, n, clients)
		}
	}
	if total != clients {
		t.Errorf("%d clients on all loops, want %d", total, clients)
	}
}

// Where huge pages are reserved its loops have them; the others say why they
// have not, and go on with small pages of their own node.
func testHugePages(t *testing.T, m *machine, backend string, o *origin) {
	const pages = 32
	reserved := fmt.Sprintf("%s/node%d/hugepages/hugepages-2048kB/nr_hugepages", nodeDir, m.HugeNode)
	write(t, reserved, strconv.Itoa(pages))
	defer write(t, reserved, "0")
	if got := read(t, reserved); got != strconv.Itoa(pages) {
		t.Fatalf("%s of %d huge pages could be reserved", got, pages)
	}
	z := startProxy(t, backend, o, "")
	lines := z.startLines(t, m.cpus())
	for cpu, line := range lines {
		from := m.memoryOf(m.nodeOf(cpu))
		want := []string{fmt.Sprintf("bound to node %d", from), "2 MiB in reserved 2 MiB pages"}
		if from != m.HugeNode {
			want[1] = fmt.Sprintf("(no reserved 2 MiB pages: node %d has too few free ones)", from)
		}
		for _, w := range want {
			if !strings.Contains(line, w) {
				t.Errorf("%q does not say %q", line, w)
			}
		}
	}
	clients := make([]*client, 4*m.cpus())
	for i := range clients {
		clients[i] = z.dialLoop(t, i%m.cpus())
		clients[i].get("/hello", "hello\n")
	}
	z.checkBuffers(t, m)
	for _, l := range z.status(t).Loops {
		if huge := m.memoryOf(l.Node) == m.HugeNode; (l.HugeBytes > 0) != huge {
			t.Errorf("loop %d on node %d has %d bytes in huge pages", l.Index, l.Node, l.HugeBytes)
		}
	}
	for _, c := range clients {
		c.close()
	}
	z.stop(t)
	// Insisting on them is an error that names the node's own file.
	out := refused(t, backend, o, "buffers: {huge_pages: always}\n")
	for _, want := range []string{"too few free ones", "/node", "nr_hugepages"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q does not say %q", out, want)
		}
	}
}

// A loop that may not open one more connection takes an idle one of the loop
// that is nearest. Each loop has an upstream of its own to try that with.
func testNeighbours(t *testing.T, m *machine, backend string, o *origin) {
	var b strings.Builder
	loops := m.cpus()
	b.WriteString("upstreams:\n")
	for i := range loops {
		fmt.Fprintf(&b, "  u%d: {endpoints: [{address: %q}], pool: {max_connections: %d}}\n", i, o.addr, loops-1)
	}
	b.WriteString("routes:\n")
	for i := range loops {
		fmt.Fprintf(&b, "  - {path: \"/u%d/*\", upstream: u%d}\n", i, i)
	}
	z := startProxyWith(t, backend, b.String())
	clients := make([]*client, loops)
	for i := range clients {
		clients[i] = z.dialLoop(t, i)
	}
	for i := range loops {
		path := fmt.Sprintf("/u%d/hello", i)
		for j := range loops {
			if j != i {
				clients[j].get(path, "hello\n")
			}
		}
		before := z.metrics(t, "zproxy_upstream_given_total")
		clients[i].get(path, "hello\n")
		after := z.metrics(t, "zproxy_upstream_given_total")
		var gave []int
		for j := range loops {
			if after[j] > before[j] {
				gave = append(gave, j)
			}
		}
		if want := nearestLoops(m, i); len(gave) != 1 || !slices.Contains(want, gave[0]) {
			t.Errorf("loops %v gave loop %d a connection, want one of %v", gave, i, want)
		}
	}
	for i, l := range z.status(t).Loops {
		if l.Clients != 1 {
			t.Errorf("loop %d has %d clients: a port did not lead where it should", i, l.Clients)
		}
	}
	for _, c := range clients {
		c.close()
	}
	z.stop(t)
}

// nearestLoops are those of the node of loop, or of the nearest node with any.
func nearestLoops(m *machine, loop int) []int {
	best := 1 << 30
	var out []int
	for other := range m.cpus() {
		d := m.Distances[m.nodeOf(loop)][m.nodeOf(other)]
		if other == loop || d > best {
			continue
		}
		if d < best {
			best, out = d, nil
		}
		out = append(out, other)
	}
	return out
}

// A CPU that is offline gets no loop. One that goes away takes no connection
// with it: the kernel lets its loop run elsewhere.
func testOffline(t *testing.T, m *machine, backend string, o *origin) {
	online := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/online", m.Offline)
	write(t, online, "0")
	back := false
	defer func() {
		if !back {
			write(t, online, "1")
		}
	}()
	z := startProxy(t, backend, o, "")
	st := z.status(t)
	if len(st.Loops) != m.cpus()-1 {
		t.Errorf("%d loops on %d online CPUs", len(st.Loops), m.cpus()-1)
	}
	for _, l := range st.Loops {
		if l.CPU == m.Offline || l.Node != m.nodeOf(l.CPU) {
			t.Errorf("loop %d is on CPU %d, node %d", l.Index, l.CPU, l.Node)
		}
	}
	clients := make([]*client, 4*m.cpus())
	for i := range clients {
		clients[i] = z.dialLoop(t, i%len(st.Loops))
		clients[i].get("/hello", "hello\n")
	}
	z.checkThreads(t)
	z.checkBuffers(t, m)
	for _, c := range clients {
		c.close()
	}
	z.stop(t)
	out := refused(t, backend, o, fmt.Sprintf("loops: \"%d-%d\"\n", m.Offline, m.Offline))
	if want := fmt.Sprintf("CPU %d is not among those this process may use", m.Offline); !strings.Contains(out, want) {
		t.Errorf("%q does not say %q", out, want)
	}
	write(t, online, "1")
	back = true

	z = startProxy(t, backend, o, "")
	for i := range clients {
		clients[i] = z.dialLoop(t, i%m.cpus())
		clients[i].get("/hello", "hello\n")
	}
	write(t, online, "0")
	back = false
	for range 3 {
		for _, c := range clients {
			c.get("/hello", "hello\n")
		}
		time.Sleep(50 * time.Millisecond)
	}
	for i := range clients { // and the listener of that loop still accepts
		clients[i].close()
		clients[i] = z.dialLoop(t, i%m.cpus())
		clients[i].get("/hello", "hello\n")
	}
	write(t, online, "1")
	back = true
	for _, c := range clients {
		c.get("/hello", "hello\n")
		c.close()
	}
	z.stop(t)
}
