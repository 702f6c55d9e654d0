package loop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// counts connects n times to addr, each connection closed at the end, and says
// how many each listener got.
func counts(t *testing.T, fds []int, addr string, n int) []int {
	t.Helper()
	for range n {
		c, err := net.DialTimeout("tcp", addr, testTimeout)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	got := make([]int, len(fds))
	total := 0
	for deadline := time.Now().Add(testTimeout); total < n && time.Now().Before(deadline); {
		for i, fd := range fds {
			if c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err == nil {
				unix.Close(c)
				got[i]++
				total++
			}
		}
	}
	if total != n {
		t.Fatalf("%d connections of %d arrived", total, n)
	}
	return got
}

func openForTest(t *testing.T, addr string, n int, cpus []int) ([]int, string) {
	t.Helper()
	fds, err := OpenListeners(addr, n, cpus, SockOpts{NoDelay: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	ap, err := LocalAddr(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	return fds, fmt.Sprint(ap.Port())
}

// TestSteeringOnLoopback: with all clients on one loopback address, and even
// on one CPU, each loop gets its share.
func TestSteeringOnLoopback(t *testing.T) {
	runtime.LockOSThread() // and with it the clients' system calls
	defer unpin(t)()
	pinTo(t, allowedCPUs(t)[0])
	for _, x := range []struct {
		listen, host string
		n            int
		cpus         []int
	}{
		{"127.0.0.1:0", "127.0.0.1", 2, []int{0, 1}},
		{"127.0.0.1:0", "127.0.0.1", 3, []int{5, 0, 1}},
		{"127.0.0.1:0", "127.0.0.1", 4, nil},
		{"127.0.0.1:0", "127.0.0.1", 2, []int{0, 0}},
		{"[::1]:0", "::1", 2, []int{0, 1}},
		{"[::]:0", "127.0.0.1", 2, []int{0, 1}},
		{":0", "::1", 2, []int{0, 1}},
	} {
		t.Run(fmt.Sprintf("%s/%v", x.listen, x.cpus), func(t *testing.T) {
			if strings.Contains(x.listen, ":") && x.listen[0] != '1' && !hasIPv6() {
				t.Skip("no IPv6 on loopback: sysctl net.ipv6.conf.lo.disable_ipv6=0 gives it")
			}
			fds, port := openForTest(t, x.listen, x.n, x.cpus)
			got := counts(t, fds, net.JoinHostPort(x.host, port), 240)
			t.Logf("240 connections: %v", got)
			for i, c := range got {
				if fair := 240 / x.n; c < fair/2 || c > 2*fair {
					t.Errorf("loop %d got %d connections, its share is %d", i, c, fair)
				}
			}
		})
	}
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

// TestSteeringByCPU: behind a network card the connection goes to the loop of
// the CPU that handles the SYN. Loopback stands in for the card: it handles
// the SYN on the CPU of the client.
func TestSteeringByCPU(t *testing.T) {
	cpus := allowedCPUs(t)
	if len(cpus) < 2 {
		t.Skip("this needs two CPUs in the affinity mask")
	}
	if b, err := os.ReadFile("/sys/class/net/lo/queues/rx-0/rps_cpus"); err == nil && strings.Trim(string(b), "0,\n") != "" {
		t.Skip("packets of loopback are moved between CPUs here: echo 0 > /sys/class/net/lo/queues/rx-0/rps_cpus")
	}
	loops := []int{cpus[1], cpus[0]} // in an order that an index cannot hit by chance
	fds, port := openForTest(t, "127.0.0.1:0", 2, loops)
	const noInterface = 0xffff
	if err := attachSteering(fds[0], steeringProgram(2, loops, noInterface)); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer unpin(t)()
	for loop, cpu := range loops {
		pinTo(t, cpu)
		got := rawCounts(t, fds, port, 40)
		if got[loop] < 38 {
			t.Errorf("of 40 connections from CPU %d the loops got %v", cpu, got)
		}
	}
	// A CPU without a loop: spread.
	if err := attachSteering(fds[0], steeringProgram(2, []int{4001, 4002}, noInterface)); err != nil {
		t.Fatal(err)
	}
	if got := rawCounts(t, fds, port, 100); got[0] < 25 || got[1] < 25 {
		t.Errorf("from a CPU without a loop the loops got %v", got)
	}
}

// rawCounts is counts with system calls of this thread, which is pinned.
func rawCounts(t *testing.T, fds []int, port string, n int) []int {
	t.Helper()
	remote, err := NewRemote("127.0.0.1:"+port, SockOpts{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]int, len(fds))
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if errno := connectFD(int32(fd), remote.sockaddr()); errno != 0 {
			t.Fatal(errno)
		}
		arrived := false
		for !arrived {
			for i, ln := range fds {
				if c, _, err := unix.Accept4(ln, unix.SOCK_CLOEXEC); err == nil {
					unix.Close(c)
					got[i]++
					arrived = true
				}
			}
		}
		unix.Close(fd)
	}
	return got
}

func allowedCPUs(t *testing.T) []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

func pinTo(t *testing.T, cpu int) {
	t.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
}

// unpin remembers the affinity of this thread and gives it back.
func unpin(t *testing.T) func() {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	return func() {
		unix.SchedSetaffinity(0, &set)
		runtime.UnlockOSThread()
	}
}

func TestOpenListenersErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, port := openForTest(t, "127.0.0.1:0", 2, nil)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		addr string
		n    int
		o    SockOpts
		want string
	}{
		{ln.Addr().String(), 1, SockOpts{}, "already in use"},
		{"127.0.0.1:" + port, 2, SockOpts{}, "already in use"},
		{"192.0.2.1:80", 1, SockOpts{}, "does not have that address"},
		{"nonsense", 1, SockOpts{}, "nonsense"},
		{"127.0.0.1:0", 0, SockOpts{}, "0 loops"},
		{"127.0.0.1:0", 1, SockOpts{Congestion: "carrier-pigeon"}, "carrier-pigeon"},
		{"127.0.0.1:0", 1, SockOpts{SndBuf: -1}, "send buffer"},
		{"unix:" + file, 1, SockOpts{}, "not a socket"},
		{"unix:", 1, SockOpts{}, "needs a path"},
		{"unix:/" + strings.Repeat("x", 200), 1, SockOpts{}, "at most"},
		{"unix:/nowhere/at/all", 1, SockOpts{}, "no such file"},
	} {
		fds, err := OpenListeners(x.addr, x.n, nil, x.o)
		if err == nil || !strings.Contains(err.Error(), x.want) || fds != nil {
			t.Errorf("%s: %v, %v, want an error with %q", x.addr, fds, err, x.want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file in the way: %q, %v", b, err)
	}
	// Freed, the address can be had again at once.
	for _, fd := range ours {
		unix.Close(fd)
	}
	ours[0], ours[1] = -1, -1
	again, err := OpenListeners("127.0.0.1:"+port, 1, nil, SockOpts{})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(again[0])
}

// The file of a unix socket is for those it is said to be for; nobody could
// connect before it was.
func TestFileAccess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // others can give a file only to themselves
		uid, gid = 12345, 54321
	}
	for _, c := range []struct {
		access   *FileAccess
		mode     os.FileMode
		uid, gid int
	}{
		{&FileAccess{Mode: 0o640, UID: -1, GID: -1}, 0o640, os.Getuid(), os.Getgid()},
		{&FileAccess{Mode: 0o666, UID: -1, GID: -1}, 0o666, os.Getuid(), os.Getgid()}, // beyond the umask
		{&FileAccess{Mode: 0o660, UID: -1, GID: gid}, 0o660, os.Getuid(), gid},
		{&FileAccess{Mode: 0o600, UID: uid, GID: gid}, 0o600, uid, gid},
	} {
		fds, err := OpenListeners("unix:"+path, 2, nil, SockOpts{File: c.access})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != c.mode || int(st.Uid) != c.uid || int(st.Gid) != c.gid {
			t.Errorf("%+v: %v, owner %d, group %d", *c.access, info.Mode(), st.Uid, st.Gid)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// TestLoopbackUnpaced: connections on a loopback address do not pace, others
// and those that ask for it have what they would have.
func TestLoopbackUnpaced(t *testing.T) {
	congestion := func(fd int) string {
		t.Helper()
		s, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimRight(s, "\x00")
	}
	plain, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(plain)
	system := congestion(plain)
	unpaced := system
	if strings.HasPrefix(system, "bbr") {
		unpaced = "reno"
	}
	for _, x := range []struct {
		addr string
		o    SockOpts
		want string
	}{
		{"127.0.0.1:0", SockOpts{}, unpaced}, {"127.8.8.8:0", SockOpts{}, unpaced}, {"[::1]:0", SockOpts{}, unpaced},
		{"0.0.0.0:0", SockOpts{}, system}, {"127.0.0.1:0", SockOpts{Congestion: system}, system},
	} {
		fds, err := OpenListeners(x.addr, 1, nil, x.o)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[0])
		if got := congestion(fds[0]); got != x.want {
			t.Errorf("a listener on %s with %+v: %s, want %s", x.addr, x.o, got, x.want)
		}
		r, err := NewRemote(strings.Replace(x.addr, ":0", ":1", 1), x.o)
		if err != nil {
			t.Fatal(err)
		}
		fd, errno := r.open()
		if errno != 0 {
			t.Fatal(errno)
		}
		defer unix.Close(fd)
		if got := congestion(fd); got != x.want {
			t.Errorf("a connection to %s with %+v: %s, want %s", x.addr, x.o, got, x.want)
		}
	}
	for _, name := range []string{"bbr", "cubic", "reno"} {
		if unix.SetsockoptString(plain, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) != nil {
			continue // not in this kernel, or not allowed
		}
		want := name
		if name == "bbr" {
			want = "reno"
		}
		if unpace(plain); congestion(plain) != want {
			t.Errorf("%s becomes %s, want %s", name, congestion(plain), want)
		}
	}
}

// TestListenerOptions: what is asked for is there on accepted connections.
func TestListenerOptions(t *testing.T) {
	o := SockOpts{NoDelay: true, KeepAliveSec: 33, SndBuf: 20000, RcvBuf: 30000, Congestion: "reno", DeferAcceptSec: 1, FastOpen: 8, Backlog: 3}
	fds, err := OpenListeners("127.0.0.1:0", 1, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	unix.SetNonblock(fds[0], false)
	ap, err := LocalAddr(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ap.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("x"))
	fd, _, err := unix.Accept4(fds[0], unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, x := range []struct {
		name             string
		level, opt, want int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 33},
		{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 40000},
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 60000},
	} {
		got, err := unix.GetsockoptInt(fd, x.level, x.opt)
		if err != nil || got != x.want {
			t.Errorf("%s: %d, %v, want %d", x.name, got, err, x.want)
		}
	}
	if s, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); err != nil || strings.TrimRight(s, "\x00") != "reno" {
		t.Errorf("congestion control: %q, %v", s, err)
	}
	for name, opt := range map[string]int{"TCP_DEFER_ACCEPT": unix.TCP_DEFER_ACCEPT, "TCP_FASTOPEN": unix.TCP_FASTOPEN} {
		if got, err := unix.GetsockoptInt(fds[0], unix.IPPROTO_TCP, opt); err != nil || got == 0 {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func TestNewRemote(t *testing.T) {
	for _, x := range []struct{ addr, want string }{
		{"127.0.0.1:80", ""}, {"[::1]:80", ""}, {"[::ffff:127.0.0.1]:80", ""}, {"unix:/run/x", ""}, {"unix:@x", ""},
		{"[fe80::1%lo]:80", ""},
		{"localhost:80", "IP:port"}, {"127.0.0.1", "IP:port"}, {"127.0.0.1:0", "port 0"}, {"unix:", "needs a path"},
		{"[fe80::1%nosuch]:80", "nosuch"}, {"", "IP:port"}, {"unix:/a\x00b", "zero byte"},
	} {
		r, err := NewRemote(x.addr, SockOpts{})
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%q: %v, want %q", x.addr, err, x.want)
		}
		if err == nil && (r.String() != x.addr || r.saLen == 0) {
			t.Errorf("%q: %v", x.addr, r)
		}
	}
	if _, err := NewRemote("127.0.0.1:1", SockOpts{KeepAliveSec: 1 << 20}); err == nil {
		t.Error("a keep-alive of 12 days")
	}
}

// Sockets that were opened for n loops serve m: all of them are there in their order, and new
// connections come to the first m, or to as many more as are added.
func TestAdoptListeners(t *testing.T) {
	for _, c := range []struct{ had, has int }{{3, 3}, {3, 1}, {3, 2}, {1, 3}, {2, 4}} {
		t.Run(fmt.Sprintf("%d to %d", c.had, c.has), func(t *testing.T) {
			given, port := openForTest(t, "127.0.0.1:0", c.had, nil)
			addr := "127.0.0.1:" + port
			fds, err := AdoptListeners(addr, given, c.has, nil, SockOpts{NoDelay: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(fds) != max(c.had, c.has) || !slices.Equal(fds[:c.had], given) {
				t.Fatalf("%v of %v", fds, given)
			}
			defer func() {
				for _, fd := range fds[c.had:] {
					unix.Close(fd)
				}
			}()
			for i, n := range counts(t, fds, addr, 60*c.has) {
				if (n > 0) != (i < c.has) {
					t.Errorf("socket %d got %d", i, n)
				}
			}
			if err := SteerAgain(fds[:c.had], c.had, nil); err != nil {
				t.Fatal(err)
			}
			for i, n := range counts(t, fds, addr, 60*c.had) {
				if c.had > 1 && (n > 0) != (i < c.had) {
					t.Errorf("back again: socket %d got %d", i, n)
				}
			}
		})
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := AdoptListeners("127.0.0.1:1", []int{int(file.Fd())}, 2, nil, SockOpts{}); err == nil {
		t.Error("what is no socket is taken for one")
	}
}
