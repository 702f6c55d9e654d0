package loop

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
)

// BenchmarkForward joins pairs of connections blindly, client to echo server
// and back. One op is a round trip: two messages received and two sent. What
// counts is cpu-ns/op, the processor time of the loop's thread alone; its
// clients and the server share the machine.
func BenchmarkForward(b *testing.B) {
	for _, x := range []struct{ conns, size int }{
		{1, 128}, {8, 128}, {64, 128}, {256, 128}, {1, 256 << 10}, {16, 64 << 10},
	} {
		for _, io := range usableBackends() {
			b.Run(fmt.Sprintf("%dx%d/%v", x.conns, x.size, io), func(b *testing.B) {
				benchForward(b, io, x.conns, x.size)
			})
		}
	}
}

func benchForward(b *testing.B, io IO, conns, size int) {
	server := echoServer(b)
	f := &forwarder{remote: server, ready: make(chan string), result: make(chan error, 1)}
	go f.run(io)
	addr := <-f.ready
	if addr == "" {
		b.Fatal(<-f.result)
	}
	clients := make([]net.Conn, conns)
	for i := range clients {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		clients[i] = c
	}
	roundTrips(b, clients, size, 20*conns) // both connections of each exist, memory is warm
	f.l.Post(Mail{Kind: mailBegin})
	b.SetBytes(int64(2 * size))
	b.ResetTimer()
	roundTrips(b, clients, size, b.N)
	b.StopTimer()
	f.l.Post(Mail{Kind: mailEnd})
	if err := <-f.result; err != nil {
		b.Fatal(err)
	}
	n := float64(b.N)
	b.ReportMetric(float64(f.cpu.Nanoseconds())/n, "cpu-ns/op")
	b.ReportMetric(float64(f.stats.Polls)/n, "polls/op")
	b.ReportMetric(float64(f.stats.RecvCalls)/n, "recvs/op")
	b.ReportMetric(float64(f.stats.Enobufs)/n, "enobufs/op")
}

// roundTrips shares n of them among the clients.
func roundTrips(b *testing.B, clients []net.Conn, size, n int) {
	var wg sync.WaitGroup
	for i, c := range clients {
		share := n / len(clients)
		if i < n%len(clients) {
			share++
		}
		wg.Go(func() {
			out, in := make([]byte, size), make([]byte, size)
			for range share {
				if _, err := c.Write(out); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, in); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func echoServer(b *testing.B) string {
	ls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ls.Close() })
	go func() {
		for {
			c, err := ls.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				p := make([]byte, 256<<10)
				for {
					n, err := c.Read(p)
					if err != nil {
						return
					}
					if _, err := c.Write(p[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ls.Addr().String()
}

const (
	mailBegin = iota + 1
	mailEnd
)

// forwarder is a loop on a thread of its own.
type forwarder struct {
	l      *Loop
	remote string
	ready  chan string // the address, "" after an error
	result chan error
	peers  map[ConnID]ConnID

	began time.Duration
	base  Stats
	cpu   time.Duration
	stats Stats // between begin and end
}

func (f *forwarder) run(io IO) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pool := buf.NewPool(buf.NewSliceMemory(64<<20, 2<<20), 16<<10)
	l, err := New(Config{IO: io, Pool: pool, CPU: -1, Entries: 1024})
	if err != nil {
		f.ready <- ""
		f.result <- err
		return
	}
	f.l = l
	f.peers = map[ConnID]ConnID{}
	err = f.serve()
	if e := l.Destroy(); err == nil {
		err = e
	}
	f.result <- err
}

func (f *forwarder) serve() error {
	remote, err := NewRemote(f.remote, SockOpts{NoDelay: true})
	if err != nil {
		f.ready <- ""
		return err
	}
	fds, err := OpenListeners("127.0.0.1:0", 1, nil, SockOpts{NoDelay: true})
	if err != nil {
		f.ready <- ""
		return err
	}
	f.l.Accept(fds[0], 0)
	addr, err := LocalAddr(fds[0])
	if err != nil {
		f.ready <- ""
		return err
	}
	f.ready <- addr.String()
	for {
		if err := f.l.Poll(-1); err != nil {
			return err
		}
		for ev := f.l.Next(); ev != nil; ev = f.l.Next() {
			if ev.Kind == MailIn && f.l.Mail(ev).Kind == mailEnd {
				f.end()
				return nil
			}
			f.step(ev, remote)
		}
	}
}

func (f *forwarder) step(ev *Event, remote *Remote) {
	switch ev.Kind {
	case MailIn:
		f.began, f.base = threadTime(), f.l.Stats()
	case Accepted:
		client := ev.Conn
		origin := f.l.Dial(remote, 0)
		f.peers[client], f.peers[origin] = origin, client
		f.l.Recv(client)
		f.l.Recv(origin)
	case Received:
		f.l.Send(f.peers[ev.Conn], ev.View)
	case RecvEnd:
		f.l.Close(f.peers[ev.Conn])
		f.l.Close(ev.Conn)
	case Closed:
		delete(f.peers, ev.Conn)
	}
}

func (f *forwarder) end() {
	f.cpu = threadTime() - f.began
	now := f.l.Stats()
	f.stats = Stats{
		Polls: now.Polls - f.base.Polls, RecvCalls: now.RecvCalls - f.base.RecvCalls,
		Enobufs: now.Enobufs - f.base.Enobufs,
	}
}

// threadTime is the processor time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
