package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reports collects what a Logger says.
type reports struct {
	mu    sync.Mutex
	lines []string
}

func (r *reports) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, s)
}

func (r *reports) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

func open(t *testing.T, o Options) (*Logger, *reports) {
	t.Helper()
	var said reports
	o.Report = said.add
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, &said
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

// add writes a record that carries a number to be found again by numbers.
func add(b *Buffer, loop, n int) {
	r := sample()
	r.Target = fmt.Appendf(nil, "/%d/%d", loop, n)
	b.Add(r)
}

// numbers reads the files and returns the numbers of each loop's records in the
// order they are in. A line that is not a whole JSON object fails the test.
func numbers(t *testing.T, paths ...string) map[int][]int {
	t.Helper()
	found := map[int][]int{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 0 && content[len(content)-1] != '\n' {
			t.Fatalf("%s ends in the middle of a line: %q", path, content[max(0, len(content)-100):])
		}
		for _, text := range bytes.Split(bytes.TrimSuffix(content, []byte("\n")), []byte("\n")) {
			if len(text) == 0 {
				continue
			}
			var fields struct{ Target string }
			if err := json.Unmarshal(text, &fields); err != nil {
				t.Fatalf("%s: %v in %q", path, err, text)
			}
			var loop, n int
			if _, err := fmt.Sscanf(fields.Target, "/%d/%d", &loop, &n); err != nil {
				t.Fatalf("%s: strange target %q", path, fields.Target)
			}
			found[loop] = append(found[loop], n)
		}
	}
	return found
}

func wantSequence(t *testing.T, got []int, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d records, want %d", len(got), n)
	}
	for i, v := range got {
		if v != i {
			t.Fatalf("record %d is number %d", i, v)
		}
	}
}

func TestEveryLineArrivesInOrder(t *testing.T) {
	const loops, each = 3, 5000
	path := filepath.Join(t.TempDir(), "access.log")
	l, said := open(t, Options{Path: path, BufferBytes: 4096, Loops: loops})
	var wg sync.WaitGroup
	counters := make([]uint64, loops)
	for loop := range loops {
		b := l.NewBuffer(&counters[loop])
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range each {
				// Not faster than the writer: what is tested here is not loss.
				for len(b.free) == 0 && b.made == blocksPerBuffer {
					time.Sleep(10 * time.Microsecond)
				}
				add(b, loop, n)
				if n%1000 == 0 {
					b.Flush(int64(n+1) * int64(time.Second))
				}
			}
			b.Close()
		}()
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	found := numbers(t, path)
	for loop := range loops {
		wantSequence(t, found[loop], each)
		if counters[loop] != 0 {
			t.Errorf("loop %d counted %d drops", loop, counters[loop])
		}
	}
	info, _ := os.Stat(path)
	want := Stats{Records: loops * each, Bytes: uint64(info.Size())}
	if got := l.Stats(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if s := said.all(); len(s) > 0 {
		t.Errorf("reported %q", s)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestFlushAfterInterval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, _ := open(t, Options{Path: path, Flush: 100})
	b := l.NewBuffer(nil)
	if b.Deadline() != 0 {
		t.Errorf("deadline %d of an empty buffer", b.Deadline())
	}
	add(b, 0, 0)
	b.Flush(1000) // the first flush after a line starts the interval
	if b.Deadline() != 1100 {
		t.Errorf("deadline %d, want 1100", b.Deadline())
	}
	b.Flush(1099)
	if len(b.cur.lines) == 0 {
		t.Error("handed over too early")
	}
	b.Flush(1100)
	if len(b.cur.lines) != 0 || b.Deadline() != 0 {
		t.Error("not handed over in time")
	}
	add(b, 0, 1)
	b.Flush(1150)
	if b.Deadline() != 1250 {
		t.Errorf("deadline %d of the second interval, want 1250", b.Deadline())
	}
	b.Flush(1250)
	eventually(t, "two records", func() bool { return l.Stats().Records == 2 })
	wantSequence(t, numbers(t, path)[0], 2)
}

func TestFullDisk(t *testing.T) {
	l, said := open(t, Options{Path: "/dev/full", BufferBytes: 4096, Retry: 10 * time.Millisecond})
	var counter uint64
	b := l.NewBuffer(&counter)
	for n := range 1000 {
		add(b, 0, n)
	}
	eventually(t, "several failed writes", func() bool { return l.Stats().Errors > 3 })
	s := l.Stats()
	if !s.Failing || s.Records != 0 || s.DroppedRecords == 0 || counter != s.DroppedRecords {
		t.Errorf("%+v, counter %d", s, counter)
	}
	if got := said.all(); len(got) != 1 || !strings.Contains(got[0], "no space left") {
		t.Errorf("reported %q, want ENOSPC once", got)
	}

	// The file becomes writable: what is in memory goes there, and the rest.
	path := filepath.Join(t.TempDir(), "access.log")
	l.path = path
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "recovery", func() bool { return !l.Stats().Failing && len(b.free) == b.made-1 })
	for n := range 10 {
		add(b, 1, n)
	}
	b.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	found := numbers(t, path)
	wantSequence(t, found[1], 10)
	if got := uint64(len(found[0])) + l.Stats().DroppedRecords; got != 1000 {
		t.Errorf("%d records written or counted as lost, want 1000", got)
	}
	if got := said.all(); len(got) != 2 || !strings.Contains(got[1], "can be written again") {
		t.Errorf("reported %q, want the failure and the recovery", got)
	}
}

// Closing while the disk is full must end, and count what is lost.
func TestCloseOnFullDisk(t *testing.T) {
	l, _ := open(t, Options{Path: "/dev/full"})
	b := l.NewBuffer(nil)
	for n := range 100 {
		add(b, 0, n)
	}
	b.Close()
	start := time.Now()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("took %v", took)
	}
	if s := l.Stats(); s.DroppedRecords != 100 || s.Records != 0 || s.DroppedBytes == 0 {
		t.Errorf("%+v", s)
	}
	b.Add(sample()) // a late record is no reason to crash
	b.Close()
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestRotationLosesNothing(t *testing.T) {
	const total, rotations = 20_000, 10
	path := filepath.Join(t.TempDir(), "access.log")
	l, _ := open(t, Options{Path: path, BufferBytes: 4096})
	b := l.NewBuffer(nil)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := range total {
			for len(b.free) == 0 && b.made == blocksPerBuffer {
				time.Sleep(10 * time.Microsecond)
			}
			add(b, 0, n)
			if n%100 == 0 {
				time.Sleep(100 * time.Microsecond)
			}
		}
		b.Close()
	}()
	var paths []string
	for i := range rotations {
		time.Sleep(2 * time.Millisecond)
		old := path + "." + strconv.Itoa(i)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		// After Reopen the old file is at rest.
		before, _ := os.Stat(old)
		time.Sleep(2 * time.Millisecond)
		if after, _ := os.Stat(old); after.Size() != before.Size() {
			t.Errorf("%s grew after Reopen", old)
		}
		paths = append(paths, old)
	}
	<-written
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSequence(t, numbers(t, append(paths, path)...)[0], total)
	if s := l.Stats(); s.Reopens != rotations || s.DroppedRecords != 0 {
		t.Errorf("%+v", s)
	}
	if err := l.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Reopen after Close: %v", err)
	}
}

func TestReopenFailureKeepsTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "access.log")
	if _, err := Open(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "create the directory") {
		t.Fatalf("a missing directory: %v", err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, _ := open(t, Options{Path: path})
	moved := filepath.Join(dir, "moved")
	if err := os.Rename(filepath.Dir(path), moved); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Fatal("no error")
	}
	b := l.NewBuffer(nil)
	add(b, 0, 0)
	b.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSequence(t, numbers(t, filepath.Join(moved, "access.log"))[0], 1)
}

// Standard output may be a pipe whose reader went away, or a socket.
func TestStdout(t *testing.T) {
	saved := os.Stdout
	defer func() { os.Stdout = saved }()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = write
	l, _ := open(t, Options{Path: "-"})
	os.Stdout = saved
	write.Close()
	if err := l.Reopen(); err != nil {
		t.Errorf("Reopen: %v", err)
	}
	b := l.NewBuffer(nil)
	add(b, 0, 0)
	b.Flush(1)
	b.Flush(1 + int64(time.Hour))
	got := make([]byte, 1<<16)
	n, err := read.Read(got)
	if r := sample(); err != nil || !bytes.HasPrefix(got[:n], []byte(`{"time":"`)) {
		t.Errorf("read %q, %v, want a line like %s", got[:n], err, line(JSON, r))
	}
	read.Close()
	add(b, 0, 1)
	b.Close()
	eventually(t, "EPIPE", func() bool { return l.Stats().Failing })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestStdoutSocket(t *testing.T) {
	saved := os.Stdout
	defer func() { os.Stdout = saved }()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = os.NewFile(uintptr(fds[0]), "stdout")
	l, _ := open(t, Options{Path: "stdout", Format: Combined})
	os.Stdout.Close()
	os.Stdout = saved
	peer := os.NewFile(uintptr(fds[1]), "peer")
	defer peer.Close()
	conn, err := net.FileConn(peer)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := l.NewBuffer(nil)
	b.Add(sample())
	b.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != line(Combined, sample()) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGaugesFollowStats(t *testing.T) {
	l, _ := open(t, Options{Path: "/dev/full"})
	b := l.NewBuffer(nil)
	b.Add(sample())
	b.Close()
	eventually(t, "a failed write", func() bool { return l.Stats().Failing })
	for _, g := range l.Gauges() {
		if g.Name == "zproxy_access_log_failing" && g.Value == 1 {
			return
		}
	}
	t.Error("zproxy_access_log_failing is not 1")
}
