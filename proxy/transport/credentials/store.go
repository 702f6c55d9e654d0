package credentials

import (
	"crypto/hkdf"
	"crypto/sha256"
	stdtls "crypto/tls"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Store is where a listener's handshakes find their terms. Replace and Rotate are
// called by one goroutine at a time, while handshakes go on.
type Store struct {
	set        atomic.Pointer[Set]
	challenges atomic.Pointer[map[string]*stdtls.Certificate] // see SetChallenges
	tickets    *stdtls.Config                                 // its keys seal and open all tickets

	mu    sync.Mutex
	keyed string   // which keys tickets has: the day and the secrets they are from; "": its own
	own   []ownKey // the newest first
}

// NewStore makes a store that begins with set.
func NewStore(set *Set) *Store {
	s := &Store{tickets: new(stdtls.Config)}
	s.Replace(set, time.Now())
	return s
}

// Set is the current set.
func (s *Store) Set() *Set { return s.set.Load() }

// Replace has handshakes that begin from now on choose from set.
func (s *Store) Replace(set *Set, now time.Time) {
	s.set.Store(set)
	s.Rotate(now)
}

// Choose finds the terms for the name that a client asks for, "" if for none.
func (s *Store) Choose(serverName string) (t *Terms, name string) {
	name = strings.ToLower(serverName)
	return s.set.Load().choose(name), name
}

// Tickets is the configuration whose ticket keys are used.
func (s *Store) Tickets() *stdtls.Config { return s.tickets }

// ECH gives the keys of Encrypted ClientHello.
func (s *Store) ECH() []stdtls.EncryptedClientHelloKey { return s.set.Load().ech }

// Rotate gives the tickets the keys of the day.
func (s *Store) Rotate(now time.Time) {
	shared := s.set.Load().shared
	day := dayOf(now)
	if len(shared) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.renewOwn(day) || s.keyed != "" {
			s.useOwn()
		}
		return
	}
	sum := sha256.New()
	_ = binary.Write(sum, binary.BigEndian, day)
	for _, secret := range shared {
		sum.Write(hash(secret))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := string(sum.Sum(nil)); id != s.keyed {
		s.keyed = id
		s.tickets.SetSessionTicketKeys(ticketKeys(shared, day))
	}
}

func hash(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// ticketKeys are those of a day: that of the first secret seals; those of the day
// before open what was sealed then, those of the day after what an instance has
// sealed whose clock is ahead.
func ticketKeys(secrets [][]byte, day int64) (keys [][32]byte) {
	for _, secret := range secrets {
		for _, d := range [...]int64{day, day - 1, day + 1} {
			info := binary.BigEndian.AppendUint64([]byte("zproxy session tickets of day "), uint64(d))
			key, err := hkdf.Key(sha256.New, secret, nil, string(info), 32)
			if err != nil {
				panic(err) // 32 bytes are not too many
			}
			keys = append(keys, [32]byte(key))
		}
	}
	return keys
}
