package credentials

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"
)

// Where no secrets are shared, a store makes ticket keys of its own, as crypto/tls would: one a
// day, which opens tickets for a week. Unlike those of crypto/tls they can be passed on to the
// process that takes over.

// ownKeyDays is for how many days a key opens tickets.
const ownKeyDays = 7

// ownKey is a key, and the day, counted as Unix time is, that it was made.
type ownKey struct {
	Day int64    `json:"day"`
	Key [32]byte `json:"key"`
}

// renewOwn makes the key of a day, and forgets keys that are too old. False: nothing has changed.
func (s *Store) renewOwn(day int64) bool {
	if len(s.own) > 0 && s.own[0].Day >= day {
		return false
	}
	next := ownKey{Day: day}
	_, _ = rand.Read(next.Key[:]) // it never fails
	s.own = slices.DeleteFunc(append([]ownKey{next}, s.own...), func(k ownKey) bool { return k.Day <= day-ownKeyDays })
	return true
}

// useOwn has tickets sealed by the newest key.
func (s *Store) useOwn() {
	keys := make([][32]byte, len(s.own))
	for i := range s.own {
		keys[i] = s.own[i].Key
	}
	s.keyed = ""
	s.tickets.SetSessionTicketKeys(keys)
}

// TicketKeys are the store's own, for InheritTicketKeys in another process; nil where secrets are shared.
func (s *Store) TicketKeys() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keyed != "" {
		return nil
	}
	keys, _ := json.Marshal(s.own) // numbers alone
	return keys
}

// InheritTicketKeys has the store go on with another process's keys. What is none is left alone:
// clients make another handshake then.
func (s *Store) InheritTicketKeys(text []byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []ownKey
	if s.keyed != "" || json.Unmarshal(text, &keys) != nil || len(keys) == 0 {
		return
	}
	s.own = keys
	s.renewOwn(dayOf(now))
	s.useOwn()
}

func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }
