package basicauth

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

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

func basic(name, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password)) + "\r\n"
}

func bcryptOf(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func argonOf(password string) string {
	salt := []byte("saltsalt")
	return "$argon2id$v=19$m=64,t=1,p=1$" + base64.RawStdEncoding.EncodeToString(salt) + "$" +
		base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(password), salt, 1, 64, 1, 32))
}

// hashes are of "open sesame", by openssl passwd and sha1, and crypt(3).
const (
	cryptApr1 = "$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ."
	crypt5    = "$5$saltsalt$yrhPKxCqiWcCE9h0g86j6Ugz7SDFdFm.BjU.d8RaQnC"
	crypt6    = "$6$saltsalt$e/5XKibXPLqVcfjpD.ouauaJrAOL5V0uo80Lt7n7EbRdRiCx3HbQ90yjOHr.G0T.mx79PEMRy8nmtr0qSYhQp1"
	rounds    = "$6$rounds=1000$saltsalt$/IiX/CoEcxCZ9SksEXnbjfCT1LGvD4z5OpJkaFYl/T37OAwuKZ8I8BixDhruhPLkw6lS7dw/6wQWgQnGo7lLg/"
	crypt3    = "$2b$04$T8aU8rQEKJZJneQhUlf8vezYrrZ/bzCxVrwXcVVM8Vp7XI2MGsh7W"
	plainSHA  = "{SHA}W8r/fyL/UzygmbNAjq2HbA67qac="
)

type rig struct {
	*Filter
	t    testing.TB
	d    verify.Digester
	path string
	now  time.Time
}

func newRig(t testing.TB, file string) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "htpasswd"), now: time.Unix(1e9, 0)}
	r.write(file)
	var err error
	r.Filter, err = New(Config{Realm: "a", File: r.path, Keep: time.Minute, Entries: 100, Now: func() time.Time { return r.now },
		Workers: verify.NewWorkers(2, 100, time.Hour, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) write(file string) {
	r.t.Helper()
	if err := os.WriteFile(r.path, []byte(file), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

type waits chan *verify.Verdict

func (w waits) Redeem(answer any) { w <- answer.(*verify.Verdict) }

// judge waits for the verdict. hit: there was one already.
func (r *rig) judge(fields string) (v *verify.Verdict, hit bool) {
	r.t.Helper()
	h := request(r.t, fields)
	v, digest := r.Check(h, &r.d, r.now.UnixMilli())
	if v != nil {
		return v, true
	}
	w := make(waits, 1)
	v, ok := r.Start(h, &digest, w)
	if v != nil {
		return v, false
	}
	if !ok {
		r.t.Fatal("too many wait")
	}
	return <-w, false
}

func TestNamesAndPasswords(t *testing.T) {
	r := newRig(t, strings.Join([]string{
		"# users", "", "Aladdin:" + bcryptOf(t, "open sesame"), "test:" + bcryptOf(t, "123\u00a3") + ":a comment\r",
		"argon:" + argonOf("open sesame"), "apr1:" + cryptApr1, "five:" + crypt5, "six:" + crypt6, "rounds:" + rounds, "crypt:" + crypt3, "sha:" + plainSHA,
		"empty:" + bcryptOf(t, ""), "colon:" + bcryptOf(t, "a:b"),
	}, "\n"))
	if r.Users() != 11 {
		t.Errorf("%d users", r.Users())
	}
	for _, c := range []struct{ fields, name, reason string }{
		{"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", "Aladdin", ""}, // RFC 7617 section 2
		{"Authorization: Basic dGVzdDoxMjPCow==\r\n", "test", ""},                // and 2.1
		{"Authorization: basic QWxhZGRpbjpvcGVuIHNlc2FtZQ\r\n", "Aladdin", ""},
		{"authorization: BASIC  QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", "Aladdin", ""},
		{basic("argon", "open sesame"), "argon", ""},
		{basic("apr1", "open sesame"), "apr1", ""},
		{basic("five", "open sesame"), "five", ""},
		{basic("six", "open sesame"), "six", ""},
		{basic("rounds", "open sesame"), "rounds", ""},
		{basic("crypt", "open sesame"), "crypt", ""},
		{basic("sha", "open sesame"), "sha", ""},
		{basic("empty", ""), "empty", ""},
		{basic("colon", "a:b"), "colon", ""},
		{basic("Aladdin", "open Sesame"), "", ReasonRefused},
		{basic("argon", "open sesame "), "", ReasonRefused},
		{basic("apr1", ""), "", ReasonRefused},
		{basic("five", "x"), "", ReasonRefused},
		{basic("six", "x"), "", ReasonRefused},
		{basic("sha", "x"), "", ReasonRefused},
		{basic("aladdin", "open sesame"), "", ReasonRefused},
		{basic("Aladdin ", "open sesame"), "", ReasonRefused},
		{basic("nobody", "open sesame"), "", ReasonRefused},
		{basic("", ""), "", ReasonRefused},
		{basic("# users", ""), "", ReasonRefused},
		{"", "", ReasonMissing},
		{"Authorization: Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", "", ReasonMissing},
		{"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", "", ReasonMissing},
		{"Authorization: Basic\r\n", "", ReasonMissing},
		{"Authorization: Basic QWxhZGRpbg==\r\n", "", ReasonMalformed}, // no colon
		{"Authorization: Basic %%%\r\n", "", ReasonMalformed},
		{"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ== x\r\n", "", ReasonMalformed},
		{basic("Aladdin", "open\nsesame"), "", ReasonMalformed},
		{basic("Aladdin", "open sesame") + basic("Aladdin", "open sesame"), "", ReasonMalformed},
		{basic("Aladdin", strings.Repeat("a", maxCredentials)), "", ReasonMalformed},
	} {
		for round := range 2 {
			v, hit := r.judge(c.fields)
			if string(v.Name) != c.name || v.Reason != c.reason || (v.Outcome == verify.Allowed) != (c.reason == "") {
				t.Errorf("%q: %+v", c.fields, v)
			}
			if c.reason != "" && (v.Status != 401 || string(v.Fields[0].Value) != `Basic realm="a"`) {
				t.Errorf("%q: %+v", c.fields, v)
			}
			if round == 1 && !hit && c.reason != ReasonMalformed {
				t.Errorf("%q: verified again", c.fields)
			}
		}
	}
}

func TestVerdictsAreForgotten(t *testing.T) {
	r := newRig(t, "a:"+plainSHA+"\n")
	right, wrong := basic("a", "open sesame"), basic("a", "x")
	r.judge(right)
	r.judge(wrong)
	r.now = r.now.Add(keepRefused)
	if _, hit := r.judge(wrong); hit {
		t.Error("a refusal is kept for too long")
	}
	if _, hit := r.judge(right); !hit {
		t.Error("not kept")
	}
	r.now = r.now.Add(time.Minute)
	if _, hit := r.judge(right); hit {
		t.Error("kept for too long")
	}
}

func (r *rig) look() error {
	r.t.Helper()
	for range 2 { // the first sees that it has changed
		if _, err := r.Look(); err != nil {
			return err
		}
	}
	return nil
}

// A file that is no good changes nothing; a good one holds at once, whatever was verified before.
func TestFileChanges(t *testing.T) {
	r := newRig(t, "a:"+plainSHA+"\n")
	right := basic("a", "open sesame")
	r.judge(right)
	r.write("a:secret\n")
	if err := r.look(); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), r.path+":1: expected a hash") {
		t.Errorf("%v", err)
	}
	if err := r.look(); err != nil {
		t.Errorf("told twice: %v", err)
	}
	if v, hit := r.judge(right); string(v.Name) != "a" || !hit {
		t.Error("the file before is in force no more")
	}
	r.write("b:" + plainSHA + "\n\n")
	if err := r.look(); err != nil {
		t.Error(err)
	}
	if v, _ := r.judge(right); v.Reason != ReasonRefused {
		t.Error("a name that is gone is let in")
	}
	if v, _ := r.judge(basic("b", "open sesame")); string(v.Name) != "b" {
		t.Error("a new name is not let in")
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	r := newRig(t, "a:"+plainSHA+"\n")
	for _, fields := range []string{basic("a", "open sesame"), basic("a", "x"), ""} {
		r.judge(fields)
		h, now := request(t, fields), r.now.UnixMilli()
		if n := testing.AllocsPerRun(100, func() {
			if v, _ := r.Check(h, &r.d, now); v == nil {
				t.Fatal("no hit")
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations", fields, n)
		}
	}
}

func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"a", "1: expected name:hash"},
		{"\n\na:b:c", "3: expected a hash"},
		{":" + plainSHA, "1: expected a name"},
		{"a :" + plainSHA, "1: expected a name without spaces"},
		{" a:" + plainSHA, "1: expected a name without spaces"},
		{"a\tb:" + plainSHA, "1: expected a name in UTF-8"},
		{"a\xff:" + plainSHA, "1: expected a name in UTF-8"},
		{strings.Repeat("a", 257) + ":" + plainSHA, "1: expected a name of 1 to 256"},
		{"a:" + plainSHA + "\na:" + plainSHA, "2: the name is in the file before"},
		{"a:password", "passwords in clear"},
		{"a:{PLAIN}password", "passwords in clear"},
		{"a:abJnggxhB/yWI", "those of DES"},
		{"a:$1$salt$hash", "expected a hash"},
		{"a:$2y$05$short", "60 characters"},
		{"a:$2y$17$" + strings.Repeat("a", 53), "cost of at most 16"},
		{"a:$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA", "argon2i and argon2d"},
		{"a:$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA", "expected $argon2id"},
		{"a:$argon2id$v=19$m=64,t=1$c2FsdHNhbHQ$AAAA", "expected $argon2id"},
		{"a:$argon2id$v=19$m=64,p=1,t=1$c2FsdHNhbHQ$AAAA", "expected $argon2id"},
		{"a:$argon2id$v=19$m=0,t=1,p=1$c2FsdHNhbHQ$AAAA", "expected $argon2id"},
		{"a:$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHQ$AAAA", "m of at most"},
		{"a:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA", "hash of at least 16"},
		{"a:$apr1$salt$short", "22 characters"},
		{"a:$6$rounds=2000000$salt$" + strings.Repeat("a", 86), "1000 to 1000000 rounds"},
		{"a:$6$rounds=1000", "86 characters"},
		{"a:$5$" + strings.Repeat("s", 17) + "$" + strings.Repeat("a", 43), "43 characters"},
		{"a:{SHA}x", "28 characters"},
	} {
		if _, err := parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.file, err, c.want)
		}
	}
	if _, err := New(Config{File: filepath.Join(t.TempDir(), "none")}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, hash := range []string{cryptApr1, crypt5, crypt6, plainSHA, argonOf("x"), "$2y$05$" + strings.Repeat("a", 53), "$6$rounds=1000$s$h"} {
		f.Add([]byte("a:" + hash + "\n#\nb:" + hash))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := parse(data)
		if err != nil {
			return
		}
		for name := range u.hashes {
			if badName(name) != "" {
				t.Errorf("%q", name)
			}
		}
		if (u.decoy == nil) != (len(u.hashes) == 0) {
			t.Error("no decoy")
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add("QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
	f.Fuzz(func(t *testing.T, text string) {
		name, password, ok := split([]byte(text))
		if !ok {
			return
		}
		again := base64.StdEncoding.EncodeToString([]byte(name + ":" + string(password)))
		name2, password2, ok := split([]byte(again))
		if !ok || name2 != name || string(password2) != string(password) || strings.Contains(name, ":") {
			t.Errorf("%q: %q %q", text, name, password)
		}
	})
}

// A name that there is not takes the work of the most expensive hash.
func TestDecoyIsTheMostExpensiveHash(t *testing.T) {
	u, err := parse([]byte(fmt.Sprintf("a:%s\nb:%s\nc:%s\n", plainSHA, bcryptOf(t, "x"), cryptApr1)))
	if err != nil {
		t.Fatal(err)
	}
	if u.decoy != u.hashes["b"] {
		t.Errorf("%v", u.decoy)
	}
}
