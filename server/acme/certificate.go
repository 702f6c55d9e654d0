package acme

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"zproxy/config"
	"zproxy/metrics"
)

// held is a certificate that there is. Immutable.
type held struct {
	config.Certificate
	leaf *x509.Certificate
}

func (h *held) serial() string { return h.leaf.SerialNumber.Text(16) }

func (h *held) life() time.Duration { return h.leaf.NotAfter.Sub(h.leaf.NotBefore) }

// authority is what a certificate needs of its issuer.
type authority interface {
	order(ctx context.Context, want wanted) (data []byte, a *advice, wait time.Duration, err error)
	ask(ctx context.Context, leaf *x509.Certificate, a *advice) error
}

// certificate is one that there is to be. One goroutine has it; State, and what is current, anybody may ask for.
type certificate struct {
	names    []string
	settings *config.ACME
	authority
	folder  folder
	log     *slog.Logger
	again   chan struct{} // holds one: somebody wants it to be tried at once
	changed func()        // current is another one

	// Of the goroutine alone.
	advice  *advice // about current
	early   float64 // how much earlier than needed it is renewed, in [0, 1)
	retry   time.Time
	last    time.Time // of the last attempt
	failed  int       // attempts since the last one that went well
	unheard int       // times that it was not said when to renew
	unsaved bool      // current is not in the folder

	mu      sync.Mutex
	current *held     // nil: there is none, and something else stands for it
	next    time.Time // when there is something to do
	state   metrics.ACMEState
}

// read takes over what is in the folder. The error says what is wrong with it.
func (c *certificate) read() error {
	h, err := c.folder.certificate(c.names)
	if err != nil || h == nil {
		return err
	}
	c.take(h, c.folder.advice(c.names, h))
	return nil
}

// take has h be the current one.
func (c *certificate) take(h *held, a *advice) {
	c.advice, c.early = a, mathrand.Float64()
	c.mu.Lock()
	c.current = h
	c.mu.Unlock()
}

// Current is the certificate that there is, nil: none yet.
func (c *certificate) Current() *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// fits says that h is what the configuration wants: another list of names, or another kind of key, is a reason to get
// a new one at once, and none to do without the old one until then.
func (c *certificate) fits(h *held) bool {
	names := slices.Clone(h.leaf.DNSNames)
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	want := slices.Clone(c.names)
	slices.Sort(names)
	slices.Sort(want)
	return slices.Equal(names, want) && keyKind(h.leaf.PublicKey) == c.settings.KeyType
}

// run keeps the certificate until ctx ends.
func (c *certificate) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due := c.due(time.Now())
		c.mu.Lock()
		c.next = due
		c.mu.Unlock()
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-c.again:
			if c.hurry(ctx) {
				break
			}
			return
		case <-ctx.Done():
			return
		}
		c.step(ctx)
		if ctx.Err() != nil {
			return
		}
	}
}

// hurry is for who asks for an attempt at once: what was put off is due, after the least pause. False: ctx has ended.
func (c *certificate) hurry(ctx context.Context) bool {
	pause := time.NewTimer(time.Until(c.last.Add(minPause)))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return false
	}
	c.retry = time.Time{}
	if c.advice != nil {
		c.advice.Ask = time.Time{}
	}
	return true
}

// due is when there is something to do.
func (c *certificate) due(now time.Time) time.Time {
	h := c.Current()
	if h == nil {
		return c.retry
	}
	due := c.renewal(h)
	if due.Before(c.retry) {
		due = c.retry
	}
	if c.unsaved && due.After(now.Add(firstPause)) {
		due = now.Add(firstPause)
	}
	if ask := c.advice.Ask; ask.Before(due) {
		due = ask
	}
	return due
}

// renewal is when h is to be replaced, whatever came of earlier attempts.
func (c *certificate) renewal(h *held) time.Time {
	if !c.fits(h) {
		return time.Time{}
	}
	return renewal(h.leaf, c.settings.RenewBefore, c.advice, c.early)
}

// step does what is due.
func (c *certificate) step(ctx context.Context) {
	now := time.Now()
	h := c.Current()
	if h != nil {
		if c.unsaved {
			c.save(h)
		}
		if !now.Before(c.advice.Ask) {
			c.consult(ctx, h)
		}
		if now.Before(c.renewal(h)) {
			return
		}
	}
	if !now.Before(c.retry) && ctx.Err() == nil && !c.adopt(h) {
		c.obtain(ctx, h)
	}
}

// consult asks the authority when to renew h. It does not matter much if that fails.
func (c *certificate) consult(ctx context.Context, h *held) {
	before := c.advice.Chosen
	if err := c.ask(ctx, h.leaf, c.advice); err != nil {
		if ctx.Err() != nil {
			return
		}
		c.unheard++
		c.advice.Ask = time.Now().Add(pause(2+c.unheard, mathrand.Float64(), 0))
		c.log.Warn("the authority does not say when to renew", "error", err.Error(), "renewal", c.renewal(h).UTC().Format(time.RFC3339))
		return
	}
	c.unheard = 0
	if !c.advice.Chosen.Equal(before) {
		c.log.Info("the authority says when to renew", "renewal", c.renewal(h).UTC().Format(time.RFC3339))
	}
	if err := c.folder.keepAdvice(c.names, c.advice); err != nil {
		c.log.Warn("what the authority says of the renewal is not kept, it is asked again after a restart", "error", err.Error())
	}
}

// adopt takes over a certificate that another instance has put into the folder in the meantime: in the place of h,
// which may be nil.
func (c *certificate) adopt(h *held) bool {
	other, err := c.folder.certificate(c.names)
	if err != nil || other == nil || !c.fits(other) || config.ValidityFault(other.leaf, time.Now()) != "" {
		return false
	}
	if h != nil && !other.leaf.NotAfter.After(h.leaf.NotAfter) {
		return false
	}
	c.take(other, c.folder.advice(c.names, other))
	c.mu.Lock()
	c.state.Failing = false
	c.mu.Unlock()
	c.succeed("another instance has put a certificate into the folder", other)
	return true
}

// likelySize is what a file of key and chain has at the most.
const likelySize = 16 << 10

// obtain gets a certificate in the place of h, which may be nil.
func (c *certificate) obtain(ctx context.Context, h *held) {
	c.last = time.Now()
	var replaces *x509.Certificate
	life := time.Duration(0)
	if h != nil {
		replaces, life = h.leaf, h.life()
	}
	var data []byte
	var a *advice
	var wait time.Duration
	err := c.folder.writable(certificateFile(c.names), likelySize)
	if err == nil {
		data, a, wait, err = c.order(ctx, wanted{c.names, c.settings, replaces})
	}
	var next *held
	if err == nil {
		next, err = c.judge(data)
	}
	if err != nil {
		if ctx.Err() == nil {
			c.fail(err, max(pause(c.failed+1, mathrand.Float64(), life), min(wait, longestWait)))
		}
		return
	}
	if a == nil {
		a = &advice{Ask: askAfter(time.Now(), time.Time{})}
	}
	a.Serial = next.serial()
	c.take(next, a)
	c.failed, c.unsaved = 0, true
	c.save(next)
	c.mu.Lock()
	c.state.Issued++
	c.mu.Unlock()
	c.succeed("certificate is there", next)
}

// judge makes a certificate of what the authority has sent. One that is not what was asked for would be asked for
// again at once, and again.
func (c *certificate) judge(data []byte) (*held, error) {
	h, err := hold(c.folder.path(certificateFile(c.names)), data)
	if err != nil {
		return nil, err
	}
	if !c.fits(h) {
		return nil, fmt.Errorf("the authority has sent a certificate for %s, with a key of another kind or for other names than ordered", strings.Join(h.leaf.DNSNames, " "))
	}
	if why := config.ValidityFault(h.leaf, time.Now().Add(clockTolerance)); why != "" {
		return nil, fmt.Errorf("the authority has sent a certificate that is %s by the clock of this machine", why)
	}
	return h, nil
}

// clockTolerance is how far this machine's clock may be behind the authority's.
const clockTolerance = 5 * time.Second

// save puts the current certificate into the folder. Where that fails it is in use all the same, and tried again.
func (c *certificate) save(h *held) {
	if err := c.folder.write(certificateFile(c.names), h.CertPEM); err != nil {
		c.count(err)
		c.log.Error("the new certificate is in use, and lost at the end of this process: it cannot be kept", "error", err.Error())
		return
	}
	c.unsaved = false
	c.mu.Lock()
	c.state.Failing = c.failed > 0
	c.mu.Unlock()
	if err := c.folder.keepAdvice(c.names, c.advice); err != nil {
		c.log.Warn("what the authority says of the renewal is not kept, it is asked again after a restart", "error", err.Error())
	}
}

func (c *certificate) succeed(what string, h *held) {
	// Whatever it says of itself, or the authority of it: not again at once.
	c.failed, c.retry = 0, time.Now().Add(max(minPause, min(h.life()/3, time.Hour)))
	c.log.Info(what, "until", h.leaf.NotAfter.UTC().Format(time.RFC3339), "renewal", c.renewal(h).UTC().Format(time.RFC3339), "file", h.Cert)
	c.changed()
}

func (c *certificate) fail(err error, wait time.Duration) {
	c.failed++
	c.retry = time.Now().Add(wait)
	c.count(err)
	reason := reasonOf(err)
	in := "the old one stays in use"
	if c.Current() == nil {
		in = "a self-signed one is in use"
	}
	args := []any{"reason", reason, "error", err.Error(), "attempt", c.failed, "next", c.retry.UTC().Format(time.RFC3339)}
	if hint := hintFor(reason, c.settings.Challenge); hint != "" {
		args = append(args, "hint", hint)
	}
	c.log.Error("no certificate from the authority, "+in, args...)
}

// count notes a failure for the metrics.
func (c *certificate) count(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Failing = true
	if c.state.Failures == nil {
		c.state.Failures = map[string]uint64{}
	}
	c.state.Failures[reasonOf(err)]++
}
