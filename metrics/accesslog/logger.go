package accesslog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/metrics"
	"zproxy/variables"
)

// Options say where lines go and how.
type Options struct {
	Path        string              // a file, or "-" or "stdout"
	Format      Format              // JSON unless told otherwise
	Layout      []variables.LogPart // of Custom
	BufferBytes int                 // a loop hands over what it has from this size on; 0: 64 KiB
	Flush       time.Duration       // and at the latest after this time; 0: 1 s
	Retry       time.Duration       // between attempts while the file cannot be written; 0: 1 s
	Loops       int                 // how many buffers there will be; 0: 1
	Report      func(string)        // told of trouble once, and when it ends; nil: a line on stderr
}

// Logger owns the file and the goroutine that writes it.
type Logger struct {
	path      string // "" for stdout
	format    Format
	layout    []variables.LogPart
	watermark int
	flushNs   int64
	report    func(string)
	retry     time.Duration // between attempts while the file cannot be written

	full    chan *block   // blocks to write
	swap    chan swap     // files to go on with
	closing chan struct{} // closed by Close
	done    chan struct{} // closed by the writer
	once    sync.Once     // for Close
	file    sink          // the writer's own, once it runs
	endBy   atomic.Int64  // when closing must be over, in ns since 1970; 0: it has patience
	mu      sync.Mutex    // guards buffers, and file where others than the writer look at it
	buffers []*Buffer     // for Stats
	stats   struct {      // written by the writer
		records, bytes, errors, reopens atomic.Uint64
		droppedRecords, droppedBytes    atomic.Uint64
		failing                         atomic.Bool
		writingRecords, writingBytes    atomic.Uint64 // of the block that is being written
	}
}

// sink is what the writer needs of an *os.File.
type sink interface {
	io.WriteCloser
	io.Seeker
	Stat() (os.FileInfo, error)
	Truncate(size int64) error
}

// swap asks the writer to go on with another file.
type swap struct {
	file sink
	done chan struct{}
}

const (
	// patience is how long Reopen and Close wait for a writer that is stuck in a
	// write.
	patience = 5 * time.Second
	// leastPatience is what a writer that is not stuck needs for what is queued,
	// when the time that EndBy gave is over.
	leastPatience = 100 * time.Millisecond
)

// ErrStuck is returned when the writer does not get on: whatever it writes to
// (a pipe nobody reads, a file system that hangs) does not take the lines.
var ErrStuck = errors.New("the access log's writer is stuck in a write; is the reader of the pipe or the file system hanging?")

// Open opens the log for appending, creating it if need be, and starts the
// writer. Lines of several processes may share a file.
func Open(o Options) (*Logger, error) {
	l := &Logger{
		path: o.Path, format: o.Format, layout: o.Layout, watermark: o.BufferBytes, flushNs: int64(o.Flush),
		report: o.Report, retry: o.Retry,
	}
	if l.path == "-" || l.path == "stdout" {
		l.path = ""
	}
	if l.watermark <= 0 {
		l.watermark = 64 << 10
	}
	if l.flushNs <= 0 {
		l.flushNs = int64(time.Second)
	}
	if l.retry <= 0 {
		l.retry = time.Second
	}
	if l.report == nil {
		l.report = func(s string) { fmt.Fprintln(os.Stderr, "access log: "+s) }
	}
	file, err := l.openFile()
	if err != nil {
		return nil, err
	}
	l.start(file, max(o.Loops, 1))
	return l, nil
}

func (l *Logger) start(file sink, loops int) {
	l.file = file
	l.full = make(chan *block, loops*blocksPerBuffer)
	l.swap = make(chan swap, 1)
	l.closing = make(chan struct{})
	l.done = make(chan struct{})
	go l.write()
}

// openFile opens the path for appending. O_NONBLOCK makes a FIFO without a
// reader an error instead of a process that hangs at start; to a regular file
// it means nothing.
func (l *Logger) openFile() (*os.File, error) {
	if l.path == "" {
		// A duplicate, because Go lets a program die of SIGPIPE when descriptor 1
		// is a pipe without a reader; on any other descriptor it is an error.
		fd, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, fmt.Errorf("access log: stdout is not usable: %w", err)
		}
		return os.NewFile(uintptr(fd), "stdout"), nil
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("access log: %w: create the directory first", err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("access log: %w: let the user zproxy runs as write there, or choose another path", err)
	case errors.Is(err, syscall.ENXIO):
		return nil, fmt.Errorf("access log: %s is a pipe that nobody reads: start its reader first", l.path)
	case err != nil:
		return nil, fmt.Errorf("access log: %w", err)
	}
	return file, nil
}

// Reopen opens the path again and goes on there, as after a rotation: lines
// handed over before are in the old file or in the new one, each in one of them
// whole. When it returns nil the old file gets no more. On an error the old
// file stays in use. Standard output is left alone.
func (l *Logger) Reopen() error {
	if l.path == "" {
		return nil
	}
	file, err := l.openFile()
	if err != nil {
		return err
	}
	s := swap{file: file, done: make(chan struct{})}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case l.swap <- s:
	case <-l.done:
		file.Close()
		return os.ErrClosed
	case <-timeout.C:
		file.Close()
		return ErrStuck
	}
	select {
	case <-s.done:
		return nil
	case <-l.done:
		return os.ErrClosed
	case <-timeout.C:
		return ErrStuck // the writer takes the new file as soon as it gets on
	}
}

// EndBy makes closing end at t, or a moment after it, where nobody takes the
// lines: what is not written then is dropped and counted. Call it before the
// buffers are closed; any thread may.
func (l *Logger) EndBy(t time.Time) { l.endBy.Store(t.UnixNano()) }

// left is how long closing may wait.
func (l *Logger) left() time.Duration {
	by := l.endBy.Load()
	if by == 0 {
		return patience
	}
	return min(max(time.Until(time.Unix(0, by)), leastPatience), patience)
}

// Close writes what was handed over and closes the file. Close every Buffer
// before. It returns ErrStuck if that takes too long; what was not written
// then is lost, and counted.
func (l *Logger) Close() error {
	l.once.Do(func() { close(l.closing) })
	timeout := time.NewTimer(l.left())
	defer timeout.Stop()
	select {
	case <-l.done:
		return nil
	case <-timeout.C:
	}
	if l.interrupt() {
		<-l.done // the write has returned, and no other one waits
	} else {
		l.abandon()
	}
	return ErrStuck
}

// interrupt ends the write that the writer is stuck in, which then knows what
// the file has taken. False: such a file knows no deadlines.
func (l *Logger) interrupt() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	file, ok := l.file.(interface{ SetWriteDeadline(time.Time) error })
	return ok && file.SetWriteDeadline(time.Now()) == nil
}

// abandon counts as lost what is queued behind a write that does not return,
// and what that write has.
func (l *Logger) abandon() {
	for {
		select {
		case b := <-l.full:
			l.lose(uint64(b.records), uint64(len(b.lines)))
		default:
			l.lose(l.stats.writingRecords.Swap(0), l.stats.writingBytes.Swap(0))
			return
		}
	}
}

func (l *Logger) lose(records, bytes uint64) {
	l.stats.droppedRecords.Add(records)
	l.stats.droppedBytes.Add(bytes)
}

// Close hands over what the buffer still holds, waiting a moment for room if
// need be. Call it before the Logger's Close; the Buffer is unusable afterwards.
func (b *Buffer) Close() {
	if len(b.cur.lines) == 0 {
		return
	}
	timeout := time.NewTimer(b.log.left())
	defer timeout.Stop()
	select {
	case b.log.full <- b.cur:
		// A stand-in with a home of its own, so that b.free never overflows.
		b.cur = &block{home: make(chan *block, 1)}
		b.sinceNs = 0
	case <-b.log.done:
		b.drop()
	case <-timeout.C:
		b.drop()
	}
}

// Leave hands over what the buffer still holds, or drops it where there is no room: unlike
// Close it never waits. The Buffer is unusable afterwards.
func (b *Buffer) Leave() {
	if len(b.cur.lines) > 0 && !b.handOver() {
		b.drop()
	}
}

// Stats are the numbers of the log as a whole.
type Stats struct {
	Records, Bytes               uint64 // written
	DroppedRecords, DroppedBytes uint64 // lost
	Errors                       uint64 // writes that failed
	Reopens                      uint64
	Failing                      bool // the last write failed; it is being tried again
}

// Stats may be called from any thread.
func (l *Logger) Stats() Stats {
	s := Stats{
		Records: l.stats.records.Load(), Bytes: l.stats.bytes.Load(),
		DroppedRecords: l.stats.droppedRecords.Load(), DroppedBytes: l.stats.droppedBytes.Load(),
		Errors: l.stats.errors.Load(), Reopens: l.stats.reopens.Load(), Failing: l.stats.failing.Load(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.buffers {
		records, bytes := b.Dropped()
		s.DroppedRecords += records
		s.DroppedBytes += bytes
	}
	return s
}

func (l *Logger) register(b *Buffer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffers = append(l.buffers, b)
}

// Gauges are the Stats as metrics. Records dropped are also counted per loop,
// by the counter given to NewBuffer.
func (l *Logger) Gauges() []metrics.Gauge {
	s := l.Stats()
	failing := 0.0
	if s.Failing {
		failing = 1
	}
	return []metrics.Gauge{
		{Name: "zproxy_access_log_records_total", Help: "Access log records written.", Value: float64(s.Records)},
		{Name: "zproxy_access_log_bytes_total", Help: "Access log bytes written.", Value: float64(s.Bytes)},
		{Name: "zproxy_access_log_lost_records_total", Help: "Access log records lost, by loops or by the writer.", Value: float64(s.DroppedRecords)},
		{Name: "zproxy_access_log_lost_bytes_total", Help: "Access log bytes lost, by loops or by the writer.", Value: float64(s.DroppedBytes)},
		{Name: "zproxy_access_log_write_errors_total", Help: "Writes of the access log that failed.", Value: float64(s.Errors)},
		{Name: "zproxy_access_log_reopens_total", Help: "Times the access log was reopened.", Value: float64(s.Reopens)},
		{Name: "zproxy_access_log_failing", Help: "1 while the access log cannot be written.", Value: failing},
	}
}
