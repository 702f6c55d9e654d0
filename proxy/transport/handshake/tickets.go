package handshake

import (
	stdtls "crypto/tls"
	"os"
)

// Session tickets of TLS 1.3 come behind the handshake, and only crypto/tls can make
// a session of one: the resumption secret is not logged. So the connection is kept
// until the first record has come. If that is a ticket, the record is given to
// crypto/tls as it arrived, whose place in the sequence of records it still is; if
// it is not, or when the ticket has been read, the connection goes. Servers send
// tickets right behind the handshake, before content.

// keepsForTicket says that a client's connection is worth keeping.
func (j *Job) keepsForTicket(s stdtls.ConnectionState) bool {
	return !j.server && s.Version == stdtls.VersionTLS13 && j.config.ClientSessionCache != nil && !j.config.SessionTicketsDisabled
}

// Ticket takes the first record behind the handshake, which has a session ticket, as
// it arrived. It is the last call.
func (j *Job) Ticket(rec []byte) {
	j.mu.Lock()
	j.in = append([]byte(nil), rec...)
	j.ticket = true
	j.mu.Unlock()
	j.workers.push(j, true)
}

// readTicket reads what Ticket was called with. It waits for nothing: it ends behind the record.
func (j *Job) readTicket() {
	j.mu.Lock()
	ticket := j.ticket
	j.mu.Unlock()
	if ticket {
		_, _ = j.conn.Read(make([]byte, 1))
	}
}

// errNothingFollows is how the reading of a ticket ends.
var errNothingFollows = os.ErrDeadlineExceeded
