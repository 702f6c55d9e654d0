package loop

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

var _ = contract(
	contractTest{"stress over tcp", func(r *rig) { stress(r, 64, 16<<10) }},
	contractTest{"stress over unix sockets", func(r *rig) { stress(r, 64, 0) }},
	contractTest{"stress with hardly any blocks", func(r *rig) { stress(r, 24, 16<<10) }},
	contractTest{"stress with tiny socket buffers", func(r *rig) { stress(r, 64, 4<<10) }},
	contractTest{"stress among signals", testSignals},
)

// stress pumps both ways through echoing connections, which are paused and
// resumed at random, at sizes and buffer sizes of all kinds, and compares
// every byte at the clients. socketBytes is the size of the sockets' buffers (the
// kernel has a least one), 0 for unix sockets.
func stress(r *rig, blocks, socketBytes int) {
	r = r.again(Config{}, blocks)
	const conns = 12
	rng := rand.New(rand.NewPCG(uint64(blocks), 3))
	var addr string
	if socketBytes > 0 {
		_, addr = r.listen(SockOpts{SndBuf: socketBytes, RcvBuf: socketBytes}, 0)
	}
	results := echoClients(r, conns, addr)
	open := map[ConnID]bool{} // value: paused
	const ended = 99          // owner of those that only have to send
	mayQueue := blocks * testBlock / (4 * conns)
	end := time.Now().Add(3 * testTimeout)
	for done := 0; done < conns || r.l.Conns() > 0; {
		select {
		case err := <-results:
			if err != nil {
				r.Fatal(err)
			}
			done++
		default:
		}
		ev := r.next(5 * time.Millisecond)
		if ev == nil && time.Now().Before(end) {
			continue
		}
		if ev == nil {
			r.Fatalf("it does not end; %d of %d clients are done; %+v", done, conns, r.l.Stats())
		}
		id := ev.Conn
		switch ev.Kind {
		case Accepted:
			r.l.Recv(id)
		case Received:
			open[id] = open[id]
			r.l.Send(id, ev.View)
			if r.l.Queued(id) > mayQueue || rng.IntN(10) == 0 {
				r.l.Pause(id)
				open[id] = true
				r.l.Deadline(id, r.l.Now()+rng.Int64N(2e6))
			}
		case Timer, Sent:
			if ev.Errno != 0 {
				r.Fatalf("send: %v", ev.Errno)
			}
			if open[id] && r.l.Queued(id) <= mayQueue {
				r.l.Recv(id)
				open[id] = false
			}
		case RecvEnd:
			if ev.Errno != 0 {
				r.Fatalf("receive: %v", ev.Errno)
			}
			r.l.Shutdown(id)
			r.l.Deadline(id, r.l.Now()+1e6)
			open[id] = false
			r.l.SetOwner(id, ended)
		case Closed:
			delete(open, id)
		}
		if ev.Owner == ended && ev.Kind != Closed {
			if r.l.Queued(id) == 0 {
				r.l.Close(id)
			} else {
				r.l.Deadline(id, r.l.Now()+1e6)
			}
		}
	}
}

// echoClients starts n of them: at addr, or on unix sockets if there is none.
func echoClients(r *rig, n int, addr string) <-chan error {
	results := make(chan error, n)
	for i := range n {
		var c net.Conn
		if addr == "" {
			var id ConnID
			id, c = r.unixPair()
			r.l.Recv(id)
		} else {
			c = r.client(addr)
		}
		go func() { results <- echoClient(c, i) }()
	}
	return results
}

// echoClient writes in pieces of random size, reads the same back at its own
// pace, and half-closes at the end.
func echoClient(c net.Conn, seed int) error {
	want := pattern(seed, 300_000+seed*50_001)
	go func() {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		for s := want; len(s) > 0; {
			n := min(len(s), 1+rng.IntN(1<<(1+rng.IntN(17))))
			if _, err := io.WriteString(c, s[:n]); err != nil {
				return
			}
			s = s[n:]
			if rng.IntN(20) == 0 {
				time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
			}
			runtime.Gosched()
		}
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	rng := rand.New(rand.NewPCG(uint64(seed), 2))
	b := make([]byte, 1<<16)
	at := 0
	for {
		n, err := c.Read(b[:1+rng.IntN(len(b))])
		if at+n > len(want) || string(b[:n]) != want[at:at+n] {
			return fmt.Errorf("client %d: the bytes from %d to %d differ", seed, at, at+n)
		}
		at += n
		if err == io.EOF {
			if at != len(want) {
				return fmt.Errorf("client %d: %d bytes came back of %d", seed, at, len(want))
			}
			return nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("client %d at %d", seed, at), err)
		}
		if rng.IntN(20) == 0 {
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
		}
	}
}

// testSignals interrupts the loop's thread all the time: system calls end with
// EINTR, nothing is lost by it.
func testSignals(r *rig) {
	var stop atomic.Bool
	var sender sync.WaitGroup
	pid, tid := unix.Getpid(), unix.Gettid()
	sent := 0
	sender.Go(func() {
		for ; !stop.Load(); sent++ {
			unix.Tgkill(pid, tid, unix.SIGURG) // the Go runtime takes it for one of its own
			time.Sleep(50 * time.Microsecond)
		}
	})
	stress(r, 64, 16<<10)
	stress(r, 64, 0)
	stop.Store(true)
	sender.Wait()
	if sent < 100 {
		r.Errorf("only %d signals", sent)
	}
}
