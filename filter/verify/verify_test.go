package verify

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zproxy/proto"
	"zproxy/proto/http1"
)

// request parses a head of fields and a target.
func request(t testing.TB, target, fields string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	lim := http1.Limits{HeadBytes: 1 << 16, Fields: 100, LineBytes: 1 << 16}
	if _, _, f := http1.ParseRequest([]byte("GET "+target+" HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n"), http1.Cursor{}, &lim, h); f != nil {
		t.Fatal(f)
	}
	return h
}

func TestSourceFindsCredentials(t *testing.T) {
	bearer := Source{Header: "authorization", Scheme: "bearer"}
	key, session, token := Source{Header: "x-api-key"}, Source{Cookie: "session"}, Source{Query: "token"}
	for _, c := range []struct {
		of             Source
		target, fields string
		want           string
		several        bool
	}{
		{bearer, "/", "Authorization: Bearer abc\r\n", "abc", false},
		{bearer, "/", "aUTHORIZATION: bEARER   abc\r\n", "abc", false},
		{bearer, "/", "Authorization: Basic abc\r\n", "", false},
		{bearer, "/", "Authorization: Bearerabc\r\n", "", false},
		{bearer, "/", "Authorization: Bearer\r\n", "", false},
		{bearer, "/", "Authorization: Bearer a\r\nauthorization: Bearer b\r\n", "", true},
		{bearer, "/", "Authorization: Basic a\r\nAuthorization: Bearer b\r\n", "", true},
		{bearer, "/", "Authorization:\r\nAuthorization: Bearer b\r\n", "", true},
		{bearer, "/", "X-Authorization: Bearer b\r\n", "", false},
		{key, "/", "X-Api-Key: k\r\n", "k", false},
		{key, "/", "X_Api_Key: k\r\n", "", false},
		{key, "/", "X-Api-Key: k\r\nx-api-key: k\r\n", "", true},
		{session, "/", "Cookie: session=s\r\n", "s", false},
		{session, "/", "Cookie: a=b; session=s; c=d\r\n", "s", false},
		{session, "/", "Cookie: a=b;session=\"s\" ;c\r\n", "s", false},
		{session, "/", "Cookie: a=b\r\nCookie: session=s\r\n", "s", false},
		{session, "/", "Cookie: session=s; session=u\r\n", "", true},
		{session, "/", "Cookie: Session=s; xsession=u; session\r\n", "", false},
		{session, "/", "Cookie: session=\r\nCookie: session=s\r\n", "", true},
		{token, "/?token=t", "", "t", false},
		{token, "/?a=b&token=t&c", "", "t", false},
		{token, "/?token=t&token=t", "", "", true},
		{token, "/?Token=t&tokens=u&token", "", "", false},
		{token, "/", "", "", false},
	} {
		got, several := c.of.Find(request(t, c.target, c.fields))
		if string(got) != c.want || several != c.several {
			t.Errorf("%+v in %q %q: %q, several %v", c.of, c.target, c.fields, got, several)
		}
	}
}

func FuzzSource(f *testing.F) {
	f.Add("Bearer abc", "a=b; session=s", "token=t&token")
	f.Fuzz(func(t *testing.T, authorization, cookie, query string) {
		h := new(proto.Head)
		text := "x" + authorization + cookie + query // offset 0 would mean "not there"
		h.Reset([]byte(text))
		at := uint32(1)
		for _, part := range []struct {
			token proto.Token
			value string
		}{{proto.TokenAuthorization, authorization}, {proto.TokenCookie, cookie}} {
			h.Fields = append(h.Fields, proto.Field{Token: part.token, Value: proto.Span{Off: at, Len: uint32(len(part.value))}})
			at += uint32(len(part.value))
		}
		h.Query = proto.Span{Off: at, Len: uint32(len(query))}
		for _, s := range []Source{{Cookie: "session"}, {Query: "token"}} {
			if got, several := s.Find(h); several && got != nil {
				t.Fatal("several, and one of them")
			}
		}
		if got := AfterScheme([]byte(authorization), "bearer"); len(got) > 0 && got[0] == ' ' {
			t.Fatalf("%q of %q", got, authorization)
		}
	})
}

func TestDigestTellsPartsApart(t *testing.T) {
	var d Digester
	sum := func(scope uint64, parts ...string) Digest {
		d.Begin(scope)
		for _, p := range parts {
			d.Add([]byte(p))
		}
		return d.Sum()
	}
	one := sum(1, "ab", "c")
	if one != sum(1, "ab", "c") {
		t.Error("the same twice")
	}
	for _, other := range []Digest{sum(1, "a", "bc"), sum(1, "abc"), sum(2, "ab", "c"), sum(1, "ab", "c", "")} {
		if one == other {
			t.Error("different credentials with one digest")
		}
	}
	for _, b := range d.buf[:cap(d.buf)] {
		if b != 0 {
			t.Fatal("credentials stay in memory")
		}
	}
}

func digestOf(n uint64) (d Digest) {
	binary.LittleEndian.PutUint64(d[8:], n) // one set
	return d
}

func TestCacheKeepsUntil(t *testing.T) {
	c := NewCache(1)
	d := digestOf(1)
	v := &Verdict{Name: []byte("a"), UntilMs: 100}
	c.Keep(&d, v, 0)
	if c.Find(&d, 99) != v || c.Find(&d, 100) != nil {
		t.Error("it holds until 100")
	}
	other := digestOf(2)
	if c.Find(&other, 0) != nil {
		t.Error("a verdict of other credentials")
	}
	c.Keep(&other, &Verdict{UntilMs: 5}, 5)
	if c.Find(&other, 4) != nil {
		t.Error("what holds no longer was kept")
	}
}

// What is used stays, whatever else comes.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := NewCache(ways)
	used := digestOf(0)
	c.Keep(&used, &Verdict{UntilMs: 1}, 0)
	for n := uint64(1); n < 1000; n++ {
		if c.Find(&used, 0) == nil {
			t.Fatalf("gone after %d others", n)
		}
		d := digestOf(n)
		c.Keep(&d, &Verdict{UntilMs: 1}, 0)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	c, d := NewCache(64), Digester{}
	credentials := make([]byte, 1000)
	d.Begin(1)
	d.Add(credentials)
	sum := d.Sum()
	c.Keep(&sum, &Verdict{UntilMs: 1}, 0)
	if n := testing.AllocsPerRun(100, func() {
		d.Begin(1)
		d.Add(credentials)
		sum := d.Sum()
		if c.Find(&sum, 0) == nil {
			t.Fatal("no hit")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type taskFunc func(f *Flight) *Verdict

func (t taskFunc) Verify(f *Flight) *Verdict { return t(f) }

// waits is a request that waits.
type waits struct{ got chan *Verdict }

func newWaits() *waits                 { return &waits{make(chan *Verdict, 2)} }
func (w *waits) Redeem(answer any)     { w.got <- answer.(*Verdict) }
func (w *waits) verdict() *Verdict     { return <-w.got }
func numbered(d uint64) *Digest        { sum := digestOf(d); return &sum }
func constant(v *Verdict) taskFunc     { return func(*Flight) *Verdict { return v } }
func (w *Workers) queued() (count int) { w.mu.Lock(); defer w.mu.Unlock(); return len(w.flights) }

// Whoever asks the same at the same time waits for the same.
func TestWorkersVerifyOnce(t *testing.T) {
	w := NewWorkers(2, 100, time.Hour, nil)
	var calls atomic.Int32
	begin, v := make(chan struct{}), &Verdict{Name: []byte("a")}
	task := taskFunc(func(*Flight) *Verdict {
		calls.Add(1)
		<-begin
		return v
	})
	var all []*waits
	for range 50 {
		one := newWaits()
		all = append(all, one)
		if !w.Start(numbered(1), task, one) {
			t.Fatal("refused")
		}
	}
	close(begin)
	for _, one := range all {
		if one.verdict() != v {
			t.Error("another verdict")
		}
	}
	if calls.Load() != 1 || w.Joined.Load() != 49 || w.Waiting() != 0 || w.queued() != 0 {
		t.Errorf("%d calls, %d joined, %d wait, %d flights", calls.Load(), w.Joined.Load(), w.Waiting(), w.queued())
	}
}

func TestWorkersAreBounded(t *testing.T) {
	const places, limit = 2, 10
	w := NewWorkers(places, limit, time.Hour, nil)
	var now, most atomic.Int32
	begin, reached := make(chan struct{}), make(chan struct{}, limit)
	task := taskFunc(func(*Flight) *Verdict {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		reached <- struct{}{}
		<-begin
		now.Add(-1)
		return &Verdict{}
	})
	var all []*waits
	for n := range limit {
		one := newWaits()
		all = append(all, one)
		if !w.Start(numbered(uint64(n)), task, one) {
			t.Fatalf("%d is refused", n)
		}
	}
	if w.Start(numbered(0), task, newWaits()) || w.Start(numbered(99), task, newWaits()) || w.Full.Load() != 2 {
		t.Error("more than may wait")
	}
	for range places {
		<-reached
	}
	w.mu.Lock()
	if w.working != places { // each goroutine of more would take a flight, sooner or later
		t.Errorf("%d goroutines, %d may be", w.working, places)
	}
	w.mu.Unlock()
	close(begin)
	for _, one := range all {
		one.verdict()
	}
	if most.Load() > places {
		t.Errorf("%d at once", most.Load())
	}
	last := newWaits()
	if !w.Start(numbered(0), task, last) {
		t.Error("refused when nobody waits")
	}
	last.verdict()
}

func TestWorkersHavePatience(t *testing.T) {
	late := &Verdict{Outcome: Failed, Status: 503}
	w := NewWorkers(1, 10, -1, late) // whoever asks has waited for longer
	one := newWaits()
	w.Start(numbered(1), taskFunc(func(*Flight) *Verdict { t.Error("verified"); return late }), one)
	if one.verdict() != late || w.Late.Load() != 1 {
		t.Error("it waited for longer than it may")
	}
}

// A task that waits for something holds no place.
func TestFlightResumes(t *testing.T) {
	w := NewWorkers(1, 10, time.Hour, nil)
	parked, v := make(chan *Flight, 1), &Verdict{}
	again := false
	one, two := newWaits(), newWaits()
	w.Start(numbered(1), taskFunc(func(f *Flight) *Verdict {
		if again {
			return v
		}
		again = true
		parked <- f
		return nil
	}), one)
	f := <-parked
	w.Start(numbered(2), constant(&Verdict{}), two)
	two.verdict()
	f.Resume()
	if one.verdict() != v || *f.Digest() != *numbered(1) {
		t.Error("another verdict")
	}
}

func TestWorkersUnderLoad(t *testing.T) {
	w, c := NewWorkers(3, 1000, time.Hour, nil), NewCache(16)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for n := range 500 {
				d := numbered(uint64(n % 37))
				if c.Find(d, 0) != nil {
					continue
				}
				one := newWaits()
				if w.Start(d, taskFunc(func(f *Flight) *Verdict {
					v := &Verdict{UntilMs: int64(1 + g)}
					c.Keep(f.Digest(), v, 0)
					return v
				}), one) {
					one.verdict()
				}
			}
		})
	}
	all.Wait()
	if w.Waiting() != 0 || w.queued() != 0 {
		t.Errorf("%d wait, %d flights", w.Waiting(), w.queued())
	}
}
