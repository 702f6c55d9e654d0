package accesslog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stalled starts a log on a pipe that is not read.
func stalled(t *testing.T, kind string) (l *Logger, reader *os.File) {
	t.Helper()
	if kind == "FIFO" {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { reader.Close() })
		l, err := Open(Options{Path: fifo, BufferBytes: 32 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return l, reader
	}
	// Standard output may be a pipe whose other holders want it to block.
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	reader = os.NewFile(uintptr(fds[0]), "reader")
	t.Cleanup(func() { reader.Close() })
	l = &Logger{watermark: 32 << 10, flushNs: 1, report: func(string) {}, retry: time.Second}
	l.start(os.NewFile(uintptr(fds[1]), "stdout"), 1)
	return l, reader
}

// Closing ends when it is told to, whether or not somebody takes the lines: each
// of them is in the pipe or counted as lost.
func TestCloseWithStalledReader(t *testing.T) {
	for _, kind := range []string{"FIFO", "blocking pipe"} {
		for name, c := range map[string]struct {
			lines    int
			by       time.Duration
			min, max time.Duration
		}{
			"all blocks full": {4000, 500 * time.Millisecond, 400 * time.Millisecond, 2 * time.Second},
			"one write":       {400, 500 * time.Millisecond, 400 * time.Millisecond, 2 * time.Second},
			"time is over":    {4000, -time.Second, leastPatience / 2, 2 * time.Second},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				l, reader := stalled(t, kind)
				b := l.NewBuffer(nil)
				size, _ := addMany(b, c.lines)
				begin := time.Now()
				l.EndBy(begin.Add(c.by))
				b.Close()
				if err := l.Close(); !errors.Is(err, ErrStuck) {
					t.Errorf("closed with %v", err)
				}
				if took := time.Since(begin); took < c.min || took > c.max {
					t.Errorf("closing took %v", took)
				}
				s := l.Stats()
				if s.Records+s.DroppedRecords != uint64(c.lines) || s.Bytes+s.DroppedBytes != size || s.DroppedRecords == 0 {
					t.Errorf("%+v of %d records, %d bytes", s, c.lines, size)
				}
				if kind != "FIFO" {
					return // what the last write had put there cannot be known
				}
				content, err := io.ReadAll(reader)
				whole := bytes.LastIndexByte(content, '\n') + 1 // the rest of a line cut short cannot be taken back
				if err != nil || uint64(bytes.Count(content, []byte{'\n'})) != s.Records || uint64(whole) != s.Bytes {
					t.Errorf("%d bytes of whole lines in the pipe, %v, %+v", whole, err, s)
				}
			})
		}
	}
}

// A reader that is late, but there before the end, gets everything.
func TestCloseWithLateReader(t *testing.T) {
	l, reader := stalled(t, "blocking pipe")
	b := l.NewBuffer(nil)
	addMany(b, 300) // more than the pipe takes, less than the buffer
	time.AfterFunc(200*time.Millisecond, func() { io.Copy(io.Discard, reader) })
	l.EndBy(time.Now().Add(3 * time.Second))
	b.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Records != 300 || s.DroppedRecords != 0 {
		t.Errorf("%+v", s)
	}
}
