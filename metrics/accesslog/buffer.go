package accesslog

import "sync/atomic"

// blocksPerBuffer is how many blocks a loop has between itself and the writer:
// one being filled, the others queued or being written. When all are under way
// the writer is behind and records are dropped.
const blocksPerBuffer = 4

// block is a piece of log on its way: whole lines only.
type block struct {
	lines   []byte
	records int
	home    chan *block // where the writer returns it to
}

// Buffer collects the lines of one loop. Its methods must be called by that
// loop's thread, except Dropped. Steady state allocates nothing.
type Buffer struct {
	log     *Logger
	cur     *block      // never nil; below the hand-over watermark between calls
	free    chan *block // empty blocks that came back
	made    int         // blocks allocated so far
	clocks  clocks
	sinceNs int64 // when Flush first saw the lines in cur; 0: not yet, or none
	counter *uint64

	droppedRecords, droppedBytes atomic.Uint64
}

// NewBuffer makes the buffer of one loop. dropped, if not nil, is a counter of
// that loop which follows the records lost.
func (l *Logger) NewBuffer(dropped *uint64) *Buffer {
	b := &Buffer{log: l, free: make(chan *block, blocksPerBuffer), counter: dropped}
	b.cur = b.newBlock()
	l.register(b)
	return b
}

func (b *Buffer) newBlock() *block {
	b.made++
	// Above the watermark there is room for one line, whatever it holds.
	return &block{lines: make([]byte, 0, b.log.watermark+maxLine), home: b.free}
}

// Add writes one line. It never blocks; when the buffer is full and the writer
// has none to give back, what the buffer holds is dropped and counted.
func (b *Buffer) Add(r *Record) {
	switch b.log.format {
	case Combined:
		b.cur.lines = appendCombined(b.cur.lines, &b.clocks.clf, r)
	case Custom:
		b.cur.lines = appendCustom(b.cur.lines, &b.clocks, b.log.layout, r)
	default:
		b.cur.lines = appendJSON(b.cur.lines, &b.clocks.json, r)
	}
	b.cur.records++
	if len(b.cur.lines) >= b.log.watermark && !b.handOver() {
		b.drop()
	}
}

// Flush hands over lines that have waited for the flush interval. Call it once
// per turn of the loop with the loop's clock in ns; it costs two compares when
// there is nothing to do. When the writer is behind the lines stay, nothing is
// dropped.
func (b *Buffer) Flush(nowNs int64) {
	if len(b.cur.lines) == 0 {
		return
	}
	if b.sinceNs == 0 {
		b.sinceNs = nowNs
		return
	}
	if nowNs-b.sinceNs >= b.log.flushNs {
		if !b.handOver() {
			b.sinceNs = nowNs // the writer is behind: try again in an interval
		}
	}
}

// Deadline is when Flush has something to do, on the clock Flush is given; 0
// when the buffer is empty. A loop about to block should not sleep beyond it.
func (b *Buffer) Deadline() int64 {
	if b.sinceNs == 0 || len(b.cur.lines) == 0 {
		return 0
	}
	return b.sinceNs + b.log.flushNs
}

// Dropped is how many records and bytes were lost. Any thread may call it.
func (b *Buffer) Dropped() (records, bytes uint64) {
	return b.droppedRecords.Load(), b.droppedBytes.Load()
}

// handOver gives the current block to the writer and takes an empty one. It
// does nothing and returns false if there is none, or no room in the queue.
func (b *Buffer) handOver() bool {
	var next *block
	select {
	case next = <-b.free:
	default:
		if b.made == blocksPerBuffer {
			return false
		}
		next = b.newBlock()
	}
	select {
	case b.log.full <- b.cur:
	default: // another loop's blocks fill the queue
		b.free <- next // never blocks: the channel has room for every block there is
		return false
	}
	b.cur, b.sinceNs = next, 0
	return true
}

func (b *Buffer) drop() {
	b.droppedRecords.Add(uint64(b.cur.records))
	b.droppedBytes.Add(uint64(len(b.cur.lines)))
	if b.counter != nil {
		*b.counter += uint64(b.cur.records)
	}
	b.cur.lines, b.cur.records, b.sinceNs = b.cur.lines[:0], 0, 0
}
