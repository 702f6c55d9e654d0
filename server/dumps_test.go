package server

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"zproxy/config"
)

const dumpsChild = "ZPROXY_TEST_CORE_DUMPS"

// A process that holds keys is not dumped, unless the configuration says so; one that
// holds none is left as it is. Each case is a process of its own.
func TestForbidDumps(t *testing.T) {
	secure := &config.Config{Listeners: []config.Listener{{}, {TLS: new(config.TLS)}}}
	dialling := &config.Config{Upstreams: []config.Upstream{{TLS: new(config.UpstreamTLS)}}}
	cases := []struct {
		c         *config.Config
		dumps     string
		forbidden bool
	}{{secure, "auto", true}, {dialling, "auto", true}, {secure, "always", false}, {&config.Config{}, "auto", false}, {&config.Config{}, "never", true}}
	if which := os.Getenv(dumpsChild); which != "" {
		var i int
		fmt.Sscan(which, &i)
		s := &Server{log: slog.New(slog.DiscardHandler)}
		s.serves.Store(&serving{cfg: cases[i].c})
		s.cfg().CoreDumps = cases[i].dumps
		s.forbidDumps(s.cfg())
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
			t.Fatal(err)
		}
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("dumpable %d limit %d %d\n", dumpable, limit.Cur, limit.Max)
		os.Exit(0)
	}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &own); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		cmd := exec.Command(os.Args[0], "-test.run=^TestForbidDumps$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", dumpsChild, i))
		out, err := cmd.Output()
		want := fmt.Sprintf("dumpable 1 limit %d %d\n", own.Cur, own.Max)
		if c.forbidden {
			want = "dumpable 0 limit 0 0\n"
		}
		if err != nil || string(out) != want {
			t.Errorf("case %d: %q, %v; want %q", i, out, err, want)
		}
	}
}
