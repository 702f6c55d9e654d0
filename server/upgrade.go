package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/proxy"
)

// upgrades is what became of them in this process, and in those that it comes from.
type upgrades struct {
	s       *Server
	under   sync.Mutex    // held while one is under way
	pages   chan struct{} // closed when the admin pages of a process that has handed over are sent
	mu      sync.Mutex
	done    uint64 // until this process served
	failed  uint64
	failing string // why the last one failed, "": it did not
}

func (u *upgrades) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed++
	u.failing = err.Error()
}

func (u *upgrades) succeed(done uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = done
}

// upgradeStatus is the shape of "upgrades" in /status.
type upgradeStatus struct {
	Done   uint64 `json:"done"`
	Failed uint64 `json:"failed"`
	Error  string `json:"error,omitempty"`
}

func (u *upgrades) status() upgradeStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	return upgradeStatus{u.done, u.failed, u.failing}
}

func (u *upgrades) gauges() []metrics.Gauge {
	st := u.status()
	return metrics.Upgrades{Done: st.Done, Failed: st.Failed, Failing: st.Error != ""}.Gauges()
}

// program is the file that an upgrade starts: what this process was called by, since that is what
// is exchanged, also where it is a link.
var program = func() string {
	if path, err := exec.LookPath(os.Args[0]); err == nil {
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	path, _ := os.Executable()
	return path
}()

var (
	errUpgrading = errors.New("another upgrade is under way")
	errReplaced  = errors.New("another process serves already")
)

// successor is a new process that this one has started.
type successor struct {
	process *os.Process
	conn    net.Conn
	decoder *json.Decoder
	ended   chan struct{} // closed when it has, and how is set
	how     *os.ProcessState
	backup  *backup
	told    bool // it has said why it does not serve
}

// backup is what this process needs to serve again: descriptors of its own for all it listens on.
type backup struct {
	listeners []passedListener
	fds       [][]int
	admin     int               // below 0: there is none
	files     []loop.SocketFile // what this process removes when it ends
}

func (b *backup) close() {
	closeAll(b.fds)
	b.fds = nil
	if b.admin >= 0 {
		unix.Close(b.admin)
		b.admin = -1
	}
}

// Upgrade starts the program anew, which may be another one by now, and has it take over. When it
// returns without error the new process serves, and this one finishes what is under way. The
// error says why this one serves on; the log has either. Any goroutine.
func (s *Server) Upgrade() error {
	if !s.upgrades.under.TryLock() {
		return errUpgrading
	}
	defer s.upgrades.under.Unlock()
	s.about("upgrade").Info("starting another process", "program", program)
	if err := s.upgrades.upgrade(); err != nil {
		s.upgrades.fail(err)
		s.about("upgrade").Error("the new process does not serve, this one goes on", "error", err.Error())
		return err
	}
	return nil
}

func (u *upgrades) upgrade() error {
	s := u.s
	s.changing.Lock()
	defer s.changing.Unlock()
	switch s.state.Load() {
	case stateReady:
	case stateStandby:
		return errReplaced
	default:
		return errEnding
	}
	b, err := u.backUp()
	if err != nil {
		return err
	}
	next, err := u.launch(b)
	if err == nil {
		if err = next.await(s); err != nil {
			next.end()
			u.steerAgain(b) // it may have been changed for the new process
		} else if !s.state.CompareAndSwap(stateReady, stateStandby) {
			_ = next.process.Signal(unix.SIGTERM) // as this one was told
			next.conn.Close()
			err = errEnding
		}
	}
	if err != nil {
		b.close()
		return err
	}
	u.handOver(next)
	return nil
}

// backUp duplicates the descriptors of all that is listened on.
func (u *upgrades) backUp() (b *backup, err error) {
	s := u.s
	b = &backup{admin: -1}
	for i := range s.cfg().Listeners {
		address := s.cfg().Listeners[i].Address
		var own []int
		for _, fd := range s.listening[address] {
			dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				b.fds = append(b.fds, own)
				b.close()
				return nil, fmt.Errorf("duplicating the descriptors of %s: %w", address, err)
			}
			own = append(own, dup)
		}
		b.listeners = append(b.listeners, passedListener{address, len(own)})
		b.fds = append(b.fds, own)
	}
	if s.admin != nil {
		if b.admin, err = s.admin.Dup(); err != nil {
			b.close()
			return nil, fmt.Errorf("duplicating the descriptor of the admin address: %w", err)
		}
	}
	return b, nil
}

// launch starts the new process and tells it what it gets.
func (u *upgrades) launch(b *backup) (*successor, error) {
	s := u.s
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	defer unix.Close(pair[1])
	f := os.NewFile(uintptr(pair[0]), "upgrade")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	q := bequest{PID: os.Getpid(), Upgrades: u.status().Done + 1, Listeners: b.listeners, Tickets: s.ticketKeys(), Weights: weightsSet(s.snap()), Hand: s.hand.pass(s.cfg()), Domain: s.domain}
	files := []uintptr{0, 1, 2, uintptr(pair[1])}
	for _, set := range b.fds {
		for _, fd := range set {
			files = append(files, uintptr(fd))
		}
	}
	if b.admin >= 0 {
		q.Admin = s.cfg().Admin.Address
		files = append(files, uintptr(b.admin))
	}
	pid, _, err := syscall.StartProcess(program, os.Args, &syscall.ProcAttr{Env: environment(), Files: files})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	next := &successor{conn: conn, decoder: json.NewDecoder(conn), ended: make(chan struct{}), backup: b}
	next.process, err = os.FindProcess(pid)
	if err != nil {
		return nil, err // which FindProcess never does
	}
	go func() {
		next.how, _ = next.process.Wait()
		close(next.ended)
	}()
	_ = json.NewEncoder(conn).Encode(q) // when it has ended, await sees that
	return next, nil
}

// await returns when the new process serves, or will not.
func (n *successor) await(s *Server) error {
	limit := s.cfg().Shutdown.UpgradeTimeout
	_ = n.conn.SetReadDeadline(time.Now().Add(limit))
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		select {
		case <-s.stopping:
			_ = n.conn.SetReadDeadline(time.Now())
		case <-answered:
		}
	}()
	var m message
	err := n.decoder.Decode(&m)
	switch {
	case err == nil && m.Serves:
		_ = n.conn.SetReadDeadline(time.Time{})
		return nil
	case err == nil:
		n.told = true
		return errors.New(m.Error)
	case s.state.Load() != stateReady:
		return errEnding
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it did not serve within %v", limit)
	case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
		<-n.ended // it has closed its end, by whatever it ended
		return fmt.Errorf("it ended before it served: %v; what it printed says more", n.how)
	}
	return err
}

// endTime is how long a process that has said why it does not serve may take to end.
const endTime = 2 * time.Second

// end ends a process that does not serve.
func (n *successor) end() {
	if n.told {
		select {
		case <-n.ended:
		case <-time.After(endTime):
		}
	}
	_ = n.process.Kill()
	<-n.ended
	n.conn.Close()
}

// handOver leaves new clients to the new process.
func (u *upgrades) handOver(next *successor) {
	s := u.s
	s.about("upgrade").Info("the new process serves, this one finishes what is under way", "new_pid", next.process.Pid)
	s.notifier.replaced(next.process.Pid)
	s.opt.Inherited.release()
	s.acme().Stop()
	s.post(func(loop int) bool { return proxy.AskStandBy(s.peers[loop].Loop) })
	u.releaseAdmin()
	next.backup.files, s.sockets = s.sockets, nil
	clear(s.listening)
	go u.standBy(next)
}
