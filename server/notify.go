package server

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/proxy"
)

// notifier tells a service manager what the process does (sd_notify(3)): systemd, where the unit
// says Type=notify or notify-reload.
type notifier struct {
	socket   string        // "": nobody is told
	watchdog time.Duration // within which the process has to say that it lives, 0: it need not
}

// newNotifier reads what the manager has put into the environment.
func newNotifier() (n notifier) {
	n.socket = os.Getenv("NOTIFY_SOCKET")
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		us, _ := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
		n.watchdog = time.Duration(max(us, 0)) * time.Microsecond
	}
	return n
}

// tell sends assignments. A manager that does not listen is none of the proxy's concern.
func (n *notifier) tell(assignments ...string) {
	if n.socket == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // its queue may be full
	_, _ = c.Write([]byte(strings.Join(assignments, "\n")))
}

// serving: the process serves, and is the one to send signals to.
func (n *notifier) serving(status string) {
	n.tell("READY=1", "MAINPID="+strconv.Itoa(os.Getpid()), "STATUS="+oneLine(status))
}

// reloading begins what serving ends.
func (n *notifier) reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	n.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000), "STATUS=reloading the configuration")
}

func (n *notifier) replaced(by int) { n.tell("MAINPID=" + strconv.Itoa(by)) }

func (n *notifier) stopping() { n.tell("STOPPING=1", "STATUS=finishing what is under way") }

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// statusLine says what a process serves.
func statusLine(s *Server) string {
	c := s.cfg()
	return fmt.Sprintf("serving: %d loops, %d listeners, %d routes, %s", len(s.places), len(c.Listeners), len(c.Routes), c.File)
}

// keepAlive says that the process lives while all its loops answer, until it has been replaced or
// has ended.
func (w *watcher) keepAlive(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			if w.s.state.Load() == stateStandby {
				continue // its successor says so
			}
			if _, err := w.s.collect(every, proxy.AskTroubles); err == nil {
				w.s.notifier.tell("WATCHDOG=1")
			}
		}
	}
}
