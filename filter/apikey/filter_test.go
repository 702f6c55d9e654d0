package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zproxy/filter/verify"
	"zproxy/proto"
	"zproxy/proto/http1"
)

func request(t testing.TB, target, fields string) *proto.Head {
	t.Helper()
	h := new(proto.Head)
	lim := http1.Limits{HeadBytes: 1 << 16, Fields: 100, LineBytes: 1 << 16}
	if _, _, f := http1.ParseRequest([]byte("GET "+target+" HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n"), http1.Cursor{}, &lim, h); f != nil {
		t.Fatal(f)
	}
	return h
}

func lineOf(name, key string) string {
	sum := sha256.Sum256([]byte(key))
	return name + ":" + hex.EncodeToString(sum[:]) + "\n"
}

const (
	keyA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	keyB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	old  = "cccccccccccccccccccccccccccccccc"
)

func newFilter(t testing.TB, file string) (f *Filter, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := New(Config{File: path, Sources: []verify.Source{{Header: "x-api-key"}, {Query: "key"}, {Cookie: "key"}, {Header: "authorization", Scheme: "bearer"}}})
	if err != nil {
		t.Fatal(err)
	}
	return f, path
}

func TestKeys(t *testing.T) {
	f, _ := newFilter(t, "# keys\n\n"+lineOf("a", keyA)+lineOf("team: b", keyB)+lineOf("a", old))
	if f.Keys() != 3 {
		t.Errorf("%d keys", f.Keys())
	}
	for _, c := range []struct{ target, fields, name, reason string }{
		{"/", "X-API-Key: " + keyA + "\r\n", "a", ""},
		{"/", "x-api-key: " + old + "\r\n", "a", ""},
		{"/?key=" + keyB, "", "team: b", ""},
		{"/", "Cookie: x=y; key=" + keyB + "\r\n", "team: b", ""},
		{"/", "Authorization: Bearer " + keyB + "\r\n", "team: b", ""},
		{"/?key=" + keyB, "X-API-Key: " + keyA + "\r\n", "a", ""}, // the first that has one
		{"/?key=" + keyB, "X-API-Key: x\r\n", "", ReasonRefused},
		{"/", "X-API-Key: " + keyA + "\r\nX-API-Key: " + keyA + "\r\n", "", ReasonMalformed},
		{"/?key=" + keyA + "&key=" + keyB, "", "", ReasonMalformed},
		{"/", "X-API-Key: " + keyA + "b\r\n", "", ReasonRefused},
		{"/", "X-API-Key: " + strings.ToUpper(keyA) + "\r\n", "", ReasonRefused},
		{"/", "X-API-Key: " + strings.Repeat("a", maxKeyBytes+1) + "\r\n", "", ReasonMalformed},
		{"/", "X_API_Key: " + keyA + "\r\n", "", ReasonMissing},
		{"/", "X-API-Key:\r\n", "", ReasonMissing},
		{"/", "", "", ReasonMissing},
	} {
		v := f.Check(request(t, c.target, c.fields))
		if string(v.Name) != c.name || v.Reason != c.reason || (v.Outcome == verify.Allowed) != (c.reason == "") {
			t.Errorf("%q %q: %+v", c.target, c.fields, v)
		}
		if c.reason != "" && v.Status != 401 {
			t.Errorf("%q %q: %d", c.target, c.fields, v.Status)
		}
	}
	h := request(t, "/", "X-API-Key: "+keyA+"\r\n")
	if n := testing.AllocsPerRun(100, func() { f.Check(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFileChanges(t *testing.T) {
	f, path := newFilter(t, lineOf("a", keyA))
	look := func(file string) (err error) {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		f.Look() // sees that it has changed
		_, err = f.Look()
		return err
	}
	h := request(t, "/", "X-API-Key: "+keyA+"\r\n")
	if err := look("a:" + keyA); err == nil || strings.Contains(err.Error(), keyA) || !strings.Contains(err.Error(), path+":1: ") {
		t.Errorf("%v", err)
	}
	if v := f.Check(h); string(v.Name) != "a" {
		t.Error("the file before is in force no more")
	}
	if err := look(lineOf("b", keyB)); err != nil {
		t.Error(err)
	}
	if v := f.Check(h); v.Reason != ReasonRefused {
		t.Error("a key that is gone is let in")
	}
}

func TestBadFiles(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for _, c := range []struct{ file, want string }{
		{"a", "1: expected name:hash"},
		{"\na:x", "2: expected the SHA-256"},
		{"a:" + sum[1:], "1: expected the SHA-256"},
		{":" + sum, "1: expected a name"},
		{"a\x00:" + sum, "1: expected a name"},
		{"a :" + sum, "1: expected a name"},
		{"a:" + sum + "\nb:" + sum, "twice"},
	} {
		if _, err := parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.file, err, c.want)
		}
	}
}

func TestNewKeyIsAccepted(t *testing.T) {
	secret, line, err := NewKey("team a")
	if err != nil || len(secret) < minKeyBytes {
		t.Fatal(secret, err)
	}
	f, _ := newFilter(t, line+"\n")
	if v := f.Check(request(t, "/", "X-API-Key: "+secret+"\r\n")); string(v.Name) != "team a" {
		t.Errorf("%+v", v)
	}
	if _, _, err := NewKey("a\nb"); err == nil {
		t.Error("a name in two lines")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(lineOf("a", keyA) + "#\n" + lineOf("b", keyB)))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parse(data)
		if err != nil {
			return
		}
		for i := range k.list {
			if v := k.find(&k.list[i].sum); v != k.list[i].verdict {
				t.Fatalf("%d is not found", i)
			}
		}
	})
}
