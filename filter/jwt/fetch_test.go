package jwt

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFetch(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/keys":
			w.Write([]byte("{}"))
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		case "/long":
			w.Write(make([]byte, maxKeySetBytes+1))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for _, c := range []struct {
		path string
		ca   []byte
		want string
	}{
		{"/keys", ca, ""},
		{"/keys", pem.EncodeToMemory(&pem.Block{Type: "X"}), "no certificate"},
		{"/moved", ca, "status 302"},
		{"/long", ca, "more than"},
		{"/none", ca, "status 404"},
	} {
		fetch, err := Fetcher(s.URL+c.path, c.ca)
		data := []byte(nil)
		if err == nil {
			data, err = fetch()
		}
		if c.want == "" && (err != nil || string(data) != "{}") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q %v, want %q", c.path, data, err, c.want)
		}
	}
	fetch, err := Fetcher(s.URL+"/keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("keys of a server that nobody vouches for: %v", err)
	}
}
