package acme

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// Answerer serves the names. Each call has all answers that are to be given from then on; the maps do not change.
type Answerer interface {
	AnswerHTTP(tokens map[string]string)         // http-01: bodies by token
	AnswerTLS(certs map[string]*tls.Certificate) // tls-alpn-01: certificates by name
}

// answers are those that authorities are to find at the moment.
type answers struct {
	to Answerer // from Manager.Start on

	mu     sync.Mutex
	tokens map[string]string
	certs  map[string]*tls.Certificate
}

func newAnswers() *answers {
	return &answers{tokens: map[string]string{}, certs: map[string]*tls.Certificate{}}
}

// Present is called before the authority is told to look.
func (a *answers) Present(_ context.Context, c acme.Challenge) error {
	switch c.Type {
	case acme.ChallengeTypeHTTP01:
		a.change(func() { a.tokens[c.Token] = c.KeyAuthorization })
	case acme.ChallengeTypeTLSALPN01:
		cert, err := acmez.TLSALPN01ChallengeCert(c)
		if err != nil {
			return err
		}
		a.change(func() { a.certs[strings.ToLower(c.Identifier.Value)] = cert })
	default:
		return fmt.Errorf("a challenge of type %s, which is not answered here", c.Type)
	}
	return nil
}

// CleanUp is called when the authority has looked, or will not.
func (a *answers) CleanUp(_ context.Context, c acme.Challenge) error {
	a.change(func() {
		delete(a.tokens, c.Token)
		if c.Type == acme.ChallengeTypeTLSALPN01 {
			delete(a.certs, strings.ToLower(c.Identifier.Value))
		}
	})
	return nil
}

func (a *answers) change(how func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	how()
	a.to.AnswerHTTP(maps.Clone(a.tokens))
	a.to.AnswerTLS(maps.Clone(a.certs))
}
