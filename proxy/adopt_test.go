package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/buf"
	"zproxy/config"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proxy/origins"
	"zproxy/proxy/snapshot"
)

// adopt has all workers serve by another configuration, and waits until they do.
func (r *rig) adopt(text string) {
	r.t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	snap, err := r.registry.Compile(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range r.peers {
		if !AskAdopt(p.Loop, snap) {
			r.t.Fatal("a mailbox is full")
		}
	}
	r.reports()
}

const (
	goneListener = "listeners: [{address: \"127.0.0.1:8080\"%s}]\n" +
		"routes: [{path: /a, respond: {body: a}}, {path: /b, respond: {body: b}}, {path: \"/*\", respond: {body: late}}]\n"
	otherListener = "listeners: [{address: \"127.0.0.1:8090\"}]\nroutes: [{path: \"/*\", respond: {status: 204}}]\n"
)

// Who comes by a listener that is gone, because its loop has yet to stop accepting, or in a
// handshake that began before, is served by what it was served by last, once. After a while
// nothing is kept for him any more, and he is reset.
func TestLateToAListenerThatIsGone(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		for _, within := range []string{"", ", tls: {handshake_timeout: 500ms, certificates: [{cert: cert.pem, key: key.pem}]}"} {
			r := start(t, backend, 1, fmt.Sprintf(goneListener, within), nil)
			began, silent := r.dial(), r.dial()
			defer began.Close()
			defer silent.Close()
			for r.reports()[0].Metrics.Accepted < 2 {
				time.Sleep(time.Millisecond)
			}
			r.adopt(otherListener)
			if within != "" {
				r.late(tls.Client(began, &tls.Config{InsecureSkipVerify: true}))
				r.late(tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true}))
			} else {
				r.late(r.dial())
			}
			for end := time.Now().Add(patience); r.snap.InUse(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the snapshot before is kept for 10 s")
				}
			}
			if c, err := net.Dial("tcp", r.addr); err == nil { // else it was reset sooner
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("who comes later still gets %d bytes, %v", n, err)
				}
			}
			AskUnlisten(r.peers[0].Loop, r.snap.Listener(0))
			for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					break
				}
				c.Close()
				if time.Now().After(end) {
					t.Fatal("the listener that is gone accepts for 5 s")
				}
			}
			if n := r.reports()[0].Metrics.ClientConns; n != 0 {
				t.Errorf("%d clients are counted", int64(n))
			}
		}
	})
}

// Who is between requests when its listener goes may have sent one: it is answered as ever, and told
// that it was the last. Who sends none is closed when shutdown.idle_timeout is over.
func TestIdleClientsOfAListenerThatIsGone(t *testing.T) {
	besides(t, func(t *testing.T, backend loop.IO) {
		const idle = "shutdown: {idle_timeout: %s}\n"
		r := start(t, backend, 1, fmt.Sprintf(goneListener, ""), nil)
		kept := func() net.Conn {
			c := r.dial()
			if _, err := io.WriteString(c, simpleGet); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.Close || resp.StatusCode != 200 {
				t.Fatalf("%+v, %v", resp, err)
			}
			io.Copy(io.Discard, resp.Body)
			return c
		}
		asks, fresh, silent := kept(), r.dial(), kept()
		defer silent.Close()
		for r.reports()[0].Metrics.Accepted < 3 {
			time.Sleep(time.Millisecond)
		}
		r.adopt(otherListener + fmt.Sprintf(idle, "1h"))
		r.late(asks)
		r.late(fresh)
		r.adopt(otherListener + fmt.Sprintf(idle, "20ms"))
		silent.SetDeadline(time.Now().Add(10 * time.Second))
		if n, err := silent.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("who sends nothing: %d bytes, %v", n, err)
		}
		for end := time.Now().Add(patience); r.reports()[0].Metrics.ClientConns != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d clients are counted", int64(r.reports()[0].Metrics.ClientConns))
			}
		}
	})
}

// late asks, and expects to be served, and to be told that it was the last time.
func (r *rig) late(c net.Conn) {
	r.t.Helper()
	defer c.Close()
	if _, err := io.WriteString(c, simpleGetOf("127.0.0.1")); err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !resp.Close || string(body) != "late" {
		r.t.Errorf("who comes late: %d, %q, closes %v, %v", resp.StatusCode, body, resp.Close, err)
	}
}

func simpleGetOf(host string) string { return strings.Replace(simpleGet, ": h\r", ": "+host+"\r", 1) }

// A connection, or a permit, that a neighbour hands over for an upstream which is forgotten here is
// closed, and counted nowhere.
func TestGiftForAForgottenUpstream(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cfg, err := config.Parse("test.yaml", []byte(otherListener))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.NewRegistry(1, nil).Compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pool := buf.NewPool(buf.NewSliceMemory(1<<20, 1<<20), 4096)
	l, err := loop.New(loop.Config{CPU: -1, IO: loop.Epoll, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Destroy()
	w := NewWorker(Config{Loop: l, Pool: pool, Snapshot: snap, Metrics: new(metrics.Loop), MaxBlocks: 256}, []*Neighbour{{Loop: l}})
	w.begin()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	for _, fd := range []int{-1, pair[0]} {
		if !l.Post(loop.Mail{Kind: origins.MailHandoff, FD: int32(fd), A: 7 | 1<<16 | 3<<32}) {
			t.Fatal("the mailbox is full")
		}
	}
	for end := time.Now().Add(patience); ; {
		if err := w.turn(time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(pair[1], make([]byte, 1)); n == 0 && err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the connection is open after 5 s")
		}
	}
	if w.m.ClientConns != 0 || w.clients.Len() != 0 || w.leases.Len() != 0 {
		t.Errorf("%d clients are counted, %d and %d origins there", int64(w.m.ClientConns), w.clients.Len(), w.leases.Len())
	}
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Errorf("descriptor 0: %v", err)
	}
}
