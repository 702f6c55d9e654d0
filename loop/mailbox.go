package loop

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const mailboxSize = 1024 // a power of two

// wakeCount is what Post adds to the eventfd.
var wakeCount uint64 = 1

// mailbox is a bounded queue from many threads to one. Each cell carries a
// turn: for position p it is p when the cell may be written, p+1 when it may
// be read.
type mailbox struct {
	cells [mailboxSize]mailCell
	_     [64]byte // writers and reader on cache lines of their own
	tail  atomic.Uint64
	full  atomic.Uint64
	_     [48]byte
	head  uint64 // the loop's

	// The loop says here that it is about to sleep; who takes that back writes
	// the eventfd. While it works nobody pays for a system call.
	asleep  atomic.Uint32
	closed  atomic.Bool
	writers atomic.Int32 // between seeing the loop asleep and having written
}

type mailCell struct {
	turn atomic.Uint64
	mail Mail
}

func (b *mailbox) init() {
	for i := range b.cells {
		b.cells[i].turn.Store(uint64(i))
	}
}

// put is false when the box is full.
func (b *mailbox) put(m *Mail) bool {
	pos := b.tail.Load()
	for {
		cell := &b.cells[pos%mailboxSize]
		switch turn := cell.turn.Load(); {
		case turn == pos:
			if b.tail.CompareAndSwap(pos, pos+1) {
				cell.mail = *m
				cell.turn.Store(pos + 1)
				return true
			}
			pos = b.tail.Load()
		case turn < pos:
			b.full.Add(1)
			return false
		default:
			pos = b.tail.Load()
		}
	}
}

func (b *mailbox) empty() bool {
	return b.cells[b.head%mailboxSize].turn.Load() != b.head+1
}

func (b *mailbox) take(m *Mail) bool {
	cell := &b.cells[b.head%mailboxSize]
	if cell.turn.Load() != b.head+1 {
		return false
	}
	*m = cell.mail
	cell.mail.Ref = nil
	cell.turn.Store(b.head + mailboxSize)
	b.head++
	return true
}

// shut makes every later Post fail and waits for those that are just about to
// write the eventfd: its number may soon be somebody else's.
func (b *mailbox) shut() {
	b.closed.Store(true)
	b.asleep.Store(0)
	for b.writers.Load() != 0 {
		runtime.Gosched()
	}
}

// Post gives m to the loop, from any thread: MailIn there. False when the
// mailbox is full or the loop destroyed; nothing was taken over then. What is
// posted while Destroy runs may be lost.
func (l *Loop) Post(m Mail) bool {
	b := &l.box
	if b.closed.Load() || !b.put(&m) {
		return false
	}
	if b.asleep.Load() != 0 {
		b.writers.Add(1)
		if b.asleep.CompareAndSwap(1, 0) && l.wakeFD >= 0 {
			unix.RawSyscall(unix.SYS_WRITE, uintptr(l.wakeFD), uintptr(unsafe.Pointer(&wakeCount)), 8)
		}
		b.writers.Add(-1)
	}
	return true
}

// fallAsleep is called before a wait that blocks; false when there is mail.
func (l *Loop) fallAsleep() bool {
	l.stats.Waits++
	l.box.asleep.Store(1)
	if l.box.empty() {
		l.asleepAt = l.be.now()
		return true
	}
	l.box.asleep.Store(0)
	return false
}

// wakeUp is called after it.
func (l *Loop) wakeUp() { l.box.asleep.Store(0) }

// collectMail turns what was posted into events, a bounded number per Poll.
func (l *Loop) collectMail() {
	if l.box.empty() {
		return
	}
	for n := 0; n < mailboxSize/4; n++ {
		var m Mail
		if !l.box.take(&m) {
			return
		}
		l.stats.MailsIn++
		l.mails = append(l.mails, m)
		l.push(Event{Kind: MailIn, N: uint32(len(l.mails) - 1), FD: -1})
	}
}

// Mail is what was posted, for a MailIn event, until the next Poll.
func (l *Loop) Mail(ev *Event) Mail { return l.mails[ev.N] }

// closeMail closes what travelled with a mail that nobody will pull.
func closeMail(m *Mail) {
	if m.FD > 0 {
		unix.Close(int(m.FD))
	}
}
