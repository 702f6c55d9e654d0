package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const soakUpload = 256 << 10

// soakKind is a kind of client. What do returns is a failure of the proxy.
type soakKind struct {
	name  string
	many  int           // at once
	pause time.Duration // between two of them
	do    func(s *soaking, c *wire, rng *rand.Rand) error
}

// quickKinds end within milliseconds: they are what can come by the thousand.
var quickKinds = []soakKind{
	{"keeps its connection", 2, 2 * time.Millisecond, (*soaking).keeps},
	{"asks once", 2, 5 * time.Millisecond, (*soaking).asksOnce},
	{"speaks HTTP/1.0", 1, 5 * time.Millisecond, (*soaking).speaksOld},
	{"pipelines", 1, 5 * time.Millisecond, (*soaking).pipelines},
	{"leaves its pipeline", 1, 5 * time.Millisecond, (*soaking).leavesPipeline},
	{"makes no sense", 1, 10 * time.Millisecond, (*soaking).makesNoSense},
	{"leaves within a head", 1, 10 * time.Millisecond, (*soaking).leavesHead},
	{"leaves within an upload", 1, 10 * time.Millisecond, (*soaking).leavesUpload},
	{"leaves within an answer", 1, 10 * time.Millisecond, (*soaking).leavesAnswer},
	{"says nothing and leaves", 1, 10 * time.Millisecond, func(s *soaking, c *wire, rng *rand.Rand) error { c.leave(rng); return nil }},
}

var soakKinds = slices.Concat(quickKinds, streamKinds, []soakKind{
	{"downloads", 1, 20 * time.Millisecond, (*soaking).downloads},
	{"uploads", 1, 20 * time.Millisecond, (*soaking).uploads},
	{"tunnels", 1, 20 * time.Millisecond, (*soaking).tunnels},
	{"reads slowly", 2, 100 * time.Millisecond, (*soaking).readsSlowly},
	{"writes slowly", 2, 100 * time.Millisecond, (*soaking).writesSlowly},
	{"says nothing", 4, 0, (*soaking).saysNothing},
	{"asks a restarting origin", 2, 5 * time.Millisecond, asksAnyway("/shaky")},
	{"asks a sick origin", 4, 5 * time.Millisecond, asksAnyway("/sick")},
})

// wire is a client's connection.
type wire struct {
	*net.TCPConn
	br *bufio.Reader
}

// keepDoing is one client after the other until end.
func (s *soaking) keepDoing(k soakKind, seed uint64, end time.Time) {
	rng := rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano())))
	for time.Now().Before(end) {
		s.do(k, rng)
		time.Sleep(k.pause)
	}
}

// do is one client from its connection to its end.
func (s *soaking) do(k soakKind, rng *rand.Rand) {
	d := net.Dialer{Timeout: patience}
	if k.name == "reads slowly" {
		d.Control = receiveBuffer(4096)
	}
	conn, err := d.Dial("tcp", s.addr)
	if err == nil {
		c := &wire{conn.(*net.TCPConn), bufio.NewReader(conn)}
		c.SetDeadline(time.Now().Add(patience))
		err = k.do(s, c, rng)
		c.Close()
	}
	if s.done.Add(1); err != nil {
		why := fmt.Sprintf("one that %s: %v", k.name, err)
		s.failed.Add(1)
		s.first.CompareAndSwap(nil, &why)
	}
}

// burst is wrk and h2load in turn, each for a second, and for one nobody.
func (s *soaking) burst(end time.Time) {
	for n := 0; time.Until(end) > time.Second; n++ {
		why, ok := "", true
		if n%2 == 0 {
			out, err := exec.Command("wrk", "-t1", "-c32", "-d1s", "--timeout", "20s", s.url("/hello")).CombinedOutput()
			why, ok = fmt.Sprintf("wrk: %v: %s", err, out), err == nil && !wrkBad.Match(out) && !wrkErrors.Match(out)
		} else {
			why, ok = s.burstOfStreams()
		}
		if !ok {
			s.failed.Add(1)
			s.first.CompareAndSwap(nil, &why)
		}
		time.Sleep(min(time.Until(end), time.Second))
	}
}

func (c *wire) say(text string) error {
	_, err := io.WriteString(c.TCPConn, text)
	return err
}

// answer reads one that must be a 200 with this body.
func (c *wire) answer(want string) error {
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || string(b) != want {
		return fmt.Errorf("%s, %.80q (%v), want %.80q", res.Status, b, err, want)
	}
	return nil
}

// over wants the end of the connection.
func (c *wire) over() error {
	if b, err := c.br.ReadByte(); err != io.EOF {
		return fmt.Errorf("byte %q, %v where the connection should end", b, err)
	}
	return nil
}

// leave goes, in one way or another.
func (c *wire) leave(rng *rand.Rand) {
	switch rng.IntN(3) {
	case 0:
		c.SetLinger(0)
	case 1:
		c.CloseWrite()
	}
	c.Close()
}

const askHello = "GET /hello HTTP/1.1\r\nHost: e2e\r\n\r\n"

func (s *soaking) keeps(c *wire, rng *rand.Rand) error {
	for range 1 + rng.IntN(20) {
		if err := errors.Join(c.say(askHello), c.answer("hello\n"), c.say(strings.ReplaceAll(askHello, "hello", "own")), c.answer("own\n")); err != nil {
			return err
		}
	}
	return nil
}

func (s *soaking) asksOnce(c *wire, rng *rand.Rand) error {
	return errors.Join(c.say("GET /hello HTTP/1.1\r\nHost: e2e\r\nConnection: close\r\n\r\n"), c.answer("hello\n"), c.over())
}

func (s *soaking) speaksOld(c *wire, rng *rand.Rand) error {
	return errors.Join(c.say("GET /hello HTTP/1.0\r\n\r\n"), c.answer("hello\n"), c.over())
}

func (s *soaking) pipelines(c *wire, rng *rand.Rand) error {
	const many = 8
	err := c.say(strings.Repeat(askHello, many))
	for range many {
		err = errors.Join(err, c.answer("hello\n"))
	}
	return err
}

func (s *soaking) leavesPipeline(c *wire, rng *rand.Rand) error {
	err := c.say(strings.Repeat(askHello, 8))
	for range rng.IntN(3) {
		err = errors.Join(err, c.answer("hello\n"))
	}
	c.leave(rng)
	return err
}

func (s *soaking) makesNoSense(c *wire, rng *rand.Rand) error {
	if err := c.say("GET /hello HTTP/1.1\r\nHost: e2e\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.br, nil)
	if err != nil || res.StatusCode != 400 {
		return fmt.Errorf("%v, %v, want status 400", res, err)
	}
	io.Copy(io.Discard, res.Body)
	return c.over()
}

func (s *soaking) leavesHead(c *wire, rng *rand.Rand) error {
	err := c.say(askHello[:1+rng.IntN(len(askHello)-1)])
	c.leave(rng)
	return err
}

func (s *soaking) leavesUpload(c *wire, rng *rand.Rand) error {
	err := c.say(fmt.Sprintf("PUT /up HTTP/1.1\r\nHost: e2e\r\nContent-Length: %d\r\n\r\n", soakUpload))
	if err == nil {
		_, err = io.CopyN(c.TCPConn, stream(soakUpload), rng.Int64N(soakUpload))
	}
	c.leave(rng)
	return err
}

func (s *soaking) leavesAnswer(c *wire, rng *rand.Rand) error {
	err := c.say("GET /1MiB HTTP/1.1\r\nHost: e2e\r\n\r\n")
	if err == nil {
		_, err = io.CopyN(io.Discard, c.br, rng.Int64N(mib/4))
	}
	c.leave(rng)
	return err
}

func (s *soaking) downloads(c *wire, rng *rand.Rand) error { return s.download(c, 0) }

func (s *soaking) readsSlowly(c *wire, rng *rand.Rand) error { return s.download(c, time.Second) }

func (s *soaking) download(c *wire, slowly time.Duration) error {
	if err := c.say("GET /1MiB HTTP/1.1\r\nHost: e2e\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	if n, sum, err := sumUp(&pace{res.Body, after(slowly)}); err != nil || n != mib || sum != s.fileSum {
		return fmt.Errorf("%d bytes, SHA-256 %s (%v), want %s", n, sum, err, s.fileSum)
	}
	return nil
}

func (s *soaking) uploads(c *wire, rng *rand.Rand) error { return s.upload(c, rng.IntN(2) == 0, 0) }

func (s *soaking) writesSlowly(c *wire, rng *rand.Rand) error {
	return s.upload(c, rng.IntN(2) == 0, time.Second)
}

func (s *soaking) upload(c *wire, chunked bool, slowly time.Duration) error {
	req, err := http.NewRequest("PUT", "http://e2e/up", &pace{stream(soakUpload), after(slowly)})
	if err != nil {
		return err
	}
	framing := "chunked"
	if !chunked {
		req.ContentLength, framing = soakUpload, "length"
	}
	return errors.Join(req.Write(c.TCPConn), c.answer(uploaded(soakUpload, s.up, framing, "")))
}

func (s *soaking) tunnels(c *wire, rng *rand.Rand) error {
	const words = "hi\n"
	if err := c.say(upgrade); err != nil {
		return err
	}
	if res, err := http.ReadResponse(c.br, nil); err != nil || res.StatusCode != 101 {
		return fmt.Errorf("%v, %v, want status 101", res, err)
	}
	if rng.IntN(3) == 0 {
		c.leave(rng)
		return nil
	}
	err := errors.Join(c.say(words), c.CloseWrite())
	b, err2 := io.ReadAll(c.br)
	if want := words + words + fmt.Sprintf("\nechoed %d", len(words)); string(b) != want {
		err = errors.Join(err, fmt.Errorf("a tunnel brought %q, want %q", b, want))
	}
	return errors.Join(err, err2)
}

// saysNothing is answered 408 or just let go.
func (s *soaking) saysNothing(c *wire, rng *rand.Rand) error {
	err := c.say(askHello[:rng.IntN(len(askHello)-1)])
	b, err2 := io.ReadAll(c.br)
	if len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
		err = errors.Join(err, fmt.Errorf("%.80q, want a 408 or nothing", b))
	}
	return errors.Join(err, err2)
}

// asksAnyway is answered by an origin that cannot be relied on: with all of
// its answer, a visible cut or one of the proxy's own.
func asksAnyway(path string) func(*soaking, *wire, *rand.Rand) error {
	return func(s *soaking, c *wire, rng *rand.Rand) error {
		if err := c.say("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			return nil
		}
		b, err := io.ReadAll(res.Body)
		switch {
		case res.StatusCode == 200 && (err != nil || string(b) == path[1:]+"\n"):
		case err == nil && (res.StatusCode == 502 || res.StatusCode == 503 || res.StatusCode == 504):
		default:
			return fmt.Errorf("%s, %.80q (%v)", res.Status, b, err)
		}
		return nil
	}
}
