package accesslog

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

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
	size, worst := addMany(b, total)
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

// addMany adds n records and says how long their lines are together, and how
// long the slowest Add took.
func addMany(b *Buffer, n int) (size uint64, worst time.Duration) {
	for i := range n {
		r := sample()
		r.Target = fmt.Appendf(nil, "/0/%d", i)
		size += uint64(len(line(JSON, r)))
		start := time.Now()
		b.Add(r)
		worst = max(worst, time.Since(start))
	}
	return size, worst
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
	l := &Logger{path: path, watermark: 4096, flushNs: 1, report: func(string) {}, retry: time.Millisecond}
	disk := &small{File: f, room: room}
	l.start(disk, 1)
	t.Cleanup(func() { l.Close() })
	return l, disk
}

// tenOnSmallDisk is onSmallDisk with ten records, for which there is not enough
// room.
func tenOnSmallDisk(t *testing.T, path string) (*Logger, *small) {
	t.Helper()
	l, disk := onSmallDisk(t, path, 1000)
	b := l.NewBuffer(nil)
	for n := range 10 { // below the watermark: one block
		add(b, 0, n)
	}
	b.Close()
	eventually(t, "a full disk", func() bool { return l.Stats().Failing })
	return l, disk
}

func TestShortLineIsCompleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, disk := tenOnSmallDisk(t, path)
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
	l, _ := tenOnSmallDisk(t, path)
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
	l, _ := tenOnSmallDisk(t, path)
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
	l, _ := tenOnSmallDisk(t, path)
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
