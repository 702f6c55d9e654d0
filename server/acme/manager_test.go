package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	acmeproto "github.com/mholt/acmez/v3/acme"

	"zproxy/config"
	"zproxy/internal/child"
)

// scripted is an authority in the test's own time. It notes when it was asked for what.
type scripted struct {
	life   time.Duration
	fails  func(attempt int) (time.Duration, error) // nil: never
	window func(leaf *x509.Certificate) (start, end time.Time)
	names  []string // of what it gives, nil: those that are ordered
	during func()   // an order

	mu     sync.Mutex // of all that follows, and held while the functions above are called
	orders []time.Time
	asked  int // when to renew
	last   wanted
}

func (s *scripted) order(_ context.Context, want wanted) ([]byte, *advice, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders, s.last = append(s.orders, time.Now()), want
	n := len(s.orders)
	if s.during != nil {
		s.during()
	}
	if s.fails != nil {
		if wait, err := s.fails(n); err != nil {
			return nil, nil, wait, err
		}
	}
	names := want.names
	if s.names != nil {
		names = s.names
	}
	data, leaf := issue(names, want.KeyType, s.life)
	if s.window == nil {
		return data, nil, 0, nil
	}
	a := &advice{}
	s.advise(leaf, a)
	return data, a, 0, nil
}

func (s *scripted) advise(leaf *x509.Certificate, a *advice) {
	start, end := s.window(leaf)
	info := &acmeproto.RenewalInfo{}
	info.SuggestedWindow.Start, info.SuggestedWindow.End = start, end
	a.take(info, time.Now())
}

func (s *scripted) ask(_ context.Context, leaf *x509.Certificate, a *advice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.window == nil {
		return errors.New("nobody answers")
	}
	s.advise(leaf, a)
	return nil
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.orders)
}

func (s *scripted) asks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// now changes what the script goes by.
func (s *scripted) now(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// issue makes a file's content: a key, and a certificate that has signed itself.
func issue(names []string, kind string, life time.Duration) ([]byte, *x509.Certificate) {
	key, err := newKey(kind)
	if err != nil {
		panic(err)
	}
	data, err := keyPEM(key)
	if err != nil {
		panic(err)
	}
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: number, DNSNames: names, NotBefore: time.Now(), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key.(crypto.Signer))
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), leaf
}

const day = 24 * time.Hour

// bench is a manager with one listener before a scripted authority.
type bench struct {
	*testing.T
	*Manager
	*scripted
	section *config.ACME
	dir     string
	log     child.Output
	changes atomic.Int64
}

// open makes one that keeps its files in dir.
func open(t *testing.T, dir string, s *scripted, change func(*config.ACME)) *bench {
	if s.life == 0 {
		s.life = 90 * day
	}
	b := &bench{T: t, scripted: s, dir: dir}
	b.section = &config.ACME{
		Names: []string{"A.example b.example"}, Directory: "https://ca.example/dir", Challenge: "http-01", KeyType: "p256",
		Storage: dir, RenewBefore: 33,
	}
	if change != nil {
		change(b.section)
	}
	b.Manager = Open(Config{
		Listeners: []config.Listener{{}, {TLS: &config.TLS{ACME: b.section}}},
		Path:      func(s string) string { return s }, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	for _, c := range b.certs {
		c.authority = s
	}
	return b
}

// begin starts it, and waits until nothing is to be done at once.
func (b *bench) begin() {
	b.Start(nil, func() { b.changes.Add(1) })
	synctest.Wait()
}

func (b *bench) end() {
	b.Stop()
	b.Wait()
}

// after lets time pass.
func (b *bench) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) file() string { return filepath.Join(b.dir, "ca.example-dir", "a.example.pem") }

// inWorld runs test in a world with a clock of its own.
func inWorld(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// Without advice a certificate is renewed when a third of its life is left, or up to a tenth of that earlier; what is
// in the folder is the same, and a restart asks for nothing.
func TestRenewsInTime(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		b := open(t, dir, &scripted{}, nil)
		if got := b.section.Issued; len(got) != 1 || got[0].CertPEM != nil {
			t.Fatalf("before there is any: %v", got)
		}
		b.begin()
		issued := b.Issued(b.section)
		kept, err := os.ReadFile(b.file())
		if b.count() != 1 || b.changes.Load() != 1 || err != nil || !bytes.Equal(kept, issued[0].CertPEM) || issued[0].Cert != b.file() {
			t.Fatalf("%d orders, %d changes, %v:\n%s", b.count(), b.changes.Load(), err, b.log.String())
		}
		for path, mode := range map[string]fs.FileMode{b.file(): 0o600, dir: 0o700, filepath.Dir(b.file()): 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
		b.after(365 * day)
		b.end()
		for i := range b.orders[1:] {
			if gap := b.orders[i+1].Sub(b.orders[i]); gap < 57*day || gap > 61*day {
				t.Errorf("renewed after %v", gap)
			}
		}
		if n := b.count(); n != 7 || b.changes.Load() != 7 {
			t.Errorf("%d orders, %d changes in a year", n, b.changes.Load())
		}
		if b.last.replaces == nil {
			t.Error("an order does not say what it replaces")
		}
		again := open(t, dir, &scripted{}, nil)
		if got := again.section.Issued[0].CertPEM; !bytes.Equal(got, b.Issued(b.section)[0].CertPEM) {
			t.Error("what was kept is not there after a restart")
		}
		again.begin()
		again.after(10 * day)
		again.end()
		if n := again.count(); n != 0 {
			t.Errorf("%d orders after a restart", n)
		}
	})
}

// What fails is tried again, a few times in an hour and in a day; who asks for it has it tried at once.
func TestFailuresAreSpread(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		works := false
		b := open(t, t.TempDir(), &scripted{fails: func(int) (time.Duration, error) {
			if works {
				return 0, nil
			}
			return 0, acmeproto.Problem{Type: acmeproto.ProblemTypeDNS, Detail: "no such name"}
		}}, nil)
		b.begin()
		b.after(time.Hour)
		hour := b.count()
		b.after(23 * time.Hour)
		day := b.count()
		if hour < 3 || hour > 5 || day > 12 {
			t.Errorf("%d attempts in an hour, %d in a day", hour, day)
		}
		s := b.States(time.Now())[0]
		if !s.Failing || !s.Placeholder || s.Failures["dns"] != uint64(day) || s.Certificate != "a.example" || s.NextDays <= 0 || s.NextDays > 0.32 {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(b.log.String(), `reason=dns`) || !strings.Contains(b.log.String(), "the name needs an A or AAAA record") {
			t.Errorf("%s", b.log.String())
		}
		b.Retry()
		b.Retry()
		synctest.Wait()
		if n := b.count(); n != day+1 {
			t.Errorf("%d attempts once it was asked for", n-day)
		}
		b.now(func() { works = true })
		b.Retry()
		b.after(minPause)
		if s := b.States(time.Now())[0]; s.Failing || s.Placeholder || s.Issued != 1 {
			t.Errorf("%+v", s)
		}
		b.end()
	})
}

// An authority that wants to be left alone is, and one that gives something else than was ordered is not asked for it
// without end.
func TestAuthoritiesAreLeftAlone(t *testing.T) {
	for what, s := range map[string]*scripted{
		"Retry-After":         {fails: func(int) (time.Duration, error) { return 30 * time.Hour, errors.New("429") }},
		"other names":         {names: []string{"a.example"}},
		"expired":             {life: -time.Hour},
		"ten minutes'":        {life: 10 * time.Minute},
		"to be renewed, ever": {window: func(*x509.Certificate) (time.Time, time.Time) { return time.Now().Add(-2 * day), time.Now().Add(-day) }},
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(t *testing.T) {
				b := open(t, t.TempDir(), s, nil)
				b.begin()
				b.after(day)
				b.end()
				most := map[string]int{"Retry-After": 1, "other names": 12, "expired": 12, "ten minutes'": 24 * 60 / 3, "to be renewed, ever": 25}[what]
				if n := b.count(); n > most || n == 0 {
					t.Errorf("%d orders in a day:\n%s", n, b.log.String())
				}
			})
		})
	}
}

// The authority's window is kept to, asked for again as it wants, and may move.
func TestAdvice(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		begin := time.Now()
		start, end := 50*day, 52*day
		dir := t.TempDir()
		s := &scripted{window: func(leaf *x509.Certificate) (time.Time, time.Time) {
			if leaf.NotBefore.After(begin) {
				return leaf.NotBefore.Add(50 * day), leaf.NotBefore.Add(52 * day)
			}
			return begin.Add(start), begin.Add(end)
		}}
		b := open(t, dir, s, nil)
		b.begin()
		b.after(10 * day)
		if n := b.asks(); n < 38 || n > 42 { // every six hours, where the authority has no wish
			t.Errorf("asked %d times in ten days", n)
		}
		b.end()
		// A restart knows what it was told, and when to ask again.
		asked := b.asks()
		b = open(t, dir, s, nil)
		told := func() time.Time {
			a := b.certs[0].folder.advice(b.certs[0].names, b.certs[0].Current())
			return a.Chosen
		}
		chosen := told()
		b.begin()
		if n := b.asks(); n != asked || chosen.Before(begin.Add(start)) || chosen.After(begin.Add(end)) {
			t.Errorf("asked %d times after a restart, renewal at %v", n-asked, chosen.Sub(begin))
		}
		b.after(5 * day)
		if !told().Equal(chosen) {
			t.Error("another time was chosen in the same window")
		}
		b.now(func() { start, end = 20*day, 21*day }) // as when certificates are to be revoked
		b.after(7 * day)
		if n := b.count(); n != 2 {
			t.Errorf("%d orders after the window has moved", n)
		} else if at := b.orders[1].Sub(begin); at < 20*day || at > 21*day+6*time.Hour {
			t.Errorf("renewed after %v", at)
		}
		b.end()
	})
}

// Trouble with the folder: nothing is ordered that could not be kept, and what cannot be kept is used all the same.
func TestFolder(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b := open(t, dir, &scripted{}, nil)
		b.begin()
		b.after(time.Hour)
		s := b.States(time.Now())[0]
		if b.count() != 0 || !s.Failing || s.Failures["storage"] < 3 || !strings.Contains(b.log.String(), "storage has to be a folder") {
			t.Errorf("%d orders, %+v:\n%s", b.count(), s, b.log.String())
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		b.now(func() {
			b.during = func() {
				os.RemoveAll(dir)
				os.WriteFile(dir, nil, 0o600)
			}
		})
		b.Retry()
		synctest.Wait()
		s = b.States(time.Now())[0]
		if b.count() != 1 || s.Placeholder || !s.Failing || b.changes.Load() != 1 || b.Issued(b.section)[0].CertPEM == nil {
			t.Errorf("%d orders, %+v:\n%s", b.count(), s, b.log.String())
		}
		os.Remove(dir)
		b.after(time.Hour)
		kept, err := os.ReadFile(b.file())
		if err != nil || !bytes.Equal(kept, b.Issued(b.section)[0].CertPEM) || b.States(time.Now())[0].Failing || b.count() != 1 {
			t.Errorf("not kept later: %v, %d orders:\n%s", err, b.count(), b.log.String())
		}
		b.end()
	})
}

// What is in the folder at the start: another list of names is a reason for a new certificate, and none to do without
// the old one until then; what is no certificate is replaced. What another instance has put there in the meantime is
// taken over.
func TestWhatIsInTheFolder(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		dir := t.TempDir()
		b := open(t, dir, &scripted{}, nil)
		b.begin()
		b.end()
		first := b.Issued(b.section)[0].CertPEM
		b = open(t, dir, &scripted{}, func(s *config.ACME) { s.Names = []string{"a.example b.example c.example"} })
		if !bytes.Equal(b.section.Issued[0].CertPEM, first) {
			t.Error("the certificate is not used because a name was added")
		}
		b.begin()
		b.end()
		if b.count() != 1 || bytes.Equal(b.Issued(b.section)[0].CertPEM, first) {
			t.Errorf("%d orders for one more name", b.count())
		}
		b = open(t, dir, &scripted{}, func(s *config.ACME) { s.KeyType = "p384" })
		b.begin()
		b.end()
		if b.count() != 1 || keyKind(b.certs[0].Current().leaf.PublicKey) != "p384" {
			t.Errorf("%d orders for another key", b.count())
		}
		if err := os.WriteFile(b.file(), []byte("half of i"), 0o600); err != nil {
			t.Fatal(err)
		}
		b = open(t, dir, &scripted{}, nil)
		if b.section.Issued[0].CertPEM != nil || !strings.Contains(b.log.String(), "is no good") {
			t.Errorf("no certificate is used as one: %s", b.log.String())
		}
		b.begin()
		b.after(50 * day)
		other, _ := issue([]string{"b.example", "a.example"}, "p256", 90*day)
		if err := os.WriteFile(b.file(), other, 0o600); err != nil {
			t.Fatal(err)
		}
		b.after(40 * day)
		b.end()
		if b.count() != 1 || !bytes.Equal(b.Issued(b.section)[0].CertPEM, other) {
			t.Errorf("%d orders, and another instance's certificate is used: %v", b.count(), bytes.Equal(b.Issued(b.section)[0].CertPEM, other))
		}
	})
}
