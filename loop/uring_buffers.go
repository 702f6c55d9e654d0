//go:build giouring

package loop

import "zproxy/buf"

// The buffers that wait for data are blocks of the pool. They are used first
// in, first out, so that a deep ring walks through more memory than a shallow
// one: it is kept as shallow as the traffic of one tick allows, which leaves
// the blocks in the cache, and blocks that are never reached are never
// touched.
const (
	recvDepthMin  = 16
	recvDepthMax  = 1024
	recvBufGroup  = 0
	recvCalmTicks = 4096 // ticks between two looks at whether less would do
)

// recvBuffers is the provided-buffer ring of a loop and what is in it.
type recvBuffers struct {
	pool  *buf.Pool
	spare int // blocks that stay in the pool
	ring  *pbufRing
	views [recvDepthMax]buf.View // by buffer number; ID 0: not in the ring

	limit   int  // buffers there may be
	depth   int  // buffers there should be
	filled  int  // buffers there are
	lowMark int  // the fewest there were at a fill, since the last look
	ticks   int  // fills since then
	emptied bool // and not filled again: that there are none does not mean that they were needed
}

func newRecvBuffers(g *ring, pool *buf.Pool, reserve int) (*recvBuffers, error) {
	r, err := g.newPbufRing(recvDepthMax, recvBufGroup)
	if err != nil {
		return nil, err
	}
	// A quarter of the pool at most: those who send need blocks too.
	limit := max(1, min(pool.Limit()/4, recvDepthMax))
	depth := min(recvDepthMin, limit)
	return &recvBuffers{pool: pool, spare: reserve, ring: r, limit: limit, depth: depth, lowMark: depth}, nil
}

// fill brings the ring up to its depth, as far as the pool has blocks. False:
// there is no buffer at all.
func (b *recvBuffers) fill() bool {
	if !b.emptied {
		b.lowMark = min(b.lowMark, b.filled)
	}
	b.emptied = false
	if b.ticks++; b.ticks >= recvCalmTicks {
		b.calm(1)
	}
	if b.filled >= b.depth {
		return true
	}
	for b.filled < b.depth && b.views[b.ring.next()].ID == 0 && b.pool.Spare() > b.spare {
		v, ok := b.pool.Get()
		if !ok {
			break
		}
		b.views[b.ring.next()] = v
		b.ring.put(b.pool.Bytes(v))
		b.filled++
	}
	b.ring.publish()
	return b.filled > 0
}

// dry says that there is no buffer, and that fill could not change that now.
func (b *recvBuffers) dry() bool { return b.filled == 0 && b.pool.Spare() <= b.spare }

// take gives the block of buffer id, with the n bytes that were received.
func (b *recvBuffers) take(id uint16, n uint32) buf.View {
	v := b.views[id]
	b.views[id] = buf.View{}
	b.filled--
	v.Len = n
	return v
}

// deepen makes the ring deeper after n receives met it empty.
func (b *recvBuffers) deepen(n int) {
	b.depth = min(max(2*b.depth, b.depth+n), b.limit)
	b.lowMark = b.depth
	b.ticks = 0
}

// calm halves the depth, or divides it by 1<<shift, when three quarters of it
// were never used.
func (b *recvBuffers) calm(shift uint) {
	if used := b.depth - b.lowMark; used < b.depth/4 {
		b.depth = min(b.depth, max(b.depth>>shift, 2*used, recvDepthMin))
	}
	b.lowMark = b.depth
	b.ticks = 0
}

// empty gives the blocks back to the pool, so that fill takes those that come
// first there.
func (b *recvBuffers) empty() error {
	err := b.ring.reset()
	b.release()
	b.emptied = true
	b.calm(3) // nobody waits for long to have memory back
	return err
}

// free gives the blocks back to the pool and the ring to the kernel.
func (b *recvBuffers) free() {
	b.ring.free()
	b.release()
}

func (b *recvBuffers) release() {
	for i, v := range b.views {
		b.pool.Release(v)
		b.views[i] = buf.View{}
	}
	b.filled = 0
}

func (u *uring) posted() int { return u.bufs.filled }
