package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"zproxy/filter"
	"zproxy/filter/verify"
	"zproxy/proto"
	"zproxy/proto/http1"
)

func request(t testing.TB, fields string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	lim := http1.Limits{HeadBytes: 1 << 16, Fields: 100, LineBytes: 1 << 16}
	if _, _, f := http1.ParseRequest([]byte("GET / HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n"), http1.Cursor{}, &lim, h); f != nil {
		t.Fatal(f)
	}
	return h
}

type rig struct {
	*Filter
	t   testing.TB
	d   verify.Digester
	now atomic.Int64 // Unix seconds
}

// start is when tokens are looked at, unless a test says so.
const start = 1_700_000_000

func newRig(t testing.TB, keys string, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t}
	r.now.Store(start)
	cfg := Config{
		Realm: "a", Algorithms: []string{"RS256", "ES256", "EdDSA", "PS256"}, Sources: []verify.Source{{Header: "authorization", Scheme: "bearer"}},
		MaxBytes: 4096, Keep: time.Hour, Entries: 100, NameClaim: "sub", Now: func() time.Time { return time.Unix(r.now.Load(), 0) },
		Workers: verify.NewWorkers(2, 100, time.Hour, nil), Refresh: time.Minute, Misses: 10 * time.Second,
	}
	if keys != "" {
		cfg.File = filepath.Join(t.TempDir(), "keys")
		write(t, cfg.File, keys)
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.Filter, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

type waits chan *verify.Verdict

func (w waits) Redeem(answer any) { w <- answer.(*verify.Verdict) }

func (r *rig) begin(token string) (v *verify.Verdict, hit bool, w waits) {
	r.t.Helper()
	h := request(r.t, "Authorization: Bearer "+token+"\r\n")
	v, digest := r.Check(h, &r.d, r.now.Load()*1000)
	if v != nil {
		return v, true, nil
	}
	w = make(waits, 1)
	v, ok := r.Start(h, &digest, w)
	if v == nil && !ok {
		r.t.Fatal("too many wait")
	}
	return v, false, w
}

func (r *rig) judge(token string) (v *verify.Verdict, hit bool) {
	r.t.Helper()
	v, hit, w := r.begin(token)
	if v == nil {
		v = <-w
	}
	return v, hit
}

func (r *rig) want(token, reason string) *verify.Verdict {
	r.t.Helper()
	v, _ := r.judge(token)
	if v.Reason != reason || (v.Outcome == verify.Allowed) != (reason == "") {
		r.t.Errorf("%q, want %q, for %s", v.Reason, reason, token)
	}
	return v
}

// keys of the tests.
var (
	rsaKey, _          = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _           = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPublic, edKey, _ = ed25519.GenerateKey(rand.Reader)
)

func pemOf(t testing.TB, keys ...crypto.PublicKey) (text string) {
	t.Helper()
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text += string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return text
}

func sign(t testing.TB, method jwt.SigningMethod, key any, header, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func named(text string) *filter.Name { n := filter.NewName(text); return &n }

type object = map[string]any

func (r *rig) token(claims object) string {
	r.t.Helper()
	return sign(r.t, jwt.SigningMethodES256, ecKey, nil, claims)
}

func good() object { return object{"sub": "joe", "exp": start + 60} }

func with(more object) object {
	claims := good()
	for name, value := range more {
		claims[name] = value
	}
	return claims
}

// The examples of RFC 7515 A.1 to A.3, whose claims are those of RFC 7519 3.1.
func TestExamplesOfRFCs(t *testing.T) {
	const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for _, c := range []struct{ algorithm, keys, token string }{
		{"HS256", `{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + payload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
		{"RS256", `{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}]}`,
			"eyJhbGciOiJSUzI1NiJ9." + payload + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
		{"ES256", `{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`,
			"eyJhbGciOiJFUzI1NiJ9." + payload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
	} {
		r := newRig(t, c.keys, func(cfg *Config) {
			cfg.Algorithms = []string{c.algorithm}
			cfg.Issuers = []string{"joe"}
			cfg.Claims = []Claim{{named("X-Root"), "http://example.com/is_root"}}
		})
		r.now.Store(1300819379)
		v := r.want(c.token, "")
		if len(v.Fields) != 1 || string(v.Fields[0].Value) != "true" {
			t.Errorf("%s: %+v", c.algorithm, v.Fields)
		}
		if v.UntilMs != 1300819380_000 {
			t.Errorf("%s: until %d", c.algorithm, v.UntilMs)
		}
		r.now.Store(1300819381)
		r.want(c.token, ReasonExpired)
		r.want(c.token[:len(c.token)-8]+"AAAAAAAA", ReasonSignature)
	}
	// RFC 7515 A.5: an unsecured one.
	r := newRig(t, pemOf(t, rsaKey.Public()), nil)
	r.now.Store(1300819379)
	r.want("eyJhbGciOiJub25lIn0."+payload+".", ReasonAlgorithm)
}

func TestTokens(t *testing.T) {
	r := newRig(t, pemOf(t, rsaKey.Public(), ecKey.Public(), edPublic), func(cfg *Config) {
		cfg.Issuers, cfg.Audiences, cfg.Leeway = []string{"i", "j"}, []string{"app"}, 5*time.Second
		required, _ := ParseRequirement("scope=read")
		cfg.Required = []Requirement{required}
	})
	full := func(more object) object {
		claims := with(object{"iss": "i", "aud": "app", "scope": "write read"})
		for name, value := range more {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		return claims
	}
	text := base64.RawURLEncoding
	for _, c := range []struct{ token, reason string }{
		{r.token(full(nil)), ""},
		{sign(t, jwt.SigningMethodRS256, rsaKey, nil, full(nil)), ""},
		{sign(t, jwt.SigningMethodPS256, rsaKey, nil, full(nil)), ""},
		{sign(t, jwt.SigningMethodEdDSA, edKey, nil, full(nil)), ""},
		{sign(t, jwt.SigningMethodRS384, rsaKey, nil, full(nil)), ReasonAlgorithm},
		{sign(t, jwt.SigningMethodRS256, rsaKey, object{"kid": "any"}, full(nil)), ""},
		{sign(t, jwt.SigningMethodRS256, rsaKey, object{"crit": []string{"b64"}, "b64": true}, full(nil)), ReasonMalformed},
		// RFC 8725 2.1: the public key as the secret of an HMAC, and no signature at all.
		{sign(t, jwt.SigningMethodHS256, []byte(pemOf(t, rsaKey.Public())), nil, full(nil)), ReasonAlgorithm},
		{sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, full(nil)), ReasonAlgorithm},
		{text.EncodeToString([]byte(`{"alg":"NONE"}`)) + "." + text.EncodeToString([]byte(`{}`)) + ".", ReasonAlgorithm},
		{text.EncodeToString([]byte(`{"alg":7}`)) + "." + text.EncodeToString([]byte(`{}`)) + ".", ReasonAlgorithm},
		{text.EncodeToString([]byte(`{}`)) + "." + text.EncodeToString([]byte(`{}`)) + ".", ReasonAlgorithm},
		// The key is not for the algorithm of the header.
		{sign(t, jwt.SigningMethodES256, ecKey, object{"alg": "RS256"}, full(nil)), ReasonSignature},
		{r.token(full(object{"exp": start - 4})), ""},
		{r.token(full(object{"exp": start - 6})), ReasonExpired},
		{r.token(full(object{"exp": nil})), ReasonExpired},
		{r.token(full(object{"exp": "soon"})), ReasonMalformed},
		{r.token(full(object{"nbf": start + 4})), ""},
		{r.token(full(object{"nbf": start + 60})), ReasonNotYet},
		{r.token(full(object{"iss": "j"})), ""},
		{r.token(full(object{"iss": "k"})), ReasonIssuer},
		{r.token(full(object{"iss": nil})), ReasonIssuer},
		{r.token(full(object{"aud": []string{"x", "app"}})), ""},
		{r.token(full(object{"aud": "apps"})), ReasonAudience},
		{r.token(full(object{"aud": nil})), ReasonAudience},
		{r.token(full(object{"scope": "write"})), ReasonClaim},
		{r.token(full(object{"scope": nil})), ReasonClaim},
		{"a.b", ReasonMalformed},
		{"a.b.c.d", ReasonMalformed},
		{"..", ReasonMalformed},
		{"!.!.!", ReasonMalformed},
		{r.token(full(nil)) + "=", ReasonMalformed},
		{r.token(full(object{"sub": strings.Repeat("a", 4096)})), ReasonTooLong},
		{strings.Repeat(".", 2000), ReasonMalformed},
	} {
		r.want(c.token, c.reason)
	}
	// A signature of another key.
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	v := r.want(sign(t, jwt.SigningMethodES256, other, nil, full(nil)), ReasonSignature)
	if got := string(v.Fields[0].Value); v.Status != 401 || got != `Bearer realm="a", error="invalid_token", error_description="The signature is not valid"` {
		t.Errorf("%d %s", v.Status, got)
	}
	v, _ = r.Check(request(t, ""), &r.d, 0)
	if got := string(v.Fields[0].Value); v.Reason != ReasonMissing || got != `Bearer realm="a"` {
		t.Errorf("%+v", v)
	}
	if v, _ = r.Check(request(t, "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), &r.d, 0); v.Reason != ReasonMalformed {
		t.Errorf("%+v", v)
	}
}

// A verdict holds until the token expires, and not behind a change of keys.
func TestVerdictsAreKept(t *testing.T) {
	r := newRig(t, pemOf(t, ecKey.Public()), nil)
	token := r.token(good())
	r.want(token, "")
	if v, hit := r.judge(token); !hit || string(v.Name) != "joe" {
		t.Error("not kept")
	}
	h := request(t, "Authorization: Bearer "+token+"\r\n")
	if n := testing.AllocsPerRun(100, func() {
		if v, _ := r.Check(h, &r.d, start*1000); v == nil {
			t.Fatal("no hit")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	r.now.Store(start + 60)
	r.want(token, ReasonExpired)
	r.now.Store(start)
	token = r.token(with(object{"sub": "jim"}))
	r.want(token, "")
	look := func(keys string) error {
		write(t, r.cfg.File, keys)
		r.Look()
		_, err := r.Look()
		return err
	}
	if err := look("nothing"); err == nil || !strings.Contains(err.Error(), r.cfg.File+": expected public keys in PEM") {
		t.Errorf("%v", err)
	}
	if _, hit := r.judge(token); !hit {
		t.Error("a bad file has made a difference")
	}
	if err := look(pemOf(t, edPublic)); err != nil {
		t.Error(err)
	}
	r.want(token, ReasonAlgorithm)
	// Without exp a token is kept for as long as is configured.
	r = newRig(t, pemOf(t, ecKey.Public()), func(cfg *Config) { cfg.NoExpiry = true })
	if v := r.want(r.token(object{"sub": "joe"}), ""); v.UntilMs != (start+3600)*1000 {
		t.Errorf("until %d", v.UntilMs)
	}
}

func TestSecrets(t *testing.T) {
	secret := strings.Repeat("s", 32)
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, secret+"\n")
	r := newRig(t, "", func(cfg *Config) { cfg.SecretFile, cfg.Algorithms = path, []string{"HS256"} })
	r.want(sign(t, jwt.SigningMethodHS256, []byte(secret), nil, good()), "")
	r.want(sign(t, jwt.SigningMethodHS512, []byte(secret), nil, good()), ReasonAlgorithm)
	r.want(sign(t, jwt.SigningMethodHS256, []byte(secret[1:]), nil, good()), ReasonSignature)
	write(t, path, secret[1:])
	if _, err := New(Config{SecretFile: path, Algorithms: []string{"HS256"}}); err == nil || !strings.Contains(err.Error(), "31 bytes") || strings.Contains(err.Error(), secret[1:]) {
		t.Errorf("%v", err)
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func ecJWK(key *ecdsa.PublicKey, more object) object {
	point, _ := key.Bytes()
	k := object{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
	for name, value := range more {
		k[name] = value
	}
	return k
}

func setOf(t testing.TB, keys ...object) []byte {
	t.Helper()
	text, err := json.Marshal(object{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestKeySets(t *testing.T) {
	set := func(keys ...object) string { return string(setOf(t, keys...)) }
	rsaJWK := object{"kty": "RSA", "n": b64(rsaKey.N.Bytes()), "e": "AQAB"}
	ec := &ecKey.PublicKey
	for _, c := range []struct{ keys, header, reason string }{
		{set(ecJWK(ec, object{"kid": "1"})), "1", ""},
		{set(ecJWK(ec, object{"kid": "1"})), "", ""},
		{set(ecJWK(ec, object{"kid": "1"})), "2", ReasonKey},
		{set(ecJWK(ec, nil)), "2", ""},
		{set(ecJWK(ec, object{"kid": "1", "use": "sig", "alg": "ES256", "key_ops": []string{"verify"}})), "1", ""},
		{set(ecJWK(ec, object{"kid": "1", "use": "enc"}), rsaJWK), "1", ReasonAlgorithm},
		{set(ecJWK(ec, object{"kid": "1", "alg": "ES384"}), rsaJWK), "", ReasonAlgorithm},
		{set(ecJWK(ec, object{"kid": "1", "key_ops": []string{"sign"}}), rsaJWK), "", ReasonAlgorithm},
		{set(object{"kty": "new"}, ecJWK(ec, nil)), "", ""},
	} {
		r := newRig(t, c.keys, nil)
		header := object{}
		if c.header != "" {
			header["kid"] = c.header
		}
		r.want(sign(t, jwt.SigningMethodES256, ecKey, header, good()), c.reason)
	}
	for _, c := range []struct{ keys, want string }{
		{"", "expected public keys"},
		{"{", "a JSON Web Key Set"},
		{"{}", `expected "keys"`},
		{`{"keys":[]}`, "no key for"},
		{set(object{"kty": "new"}), `kty "new"`},
		{set(object{"kty": "oct", "k": "AAAA"}), "a secret of 3 bytes"},
		{set(object{"kty": "oct", "k": strings.Repeat("A", 64)}), "no key for RS256"}, // HS256 is not accepted
		{set(object{"kty": "RSA", "n": b64(rsaKey.N.Bytes()[:128]), "e": "AQAB"}), "1024 bits"},
		{set(object{"kty": "RSA", "n": b64(rsaKey.N.Bytes()), "e": "AQ"}), "exponent"},
		{set(object{"kty": "RSA", "n": "+", "e": "AQAB"}), "base64url"},
		{set(object{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}), "32 bytes"},
		{set(object{"kty": "EC", "crv": "P-256", "x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)}), "key 1"},
		{set(object{"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"}), "secp256k1"},
		{set(object{"kty": "OKP", "crv": "X25519", "x": strings.Repeat("A", 43)}), "Ed25519"},
		{string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), "-pubout"},
		{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "asn1"},
	} {
		if _, err := parseKeys([]byte(c.keys), []string{"RS256", "ES256"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.keys, err, c.want)
		}
	}
}

// server gives keys, one answer each time it is asked.
type server struct {
	calls   atomic.Int32
	answers chan func() ([]byte, error)
}

func (s *server) fetch() ([]byte, error) {
	s.calls.Add(1)
	return (<-s.answers)()
}

func (s *server) give(data []byte, err error) {
	s.answers <- func() ([]byte, error) { return data, err }
}

func newServer() *server { return &server{answers: make(chan func() ([]byte, error))} }

func (r *rig) settle(what string, is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(end) {
			r.t.Fatal(what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *source) idle() bool { s.mu.Lock(); defer s.mu.Unlock(); return !s.fetching }

// Keys are asked for in time, and at most once in a while when a token names one that is not known; who waits for
// them waits without holding up others.
func TestKeysByURL(t *testing.T) {
	s := newServer()
	r := newRig(t, "", func(cfg *Config) { cfg.Fetch = s.fetch })
	next, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	one := sign(t, jwt.SigningMethodES256, ecKey, object{"kid": "1"}, good())
	two := sign(t, jwt.SigningMethodES256, next, object{"kid": "2"}, good())
	r.Look()
	// Nobody is let in before there are keys.
	_, _, w := r.begin(one)
	s.give(nil, errors.New("away"))
	if v := <-w; v.Outcome != verify.Failed || v.Status != 503 || v.Reason != ReasonUnavailable {
		t.Errorf("%+v", v)
	}
	r.settle("no error", func() bool { return r.source.idle() })
	if _, err := r.Look(); err == nil || err.Error() != "keys of tokens: away" {
		t.Errorf("%v", err)
	}
	r.now.Add(1)
	r.Look()
	_, _, w = r.begin(one)
	s.give(setOf(t, ecJWK(&ecKey.PublicKey, object{"kid": "1"})), nil)
	if v := <-w; string(v.Name) != "joe" {
		t.Errorf("%+v", v)
	}
	r.settle("no keys", func() bool { return r.source.idle() })
	if changed, err := r.Look(); !changed || err != nil {
		t.Error(changed, err)
	}
	// A key that is not known, too soon to ask.
	calls := s.calls.Load()
	r.want(two, ReasonKey)
	if s.calls.Load() != calls {
		t.Error("asked again at once")
	}
	// Later it is, once, and others are verified meanwhile.
	r.now.Add(20)
	var all []waits
	for range 10 {
		_, _, w := r.begin(two)
		all = append(all, w)
		_, _, w = r.begin(sign(t, jwt.SigningMethodES256, ecKey, object{"kid": "none"}, good()))
		all = append(all, w)
	}
	r.want(sign(t, jwt.SigningMethodES256, ecKey, object{"kid": "1"}, good()), "")
	s.give(setOf(t, ecJWK(&ecKey.PublicKey, object{"kid": "1"}), ecJWK(&next.PublicKey, object{"kid": "2"})), nil)
	for i, w := range all {
		if v := <-w; (string(v.Name) == "joe") != (i%2 == 0) || i%2 == 1 && v.Reason != ReasonKey {
			t.Errorf("%d: %+v", i, v)
		}
	}
	if n := s.calls.Load(); n != calls+1 {
		t.Errorf("asked %d times", n-calls)
	}
	// Keys that stay the same leave verdicts in force, and a failure leaves the keys.
	scope := r.keys.Load().scope
	r.now.Add(61)
	r.settle("no look", func() bool { return r.source.idle() })
	r.Look()
	s.give(setOf(t, ecJWK(&ecKey.PublicKey, object{"kid": "1"}), ecJWK(&next.PublicKey, object{"kid": "2"})), nil)
	r.settle("no look", func() bool { return r.source.idle() })
	r.now.Add(61)
	r.Look()
	s.give([]byte("<html>"), nil)
	r.settle("no look", func() bool { return r.source.idle() })
	if _, err := r.Look(); err == nil || r.keys.Load().scope != scope {
		t.Error("keys have changed", err)
	}
}

func TestClaims(t *testing.T) {
	claims := object{}
	if err := json.Unmarshal([]byte(`{"sub":"joe","a":{"b":{"c":"d"},"b.x":"y"},"a.b":{"e":"f"},"list":["x","y"],"commas":["x,y"],"n":1.5,
		"t":true,"f":false,"null":null,"empty":"","line":"a\r\nX: y","list2":["a\nb"],"object":{"a":"\n"},"space":" a","mixed":["a",1],"utf":"\u00e9"}`), &claims); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, want string
		ok         bool
	}{
		{"sub", "joe", true}, {"a.b.c", "d", true}, {"a.b.e", "f", true}, {"a.b.x", "y", true}, {"list", "x,y", true}, {"commas", `["x,y"]`, true},
		{"t", "true", true}, {"f", "false", true}, {"null", "", true}, {"none", "", true}, {"none.x", "", true}, {"sub.x", "", true}, {"empty", "", true},
		{"line", "", false}, {"list2", `["a\nb"]`, true}, {"object", `{"a":"\n"}`, true}, {"space", "", false}, {"mixed", `["a",1]`, true}, {"utf", "\u00e9", true},
	} {
		got, ok := fieldValue(find(claims, c.path))
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %q %v", c.path, got, ok)
		}
	}
	for _, c := range []struct {
		text string
		want bool
	}{
		{"sub", true}, {"sub=joe", true}, {"sub=jo", false}, {"none", false}, {"null", false}, {"t", true}, {"t=true", true}, {"f", false}, {"f=false", true},
		{"list=x", true}, {"list=z", false}, {"list", true}, {"a.b.c=d", true}, {"object", true}, {"object=a", false},
	} {
		r, ok := ParseRequirement(c.text)
		if !ok || r.holds(claims) != c.want {
			t.Errorf("%s", c.text)
		}
	}
	for _, text := range []string{"", "=", "=x", "a="} {
		if _, ok := ParseRequirement(text); ok {
			t.Errorf("%q", text)
		}
	}
	// Only a scope is a list of words.
	words := object{"scope": "a b", "name": "a b"}
	for text, want := range map[string]bool{"scope=a": true, "name=a": false, "name=a b": true} {
		if r, _ := ParseRequirement(text); r.holds(words) != want {
			t.Errorf("%s", text)
		}
	}
}

// What a token says cannot begin another field.
func TestClaimThatIsNoFieldValue(t *testing.T) {
	r := newRig(t, pemOf(t, ecKey.Public()), func(cfg *Config) { cfg.Claims = []Claim{{named("X-Name"), "name"}} })
	r.want(r.token(with(object{"name": "a\r\nX-Admin: 1"})), ReasonClaim)
	if v := r.want(r.token(good()), ""); len(v.Fields) != 0 {
		t.Errorf("%+v", v.Fields)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add(setOf(f, ecJWK(&ecKey.PublicKey, object{"kid": "1"}), object{"kty": "RSA", "n": b64(rsaKey.N.Bytes()), "e": "AQAB"}, object{"kty": "oct", "k": strings.Repeat("A", 64)}))
	f.Add([]byte(pemOf(f, rsaKey.Public(), edPublic)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseKeys(data, Algorithms)
		if err == nil && len(s.keys) == 0 {
			t.Error("no keys and no error")
		}
	})
}

func FuzzFieldValue(f *testing.F) {
	f.Add(`{"a":["b","c,d\r\n"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var claims object
		if json.Unmarshal([]byte(text), &claims) != nil {
			return
		}
		for name := range claims {
			if value, ok := fieldValue(find(claims, name)); ok && (strings.ContainsAny(value, "\r\n\x00") || len(value) > maxFieldBytes) {
				t.Errorf("%q", value)
			}
		}
	})
}
