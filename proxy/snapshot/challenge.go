package snapshot

import (
	"bytes"
	stdtls "crypto/tls"
	"sync/atomic"

	"zproxy/proto"
)

// challenges are the answers to an authority that checks whether a name leads here (RFC 8555 8.3), by token. Any
// goroutine exchanges them, all loops read them.
type challenges struct {
	answers atomic.Pointer[map[string]*Response]
}

var challengePath = []byte("/.well-known/acme-challenge/")

// AnswerHTTP has all loops answer requests for tokens, on every listener and before any route; those that were
// there before are forgotten. A request for another token goes where its route says.
func (s *Snapshot) AnswerHTTP(tokens map[string]string) {
	if len(tokens) == 0 {
		s.challenges.answers.Store(nil)
		return
	}
	all := make(map[string]*Response, len(tokens))
	for token, text := range tokens {
		all[token] = NewResponse(200, "application/octet-stream", nil, text)
	}
	s.challenges.answers.Store(&all)
}

// AnswerTLS has handshakes that only ask whether a name leads here end with these certificates, by name in lower
// case, on every listener with TLS.
func (s *Snapshot) AnswerTLS(certs map[string]*stdtls.Certificate) {
	for _, c := range s.Credentials() {
		c.Store.SetChallenges(certs)
	}
}

// Challenge is the answer to a request of an authority's, nil if h is none.
func (s *Snapshot) Challenge(h *proto.Head) *Response {
	all := s.challenges.answers.Load()
	if all == nil || h.Method != proto.GET {
		return nil
	}
	token, ok := bytes.CutPrefix(h.Bytes(h.Path), challengePath)
	if !ok {
		return nil
	}
	return (*all)[string(token)]
}
