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

// A writer that does not get on costs records, never time.
func TestStuckWriterDropsAndCounts(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: fifo}); err == nil || !strings.Contains(err.Error(), "nobody reads") {
		t.Fatalf("a FIFO without a reader: %v", err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l, _ := open(t, Options{Path: fifo, BufferBytes: 32 << 10})
	var counter uint64
	b := l.NewBuffer(&counter)
	const total = 4000 // 1.5 MB, far above pipe and buffers
	var worst time.Duration
	var size uint64
	for n := range total {
		r := sample()
		r.Target = fmt.Appendf(nil, "/0/%d", n)
		size += uint64(len(line(JSON, r)))
		start := time.Now()
		b.Add(r)
		worst = max(worst, time.Since(start))
	}
	records, lost := b.Dropped()
	if records < total/2 || counter != records {
		t.Errorf("dropped %d records, counter %d", records, counter)
	}
	if worst > time.Second {
		t.Errorf("Add took %v", worst)
	}
	b.Flush(1)
	b.Flush(1 + int64(time.Hour)) // the writer is behind: lines stay
	if after, _ := b.Dropped(); after != records {
		t.Errorf("Flush dropped %d records", after-records)
	}
	// One loop more than announced: the queue is full before its blocks are used up.
	late := l.NewBuffer(nil)
	for n := range total {
		add(late, 1, n)
	}
	if more, _ := late.Dropped(); more == 0 {
		t.Error("nothing dropped by the second buffer")
	}
	late.drop()
	copied := make(chan []byte)
	go func() {
		content, _ := io.ReadAll(reader)
		copied <- content
	}()
	b.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	content := <-copied
	// What was read, by loop, and what was counted as lost make up everything.
	var read, readBytes uint64
	for _, text := range bytes.SplitAfter(content, []byte("\n")) {
		if bytes.Contains(text, []byte(`"target":"/0/`)) {
			read++
			readBytes += uint64(len(text))
		}
	}
	if read+records != total || readBytes+lost != size {
		t.Errorf("%d records read + %d dropped of %d; %d bytes + %d of %d", read, records, total, readBytes, lost, size)
	}
	s := l.Stats()
	moreRecords, moreBytes := late.Dropped()
	want := Stats{
		Records: uint64(bytes.Count(content, []byte{'\n'})), Bytes: uint64(len(content)),
		DroppedRecords: records + moreRecords, DroppedBytes: lost + moreBytes,
	}
	if s != want || s.Records+s.DroppedRecords != 2*total {
		t.Errorf("got %+v, want %+v", s, want)
	}
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

// small is a file on a disk with room bytes left.
type small struct {
	*os.File
	mu   sync.Mutex
	room int
}

func (s *small) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.File.Write(p[:min(len(p), s.room)])
	s.room -= n
	if err == nil && n < len(p) {
		err = syscall.ENOSPC
	}
	return n, err
}

func (s *small) grow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room += n
}

// onSmallDisk starts a log on a file with room bytes.
func onSmallDisk(t *testing.T, path string, room int) (*Logger, *small) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	l := &Logger{path: path, mark: 4096, flushNs: 1, report: func(string) {}, retry: time.Millisecond}
	disk := &small{File: f, room: room}
	l.start(disk, 1)
	t.Cleanup(func() { l.Close() })
	return l, disk
}

func TestShortLineIsCompleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, disk := onSmallDisk(t, path, 1000)
	b := l.NewBuffer(nil)
	for n := range 10 { // below the mark: one block
		add(b, 0, n)
	}
	b.Close()
	eventually(t, "a full disk", func() bool { return l.Stats().Failing })
	content, _ := os.ReadFile(path)
	if len(content) != 1000 || content[999] == '\n' {
		t.Fatalf("the disk should have ended in the middle of a line: %d bytes", len(content))
	}
	for range 20 {
		disk.grow(333)
		time.Sleep(3 * time.Millisecond)
	}
	eventually(t, "recovery", func() bool { return !l.Stats().Failing })
	wantSequence(t, numbers(t, path)[0], 10)
}

func TestShortLineIsRemovedOnClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, _ := onSmallDisk(t, path, 1000)
	b := l.NewBuffer(nil)
	for n := range 10 {
		add(b, 0, n)
	}
	b.Close()
	eventually(t, "a full disk", func() bool { return l.Stats().Failing })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	found := numbers(t, path)[0]
	wantSequence(t, found, len(found))
	if s := l.Stats(); len(found) == 0 || s.Records != uint64(len(found)) || s.DroppedRecords != uint64(10-len(found)) {
		t.Errorf("%d records in the file, %+v", len(found), s)
	}
}

func TestShortLineMovesToTheNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, _ := onSmallDisk(t, path, 1000)
	b := l.NewBuffer(nil)
	for n := range 10 {
		add(b, 0, n)
	}
	b.Close()
	eventually(t, "a full disk", func() bool { return l.Stats().Failing })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantSequence(t, numbers(t, path+".1", path)[0], 10)
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() == 0 {
		t.Errorf("nothing stayed in the old file: %v", err)
	}
	if s := l.Stats(); s.Records != 10 || s.DroppedRecords != 0 || s.Reopens != 1 {
		t.Errorf("%+v", s)
	}
}

// Another process appends to the file too: its lines must survive.
func TestTrimLeavesOthersLinesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, _ := onSmallDisk(t, path, 1000)
	b := l.NewBuffer(nil)
	for n := range 10 {
		add(b, 0, n)
	}
	b.Close()
	eventually(t, "a full disk", func() bool { return l.Stats().Failing })
	other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.WriteString("\nsomebody else's line\n"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	content, _ := os.ReadFile(path)
	if !bytes.HasSuffix(content, []byte("\nsomebody else's line\n")) {
		t.Errorf("the other's line is gone: %q", content[max(0, len(content)-100):])
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
