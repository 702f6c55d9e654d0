package loop

import "net"

var _ = contract(
	contractTest{"stop accepting with connections waiting", testStopAcceptWaiting},
)

// testStopAcceptWaiting: who was connected before the listener closes is
// accepted, not reset.
func testStopAcceptWaiting(r *rig) {
	fd, addr := r.listen(SockOpts{}, 4)
	if err := r.l.Poll(0); err != nil {
		r.Fatal(err)
	}
	const waiting = 5
	clients := map[string]net.Conn{}
	for range waiting {
		c := r.client(addr)
		clients[c.LocalAddr().String()] = c
	}
	r.l.StopAccept(fd)
	var ids []ConnID
	for range waiting {
		ids = append(ids, r.expect(Accepted, 0).Conn)
	}
	for _, id := range ids {
		c := clients[r.l.Peer(id).String()]
		if c == nil {
			r.Fatalf("accepted %v", r.l.Peer(id))
		}
		r.l.Recv(id)
		r.write(c, "hello")
		r.equal("bytes", r.recvAll(id, 5), "hello")
	}
}
