package jwt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"zproxy/filter"
	"zproxy/filter/verify"
	"zproxy/proto"
)

// Config of a Filter. One of File, SecretFile and Fetch is there.
type Config struct {
	Realm      string // visible ASCII and spaces, without quotes and backslashes
	Algorithms []string
	File       string // PEM or JSON Web Key Set
	SecretFile string // of an HMAC
	Fetch      func() ([]byte, error)
	Refresh    time.Duration // between two calls of Fetch
	Misses     time.Duration // at the least between two for keys that are not known

	Sources   []verify.Source
	Issuers   []string // one of them; none: any
	Audiences []string // one of them; none: any
	Leeway    time.Duration
	NoExpiry  bool // tokens without exp are accepted
	Required  []Requirement
	Claims    []Claim
	NameClaim string // whose value is who asks

	Identity verify.Identity

	MaxBytes int           // of a token
	Keep     time.Duration // for how long a verdict is kept at the most
	Entries  int           // verdicts that are kept
	Workers  *verify.Workers
	Now      func() time.Time
}

// Reasons of refusals.
const (
	ReasonMissing     = "no token"
	ReasonMalformed   = "token cannot be read"
	ReasonTooLong     = "token is too long"
	ReasonAlgorithm   = "token has an algorithm that is not accepted"
	ReasonKey         = "token names a key that is not known"
	ReasonSignature   = "token has a wrong signature"
	ReasonExpired     = "token has expired, or never does"
	ReasonNotYet      = "token is not valid yet"
	ReasonIssuer      = "token is of another issuer"
	ReasonAudience    = "token is for another audience"
	ReasonClaim       = "token lacks a claim, or has one that no field can have"
	ReasonUnavailable = "keys of tokens could not be got yet"
)

const (
	// keepRefused is for how long a refusal is kept.
	keepRefused = 5 * time.Second
	// maxTried is how many keys a token without kid is tried with.
	maxTried = 16
)

// Filter asks for tokens. All loops use it; Look is for one goroutine.
type Filter struct {
	cfg             Config
	parser          *jwt.Parser
	keys            atomic.Pointer[keySet] // nil: none yet
	allowed, denied *verify.Cache          // apart: guesses push out no verdict of a token that holds
	refusals        map[string]*verify.Verdict
	missing         *verify.Verdict
	malformed       *verify.Verdict
	tooLong         *verify.Verdict
	unavailable     *verify.Verdict
	file            verify.File
	source          source
	loops           verify.Loops
}

// New reads the keys. Where they come from elsewhere they are asked for by Look, and tokens wait for them.
func New(cfg Config) (*Filter, error) {
	f := &Filter{cfg: cfg, allowed: verify.NewCache(cfg.Entries), denied: verify.NewCache(cfg.Entries), refusals: map[string]*verify.Verdict{}}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(cfg.Algorithms), jwt.WithJSONNumber(), jwt.WithStrictDecoding(), jwt.WithLeeway(cfg.Leeway), jwt.WithTimeFunc(cfg.Now),
	}
	if !cfg.NoExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	f.parser = jwt.NewParser(options...)
	f.challenges()
	f.file = verify.File{Path: cfg.File + cfg.SecretFile, Max: maxKeySetBytes}
	if cfg.Fetch != nil {
		f.source.filter = f
		return f, nil
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// challenges makes the responses that refuse (RFC 6750 section 3).
func (f *Filter) challenges() {
	add := func(v *verify.Verdict, code, words string) *verify.Verdict {
		text := `Bearer realm="` + f.cfg.Realm + `"`
		if code != "" {
			text += `, error="` + code + `", error_description="` + words + `"`
		}
		f.refusals[v.Reason] = v.With(verify.Challenge(text))
		return v
	}
	const invalid = "invalid_token"
	f.missing = add(verify.Refuse(401, ReasonMissing), "", "")
	f.malformed = add(verify.Refuse(401, ReasonMalformed), invalid, "The token is malformed")
	f.tooLong = add(verify.Refuse(401, ReasonTooLong), invalid, "The token is too long")
	add(verify.Refuse(401, ReasonAlgorithm), invalid, "The algorithm is not accepted")
	add(verify.Refuse(401, ReasonKey), invalid, "The key is not known")
	add(verify.Refuse(401, ReasonSignature), invalid, "The signature is not valid")
	add(verify.Refuse(401, ReasonExpired), invalid, "The token has expired")
	add(verify.Refuse(401, ReasonNotYet), invalid, "The token is not valid yet")
	add(verify.Refuse(401, ReasonIssuer), invalid, "The issuer is not accepted")
	add(verify.Refuse(401, ReasonAudience), invalid, "The token is for another audience")
	add(verify.Refuse(403, ReasonClaim), "insufficient_scope", "The token lacks a claim")
	f.unavailable = verify.Refuse(503, ReasonUnavailable)
}

func (f *Filter) read() error {
	data, err := f.file.Read()
	if err == nil {
		parse := parseKeys
		if f.cfg.SecretFile != "" {
			parse = parseSecret
		}
		var s *keySet
		if s, err = parse(data, f.cfg.Algorithms); err == nil {
			f.keys.Store(s)
			f.file.Take()
			return nil
		}
		err = fmt.Errorf("%s: %w", f.file.Path, err)
	}
	f.file.Refuse()
	return err
}

// Look reads the file again when it has changed, or asks for keys when it is time to. An error means that the keys
// before stay in force; it is given once.
func (f *Filter) Look() (changed bool, err error) {
	if f.cfg.Fetch != nil {
		return f.source.look()
	}
	if !f.file.Due() {
		return false, nil
	}
	err = f.read()
	return err == nil, err
}

// Keys is how many there are.
func (f *Filter) Keys() int {
	if s := f.keys.Load(); s != nil {
		return len(s.keys)
	}
	return 0
}

// Workers are those that verify.
func (f *Filter) Workers() *verify.Workers { return f.cfg.Workers }

// Request lets q in, refuses it, or has it wait for who finds out.
func (f *Filter) Request(q *filter.Request) filter.Verdict {
	return f.cfg.Identity.Ask(f, &f.loops, q)
}

// Resume does what was found out.
func (f *Filter) Resume(q *filter.Request, answer any) filter.Verdict {
	return f.cfg.Identity.Decide(q, answer.(*verify.Verdict))
}

// Check gives the verdict for a request, nil if it has to be found first: see Start. It allocates nothing.
func (f *Filter) Check(h *proto.Head, d *verify.Digester, nowMs int64) (*verify.Verdict, verify.Digest) {
	token, several := verify.FindAny(f.cfg.Sources, h)
	switch {
	case several:
		return f.malformed, verify.Digest{}
	case len(token) == 0:
		return f.missing, verify.Digest{}
	case len(token) > f.cfg.MaxBytes:
		return f.tooLong, verify.Digest{}
	}
	scope := uint64(0)
	if s := f.keys.Load(); s != nil {
		scope = s.scope
	}
	d.Begin(scope)
	d.Add(token)
	digest := d.Sum()
	v := f.allowed.Find(&digest, nowMs)
	if v == nil {
		v = f.denied.Find(&digest, nowMs)
	}
	return v, digest
}

// Start has the token of a request verified that Check had no verdict for. A verdict is that of what is no token;
// without one and false, too many wait.
func (f *Filter) Start(h *proto.Head, digest *verify.Digest, waiter verify.Waiter) (*verify.Verdict, bool) {
	token, _ := verify.FindAny(f.cfg.Sources, h)
	if bytes.Count(token, []byte(".")) != 2 {
		return f.malformed, false
	}
	return nil, f.cfg.Workers.Start(digest, &task{filter: f, token: string(token)}, waiter)
}

// task is one token.
type task struct {
	filter *Filter
	token  string
	asked  bool // for keys that were not there
}

// errWait: the keys that the token names are being asked for.
var errWait = errors.New("wait")

func (t *task) Verify(flight *verify.Flight) *verify.Verdict {
	f := t.filter
	set := f.keys.Load()
	if set == nil {
		if t.wait(flight) {
			return nil
		}
		return f.unavailable
	}
	claims := jwt.MapClaims{}
	parsed, err := f.parser.ParseWithClaims(t.token, claims, func(token *jwt.Token) (any, error) {
		return t.choose(set, token, flight)
	})
	if errors.Is(err, errWait) {
		return nil
	}
	now := f.cfg.Now()
	refuse := func(reason string, keep time.Duration) *verify.Verdict {
		v := f.refusals[reason].Until(now.Add(min(keep, f.cfg.Keep)).UnixMilli())
		f.denied.Keep(flight.Digest(), v, now.UnixMilli())
		return v
	}
	if err != nil {
		reason := reasonOf(err)
		switch reason {
		case ReasonKey, ReasonNotYet:
			return refuse(reason, 0) // it may be accepted in a moment
		}
		return refuse(reason, keepRefused)
	}
	v, reason := f.judge(claims)
	if reason != "" {
		return refuse(reason, keepRefused)
	}
	until := now.Add(f.cfg.Keep)
	if exp, _ := parsed.Claims.GetExpirationTime(); exp != nil && exp.Add(f.cfg.Leeway).Before(until) {
		until = exp.Add(f.cfg.Leeway)
	}
	v.UntilMs = until.UnixMilli()
	f.allowed.Keep(flight.Digest(), v, now.UnixMilli())
	return v
}

// wait parks the flight until keys have come. False: they were asked for, or may not be yet.
func (t *task) wait(flight *verify.Flight) bool {
	if t.asked || t.filter.cfg.Fetch == nil {
		return false
	}
	t.asked = true
	return t.filter.source.wait(flight)
}

var (
	errCritical  = errors.New("crit")
	errKey       = errors.New("the key is not known")
	errAlgorithm = errors.New("the algorithm is not the key's")
)

// choose gives the keys a token may be signed with: those it names, or all, as far as they are for its algorithm.
func (t *task) choose(set *keySet, token *jwt.Token, flight *verify.Flight) (any, error) {
	if _, ok := token.Header["crit"]; ok {
		return nil, errCritical // RFC 7515 4.1.11: it must be understood, and nothing is
	}
	id, _ := token.Header["kid"].(string)
	list, known := set.find(id, token.Method.Alg())
	switch {
	case !known && t.wait(flight):
		return nil, errWait
	case !known:
		return nil, errKey
	case len(list) == 0:
		return nil, errAlgorithm
	}
	var keys jwt.VerificationKeySet
	for _, k := range list[:min(len(list), maxTried)] {
		keys.Keys = append(keys.Keys, k)
	}
	return keys, nil
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, errKey):
		return ReasonKey
	case errors.Is(err, errAlgorithm), strings.Contains(err.Error(), "signing method"):
		return ReasonAlgorithm
	case errors.Is(err, errCritical), errors.Is(err, jwt.ErrTokenMalformed):
		return ReasonMalformed
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return ReasonSignature
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenRequiredClaimMissing): // exp is the one that is
		return ReasonExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return ReasonNotYet
	}
	return ReasonMalformed
}

// judge looks at the claims of a token whose signature and times hold.
func (f *Filter) judge(claims jwt.MapClaims) (v *verify.Verdict, reason string) {
	if len(f.cfg.Issuers) > 0 {
		if issuer, err := claims.GetIssuer(); err != nil || !slices.Contains(f.cfg.Issuers, issuer) {
			return nil, ReasonIssuer
		}
	}
	if len(f.cfg.Audiences) > 0 {
		list, err := claims.GetAudience()
		if err != nil || !slices.ContainsFunc(list, func(one string) bool { return slices.Contains(f.cfg.Audiences, one) }) {
			return nil, ReasonAudience
		}
	}
	for i := range f.cfg.Required {
		if !f.cfg.Required[i].holds(claims) {
			return nil, ReasonClaim
		}
	}
	v = &verify.Verdict{}
	for i := range f.cfg.Claims {
		c := &f.cfg.Claims[i]
		value, ok := fieldValue(find(claims, c.Path))
		if !ok {
			return nil, ReasonClaim
		}
		if value != "" {
			v.Fields = append(v.Fields, verify.Field{Name: c.Field, Value: []byte(value)})
		}
	}
	if f.cfg.NameClaim != "" {
		if name, ok := fieldValue(find(claims, f.cfg.NameClaim)); ok {
			v.Name = []byte(name)
		}
	}
	return v, ""
}
