package buf

import (
	"golang.org/x/sys/unix"

	"zproxy/internal/assert"
)

// Chain is a FIFO of views: bytes on their way to a socket, or received and
// not read yet. The zero Chain is empty. It holds a reference per view and
// must be emptied (Pop, Consume, Drop) before it is forgotten. It has no
// pointers; a copy of a Chain is the same chain, so only one may be used. It
// has less than 4 GiB: whoever fills one stops its sender long before.
type Chain struct {
	bytes      uint32
	head, tail uint32 // nodes, 0: none
	views      uint32
}

// node is one link of a chain.
type node struct {
	view View
	next uint32 // towards the tail, 0: the last
}

// Empty says that the chain holds nothing.
func (c *Chain) Empty() bool { return c.head == 0 }

// Len is the number of views, which is also the number of iovecs.
func (c *Chain) Len() int { return int(c.views) }

// Bytes is the number of bytes in all views.
func (c *Chain) Bytes() int { return int(c.bytes) }

// Push appends v and takes its reference. A view that begins where the last
// one ends, in the same block, makes that one longer instead: bytes received
// in two parts are contiguous again, and one iovec. An empty view is released
// at once.
func (p *Pool) Push(c *Chain, v View) {
	if v.Len == 0 {
		p.Release(v)
		return
	}
	c.add(v.Len)
	if c.tail != 0 {
		t := p.nodes.At(c.tail)
		if t.view.ID == v.ID && t.view.Off+t.view.Len == v.Off {
			t.view.Len += v.Len
			p.Release(v) // the node's own reference covers the block
			return
		}
		i, n := p.nodes.Alloc()
		n.view = v
		t.next = i
		c.tail = i
		c.views++
		return
	}
	i, n := p.nodes.Alloc()
	n.view = v
	c.head, c.tail = i, i
	c.views++
}

// PushFront puts v before everything else and takes its reference.
func (p *Pool) PushFront(c *Chain, v View) {
	if v.Len == 0 {
		p.Release(v)
		return
	}
	i, n := p.nodes.Alloc()
	n.view = v
	n.next = c.head
	c.head = i
	if c.tail == 0 {
		c.tail = i
	}
	c.views++
	c.add(v.Len)
}

func (c *Chain) add(n uint32) {
	if assert.Enabled && c.bytes+n < n {
		panic("buf: chain of more than 4 GiB")
	}
	c.bytes += n
}

// Pop removes the first view and gives its reference to the caller; no view
// when the chain is empty.
func (p *Pool) Pop(c *Chain) View {
	i := c.head
	if i == 0 {
		return View{}
	}
	n := p.nodes.At(i)
	v := n.view
	c.head = n.next
	if c.head == 0 {
		c.tail = 0
	}
	c.views--
	c.bytes -= v.Len
	p.nodes.Free(i)
	return v
}

// Front lends the first view; no view when the chain is empty.
func (p *Pool) Front(c *Chain) View {
	if c.head == 0 {
		return View{}
	}
	return p.nodes.At(c.head).view
}

// Consume drops n bytes from the front and releases the views that are
// finished. It panics when the chain has fewer.
func (p *Pool) Consume(c *Chain, n int) {
	if n < 0 || uint64(n) > uint64(c.bytes) {
		panic("buf: consume of more bytes than the chain has")
	}
	for n > 0 {
		f := p.nodes.At(c.head)
		if uint64(n) < uint64(f.view.Len) {
			f.view.Off += uint32(n)
			f.view.Len -= uint32(n)
			c.bytes -= uint32(n)
			return
		}
		n -= int(f.view.Len)
		p.Release(p.Pop(c))
	}
}

// Drop releases everything; the chain is empty afterwards.
func (p *Pool) Drop(c *Chain) {
	for c.head != 0 {
		p.Release(p.Pop(c))
	}
}

// Move appends all of src to dst, in constant time; src is empty afterwards.
func (p *Pool) Move(dst, src *Chain) {
	if src.head == 0 {
		return
	}
	if dst.head == 0 {
		dst.head = src.head
	} else {
		p.nodes.At(dst.tail).next = src.head
	}
	dst.tail = src.tail
	dst.views += src.views
	dst.add(src.bytes)
	*src = Chain{}
}

// Iovecs describes the chain from the front, as far as dst reaches, for
// writev and sendmsg, and says how many entries it filled. The addresses are
// lent like those of Bytes.
func (p *Pool) Iovecs(c *Chain, dst []unix.Iovec) int {
	i := c.head
	for k := range dst {
		if i == 0 {
			return k
		}
		n := p.nodes.At(i)
		b := p.Bytes(n.view)
		dst[k].Base = &b[0]
		dst[k].SetLen(len(b))
		i = n.next
	}
	return len(dst)
}

// CopyIn writes b over the chain's first bytes, which nobody else may hold; the
// chain has as many.
func (p *Pool) CopyIn(c *Chain, b []byte) {
	for i := c.head; len(b) > 0; {
		n := p.nodes.At(i)
		b = b[copy(p.Bytes(n.view), b):]
		i = n.next
	}
}

// CopyOut joins the chain's first bytes in dst, as many as fit, and says how
// many. Nothing is consumed. Reading from more than one view is counted as a
// join: a proxy that often has to is given too small blocks.
func (p *Pool) CopyOut(c *Chain, dst []byte) int {
	done, first := 0, 0
	for i := c.head; i != 0 && done < len(dst); {
		n := p.nodes.At(i)
		done += copy(dst[done:], p.Bytes(n.view))
		if i == c.head {
			first = done
		}
		i = n.next
	}
	if done > first {
		p.stats.Joins++
	}
	return done
}
