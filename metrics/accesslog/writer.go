package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// write is the writer goroutine: blocks in, bytes out, empty blocks back.
func (l *Logger) write() {
	defer close(l.done)
	defer func() { l.file.Close() }()
	for {
		select {
		case b := <-l.full:
			l.writeBlock(b)
		case s := <-l.swap:
			l.take(s)
		case <-l.closing:
			l.drain()
			return
		}
	}
}

// drain writes what is queued when the log is closed.
func (l *Logger) drain() {
	for {
		select {
		case b := <-l.full:
			l.writeBlock(b)
		case s := <-l.swap:
			l.take(s)
		default:
			return
		}
	}
}

// take goes on with another file.
func (l *Logger) take(s swap) {
	l.file.Close() // nothing is buffered here that closing could fail to write
	l.mu.Lock()
	l.file = s.file
	l.mu.Unlock()
	l.stats.reopens.Add(1)
	close(s.done)
}

// writeBlock writes all lines of b and gives it back. While the file does not
// take them it holds on to the block and tries again, at the byte where the
// file stopped: a line cut short by a full disk is completed, not repeated. It
// gives up only when the log is being closed, after one more attempt.
func (l *Logger) writeBlock(b *block) {
	done := 0 // bytes of b.lines in the file
	l.stats.writingRecords.Store(uint64(b.records))
	l.stats.writingBytes.Store(uint64(len(b.lines)))
	for done < len(b.lines) {
		closing := l.isClosing()
		n, err := l.file.Write(b.lines[done:])
		done += n
		if done == len(b.lines) {
			break
		}
		if err == nil {
			err = io.ErrShortWrite
		}
		l.failed(err)
		if closing {
			done = l.trimLine(b.lines, done)
			break
		}
		done = l.waitForRetry(b.lines, done)
	}
	l.stats.writingRecords.Store(0)
	l.stats.writingBytes.Store(0)
	l.account(b, done)
	b.lines, b.records = b.lines[:0], 0
	b.home <- b // never blocks: the channel has room for every block of its loop
}

func (l *Logger) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// waitForRetry waits until writing is worth another attempt and returns from
// which byte of lines: done, or the begin of a line if the file is a new one.
func (l *Logger) waitForRetry(lines []byte, done int) int {
	timer := time.NewTimer(l.retry)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.closing:
	case s := <-l.swap:
		done = l.trimLine(lines, done)
		l.take(s)
	}
	return done
}

// trimLine removes the beginning of a line from the end of the file, when the
// rest of it will not follow there, and returns where in lines it began. Only a
// regular file that nobody else has appended to since can be trimmed.
func (l *Logger) trimLine(lines []byte, done int) int {
	begin := bytes.LastIndexByte(lines[:done], '\n') + 1
	if begin == done {
		return begin
	}
	info, err := l.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return begin
	}
	end, err := l.file.Seek(0, io.SeekCurrent)
	if err == nil && info.Size() == end {
		if err := l.file.Truncate(end - int64(done-begin)); err != nil {
			l.report(fmt.Sprintf("the last line of %s is incomplete: %v", l.name(), err))
		}
	}
	return begin
}

// account counts a block whose first done bytes are in the file.
func (l *Logger) account(b *block, done int) {
	written := b.records
	if done < len(b.lines) {
		written = bytes.Count(b.lines[:done], []byte{'\n'})
		l.lose(uint64(b.records-written), uint64(len(b.lines)-done))
	} else if l.stats.failing.CompareAndSwap(true, false) {
		lost := l.Stats().DroppedRecords
		l.report(fmt.Sprintf("%s can be written again; %d records were lost since the start", l.name(), lost))
	}
	l.stats.records.Add(uint64(written))
	l.stats.bytes.Add(uint64(done))
}

// failed counts a failed write and reports the first of a row. A write that
// Close has interrupted is reported by who closes.
func (l *Logger) failed(err error) {
	l.stats.errors.Add(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	if l.stats.failing.CompareAndSwap(false, true) {
		l.report(fmt.Sprintf("%v; requests are served on, records that do not fit in memory are lost; trying again every %v", err, l.retry))
	}
}

func (l *Logger) name() string {
	if l.path == "" {
		return "stdout"
	}
	return l.path
}
