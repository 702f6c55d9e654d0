package admin

import (
	"net"
	"net/http"
	"sync"
)

// crowd bounds the connections of the server without letting those that ask
// nothing shut out those that do: beyond the limit the one that has been
// silent longest is closed, and the newest only where nobody is silent.
type crowd struct {
	limit int
	mu    sync.Mutex
	conns []guest // in the order in which they fell silent or came
}

type guest struct {
	conn   net.Conn
	silent bool // between requests, or before the first
}

// note is the server's ConnState.
func (c *crowd) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.conns {
		if c.conns[i].conn == conn {
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			break
		}
	}
	if state == http.StateClosed || state == http.StateHijacked {
		return
	}
	if state == http.StateNew && len(c.conns) >= c.limit && !c.makeRoom() {
		conn.Close()
		return
	}
	c.conns = append(c.conns, guest{conn, state != http.StateActive})
}

// makeRoom closes who has been silent longest; false when nobody is.
func (c *crowd) makeRoom() bool {
	for i := range c.conns {
		if c.conns[i].silent {
			c.conns[i].conn.Close()
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			return true
		}
	}
	return false
}
