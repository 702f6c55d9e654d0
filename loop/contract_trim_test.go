package loop

import (
	"io"

	"zproxy/buf"
)

var _ = contract(
	contractTest{"memory is given back", testTrim},
)

// testTrim: after a burst the pool shrinks to its first step again, and
// receiving goes on as before.
func testTrim(r *rig) {
	id, c := r.tcpPair(SockOpts{})
	r.l.Recv(id)
	for round := range 3 {
		want := pattern(round, 150*testBlock)
		go io.WriteString(c, want)
		var held []buf.View
		got := ""
		for len(got) < len(want) {
			ev := r.expect(Received, id)
			got += string(r.pool.Bytes(ev.View))
			held = append(held, ev.View)
		}
		r.same(got, want)
		for i := range held { // the lowest are used next, the highest wait in a backend
			r.pool.Release(held[len(held)-1-i])
		}
		r.l.Trim()
		if n := r.pool.Stats().Blocks; n > 16 {
			r.Errorf("%d blocks committed at rest", n)
		}
	}
	r.write(c, "and again")
	r.equal("bytes", r.recvAll(id, 9), "and again")
}
