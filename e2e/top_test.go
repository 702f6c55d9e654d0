package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"zproxy/internal/mixedload"
)

const shownText = `
loops: 2
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {endpoints: [{address: %q}, {address: %q, weight: 2}]}, down: {endpoints: [{address: "127.0.0.1:1"}]}}
routes: [{path: /down, upstream: down}, {path: /nothing, respond: {status: 404}}, {path: "/*", upstream: app}]
`

// terminal is a tmux with zproxy top in it.
type terminal struct {
	t      *testing.T
	socket string
}

func (m *terminal) tmux(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-S", m.socket, "-f", "/dev/null"}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (m *terminal) press(keys ...string) {
	for _, k := range keys {
		if _, text, ok := strings.Cut(k, "text "); ok {
			_, _ = m.tmux("send-keys", "-l", text)
		} else {
			_, _ = m.tmux("send-keys", k)
		}
	}
}

// sees waits until the screen has all of it.
func (m *terminal) sees(what string, wants ...string) (screen string) {
	m.t.Helper()
	return m.seesThat(what, func(screen string) bool {
		for _, want := range wants {
			if !strings.Contains(screen, want) {
				return false
			}
		}
		return true
	})
}

func (m *terminal) seesThat(what string, good func(string) bool) (screen string) {
	m.t.Helper()
	eventually(m.t, patience, what, func() (bool, string) {
		screen, _ = m.tmux("capture-pane", "-p")
		return good(screen), screen
	})
	return screen
}

// busiest is the first row of a table that is sorted by requests.
func busiest(screen string) string {
	lines := strings.Split(screen, "\n")
	for i, l := range lines[:len(lines)-1] {
		if strings.Contains(l, "REQ/Sv") {
			return lines[i+1]
		}
	}
	return ""
}

// zproxy top shows figures in a terminal of 80x24, and in a larger one, and obeys its keys.
func TestTop(t *testing.T) {
	need(t, "tmux")
	origin := loadedOrigin(t)
	z := start(t, backends[0], fmt.Sprintf(shownText, origin.addr, origin.another(t)))
	load := mixedload.Start(mixedload.Clients{Clear: z.addr, Kinds: []mixedload.Kind{mixedload.Kept}, Each: 3, Pauses: []time.Duration{10 * time.Millisecond}})
	defer load.Stop()
	for _, size := range [][2]int{{80, 24}, {160, 50}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			m := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
			if out, err := m.tmux("new-session", "-d", "-x", strconv.Itoa(size[0]), "-y", strconv.Itoa(size[1]), zproxyBin+" top -admin "+z.admin); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			t.Cleanup(func() { _, _ = m.tmux("kill-server") })
			screen := m.sees("routes", "requests/s", "[routes]", "/down", "/nothing", "q: quit")
			for _, line := range strings.Split(screen, "\n") {
				if n := len([]rune(line)); n > size[0] {
					t.Errorf("a line of %d: %q", n, line)
				}
			}
			m.press("3")
			m.sees("endpoints", "[endpoints]", origin.addr, "127.0.0.1:1")
			m.press("4")
			m.sees("loops", "[loops]", "LOOP")
			m.press("1", "/", "text nothing")
			m.seesThat("what the filter lets through", func(s string) bool {
				return strings.Contains(s, "filter: nothing") && strings.Contains(s, "/nothing") && !strings.Contains(s, "/down")
			})
			m.press("Escape")
			m.sees("all of them", "/down")
			m.press("s")
			m.seesThat("the busiest route first", func(s string) bool { return strings.HasPrefix(busiest(s), "/* ") })
			m.press("f")
			m.sees("frozen", "FROZEN")
			m.press("f")
			m.seesThat("not frozen", func(s string) bool { return strings.Contains(s, "requests/s") && !strings.Contains(s, "FROZEN") })
			m.press("q")
			eventually(t, patience, "it ends", func() (bool, string) {
				out, err := m.tmux("list-sessions")
				return err != nil, out
			})
		})
	}
}
