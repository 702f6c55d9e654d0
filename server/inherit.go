package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/admin"
	"zproxy/loop"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// An upgrade, as its two processes talk about it: over a socket that the older one makes, in
// JSON. The older one says what it passes on (bequest), whose descriptors follow that of the
// socket. The newer one says once whether it serves, and may take its predecessor's duty to
// stand by from it later. The end of the socket is the end of the other process.

// inheritedFD is the first descriptor that is passed on; it is that of the socket.
const inheritedFD = 3

// bequestTimeout is how long the older process may take to say what it passes on.
const bequestTimeout = 10 * time.Second

// inheritVariable is what tells a new process that it is one, and its protocol.
const (
	inheritVariable = "ZPROXY_INHERITS"
	inheritProtocol = "1"
)

// bequest is what one process passes on to the next.
type bequest struct {
	PID       int               `json:"pid"`
	Upgrades  uint64            `json:"upgrades"` // with this one
	Listeners []passedListener  `json:"listeners"`
	Admin     string            `json:"admin,omitempty"` // its address; its descriptor is the last one
	Tickets   map[string][]byte `json:"tickets,omitempty"`
	Domain    *domain           `json:"domain,omitempty"` // of Landlock, which both are in

	Weights map[string][]upstream.WeightSet `json:"weights,omitempty"` // that were set, by upstream
	Hand    *passedHand                     `json:"hand,omitempty"`    // what else was changed by hand
}

// passedListener is one that has so many descriptors, in the order of its group.
type passedListener struct {
	Address string `json:"address"`
	Sockets int    `json:"sockets"`
}

// message is what the new process says.
type message struct {
	Serves  bool   `json:"serves,omitempty"`
	Error   string `json:"error,omitempty"`
	Release bool   `json:"release,omitempty"` // nobody is to stand by any more
}

// Inheritance is what this process has from the one that started it.
type Inheritance struct {
	bequest
	conn    net.Conn
	sockets map[string][]int // by address
	admin   *os.File
}

// Inherit is what an older process passes on to this one; nil: there is none.
func Inherit() (*Inheritance, error) {
	protocol, ok := os.LookupEnv(inheritVariable)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(inheritVariable)
	if protocol != inheritProtocol {
		return nil, fmt.Errorf("%s is %q: the process that upgrades to this one is of another kind; restart instead", inheritVariable, protocol)
	}
	unix.CloseOnExec(inheritedFD)
	f := os.NewFile(inheritedFD, "upgrade")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%s is set, and descriptor %d is no socket: %w", inheritVariable, inheritedFD, err)
	}
	in := &Inheritance{conn: conn, sockets: map[string][]int{}}
	_ = conn.SetReadDeadline(time.Now().Add(bequestTimeout))
	if err := json.NewDecoder(conn).Decode(&in.bequest); err != nil {
		return nil, fmt.Errorf("the process that upgrades to this one says nothing: %w", err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	fd := inheritedFD + 1
	for _, l := range in.Listeners {
		for range l.Sockets {
			unix.CloseOnExec(fd)
			in.sockets[l.Address] = append(in.sockets[l.Address], fd)
			fd++
		}
	}
	if in.bequest.Admin != "" {
		unix.CloseOnExec(fd)
		in.admin = os.NewFile(uintptr(fd), "admin")
	}
	return in, nil
}

// take gives the sockets of a listener, which are the caller's; none where there are none.
func (in *Inheritance) take(address string) []int {
	if in == nil {
		return nil
	}
	fds := in.sockets[address]
	delete(in.sockets, address)
	return fds
}

// takeAdmin gives the listening socket of the admin address; nil: there is none.
func (in *Inheritance) takeAdmin(address string) (net.Listener, error) {
	if in == nil || in.admin == nil || in.bequest.Admin != address {
		return nil, nil
	}
	defer in.admin.Close()
	return net.FileListener(in.admin)
}

// closeRest closes what nobody has taken.
func (in *Inheritance) closeRest() {
	for address := range in.sockets {
		closeAll([][]int{in.take(address)})
	}
	if in.admin != nil {
		in.admin.Close() // or it has been taken
	}
}

// Fail tells the older process why this one will not serve.
func (in *Inheritance) Fail(err error) {
	if in.isUpgrade() {
		in.tell(message{Error: err.Error()})
		in.conn.Close()
	}
}

// isUpgrade says that it is from an older process, and not from a service manager.
func (in *Inheritance) isUpgrade() bool { return in != nil && in.conn != nil }

func (in *Inheritance) tell(m message) { _ = json.NewEncoder(in.conn).Encode(m) } // it may have ended

// release takes the duty to stand by from the older process. A process that ends in order is
// not to be replaced, nor one that has a newer one.
func (in *Inheritance) release() {
	if in.isUpgrade() {
		in.tell(message{Release: true})
	}
}

// awaitEnd returns when the older process has ended.
func (in *Inheritance) awaitEnd() {
	_, _ = io.Copy(io.Discard, in.conn)
	in.conn.Close()
}

// environment is that of a new process.
func environment() (env []string) {
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case inheritVariable, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID":
		default:
			env = append(env, v)
		}
	}
	return append(env, inheritVariable+"="+inheritProtocol)
}

// answerAt answers at an admin address, whose file is for those in file.
func (s *Server) answerAt(address string, file *loop.FileAccess) (*admin.Server, error) {
	log := s.about("admin")
	l, err := s.opt.Inherited.takeAdmin(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("admin: what was inherited: %w", err)
	case l != nil:
		return admin.ServeOn(l, address, source{s}, log)
	}
	return admin.Serve(address, file, source{s}, log)
}

// takenOver tells the older process that this one serves.
func (s *Server) takenOver() {
	in := s.opt.Inherited
	if in == nil {
		return
	}
	in.closeRest()
	if !in.isUpgrade() {
		return
	}
	s.upgrades.succeed(in.Upgrades)
	in.tell(message{Serves: true})
	go func() {
		in.awaitEnd()
		s.about("upgrade").Info("the older process has ended", "old_pid", in.PID)
		s.upgrades.acceptAgain()
	}()
}

// ticketKeys are those of listeners whose keys are this process's own.
func (s *Server) ticketKeys() map[string][]byte {
	keys := map[string][]byte{}
	for _, c := range s.snap().Credentials() {
		keys[c.Listener.Address] = c.Store.TicketKeys()
	}
	return keys
}

// weightsSet are the weights that were set while this process ran, or before.
func weightsSet(s *snapshot.Snapshot) map[string][]upstream.WeightSet {
	weights := map[string][]upstream.WeightSet{}
	for _, c := range s.Upstreams() {
		if list := upstream.WeightsSet(c); len(list) > 0 && !upstream.IsSubset(c) {
			weights[c.Name()] = list
		}
	}
	return weights
}

// give has handshakes resume what the older process's began, and weights hold that were set in it.
func (in *Inheritance) give(snap *snapshot.Snapshot) {
	if in == nil {
		return
	}
	for _, c := range snap.Credentials() {
		if keys := in.Tickets[c.Listener.Address]; keys != nil {
			c.Store.InheritTicketKeys(keys, time.Now())
		}
	}
	for _, c := range snap.Resolved() {
		if list := in.Weights[c.Name()]; len(list) > 0 {
			upstream.InheritWeights(c, list)
		}
	}
}
