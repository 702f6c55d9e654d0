package handshake

import (
	"bytes"
	stdtls "crypto/tls"
	"encoding/hex"
	"errors"

	"zproxy/proto/tls"
)

// keyLog keeps what crypto/tls logs of one connection, in the format of
// draft-ietf-tls-keylogfile: label, client random, secret. crypto/tls holds a lock
// of the whole process meanwhile.
type keyLog struct {
	client, server []byte // TLS 1.3: traffic secrets
	master         []byte // TLS 1.2
}

var errKeyLog = errors.New("tls: crypto/tls logged no secrets of the connection")

func (k *keyLog) Write(line []byte) (int, error) {
	f := bytes.Fields(line)
	if len(f) != 3 {
		return 0, errKeyLog
	}
	secret := make([]byte, hex.DecodedLen(len(f[2])))
	if _, err := hex.Decode(secret, f[2]); err != nil {
		return 0, err
	}
	switch string(f[0]) {
	case "CLIENT_TRAFFIC_SECRET_0":
		k.client = secret
	case "SERVER_TRAFFIC_SECRET_0":
		k.server = secret
	case "CLIENT_RANDOM":
		k.master = secret
	}
	return len(line), nil
}

// Resumed connections of TLS 1.2 log nothing. Their master secret is that of the
// connection the session comes from; it is put into the session once more, behind
// this mark, where it can be found again: servers' tickets are encrypted as a whole,
// clients' sessions do not leave the process.
const masterMark = "zproxy master secret\x00"

func addMaster(s *stdtls.SessionState, master []byte) {
	if master == nil {
		return
	}
	for _, e := range s.Extra {
		if bytes.HasPrefix(e, []byte(masterMark)) {
			return
		}
	}
	s.Extra = append(s.Extra, append([]byte(masterMark), master...))
}

func masterOf(s *stdtls.SessionState) []byte {
	for _, e := range s.Extra {
		if rest, ok := bytes.CutPrefix(e, []byte(masterMark)); ok {
			return rest
		}
	}
	return nil
}

// master is the master secret of the connection, TLS 1.2: logged, or, where a
// session is resumed, known from before.
func (j *Job) master() []byte {
	if j.secrets.master != nil {
		return j.secrets.master
	}
	return j.resumable
}

// sessions is the cache of a client configuration as one connection sees it.
type sessions struct {
	stdtls.ClientSessionCache
	job *Job
}

func (c sessions) Get(key string) (*stdtls.ClientSessionState, bool) {
	s, ok := c.ClientSessionCache.Get(key)
	if ok && s != nil {
		if _, state, err := s.ResumptionState(); err == nil && state != nil {
			c.job.resumable = masterOf(state)
		}
	}
	return s, ok
}

func (c sessions) Put(key string, s *stdtls.ClientSessionState) {
	if s != nil {
		master := c.job.master()
		if ticket, state, err := s.ResumptionState(); err == nil && state != nil && master != nil {
			addMaster(state, master)
			if with, err := stdtls.NewResumptionState(ticket, state); err == nil {
				s = with
			}
		}
	}
	c.ClientSessionCache.Put(key, s)
}

// helloBytes is how much of either side's first record is kept: its hello, up to
// the end of the random. Where the record begins with anything else, or brings
// less of the message, that is noticed in found.
const (
	helloRandom = tls.HeaderLen + 4 + 2 // behind the headers of record and message, and the version
	helloBytes  = helloRandom + 32
)

// random is the one of a hello of type typ.
func random(hello []byte, typ byte) []byte {
	if len(hello) < helloBytes || hello[tls.HeaderLen] != typ {
		return nil
	}
	return hello[helloRandom:helloBytes]
}

// found puts together what the record layer needs of a handshake that has ended.
func (j *Job) found(s stdtls.ConnectionState) (tls.Secrets, error) {
	k := &j.secrets
	r := tls.Secrets{Version: s.Version, Suite: s.CipherSuite}
	if s.Version == tls.Version12 {
		client, server := j.wrote, j.read
		if j.server {
			client, server = j.read, j.wrote
		}
		r.Master, r.ClientRandom, r.ServerRandom = j.master(), random(client, 1), random(server, 2)
		if r.Master == nil || r.ClientRandom == nil || r.ServerRandom == nil {
			return r, errKeyLog
		}
		return r, nil
	}
	if k.client == nil || k.server == nil {
		return r, errKeyLog
	}
	r.ClientTraffic, r.ServerTraffic = k.client, k.server
	r.ServerSent = uint64(j.tickets)
	return r, nil
}

// ticketRecords is in how many records crypto/tls writes a ticket of TLS 1.3 of n bytes. It
// is the last message of the handshake, and the only one under the traffic secret. Around
// it are (RFC 8446 4.6.1) the message's header, ticket_lifetime, ticket_age_add, an empty
// nonce, its own length, and no extensions.
func ticketRecords(n int) int {
	const around = 4 + 4 + 4 + 1 + 2 + 2
	return (n + around + tls.MaxPlaintext - 1) / tls.MaxPlaintext
}
