package proxy

import (
	"bytes"

	"zproxy/buf"
)

// joined copies at most limit bytes of ch into the worker's join buffer.
// Borrowed until the next call.
func (w *Worker) joined(ch *buf.Chain, limit int) []byte {
	n := min(ch.Bytes(), limit)
	if cap(w.join) < n {
		w.join = make([]byte, n, limit)
	}
	w.join = w.join[:n]
	return w.join[:w.pool.CopyOut(ch, w.join)]
}

// mayEnd says whether a head or a trailer section that was not complete in ch
// is worth another look with v: when a line ends in v, or it gets too long. To
// join what trickles in for every piece would cost the square of its length;
// the number of lines is bounded by limits.headers.
func (w *Worker) mayEnd(ch *buf.Chain, v buf.View) bool {
	return ch.Bytes()+int(v.Len) > w.limits.HeadBytes || bytes.IndexByte(w.pool.Bytes(v), '\n') >= 0
}
