package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	over := map[bool]*http.Client{false: &client, true: {Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}
	tcp := serve(t, &fake{})
	unix, err := Serve("unix:"+path, nil, &fake{}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	for _, c := range []struct {
		method, path, body, header string
		onUnix, onTCP              int
		says                       string
	}{
		{"POST", "/reload", "", "", 200, 200, `"\"\" of \"\", dry: false"`},
		{"POST", "/reload?dry", "", "", 200, 200, `dry: true`},
		{"POST", "/reload", "", "Origin", 403, 403, "browser"},
		{"POST", "/reload", "", "Sec-Fetch-Site", 403, 403, "browser"},
		{"GET", "/reload", "", "", 405, 405, "POST"},
		{"PUT", "/reload", "x", "", 405, 405, "POST"},
		{"PUT", "/config", "text", "", 200, 403, `\"text\" of \"\", dry: false`},
		{"PUT", "/config?dry=&file=/a/b.yaml", "text", "", 200, 403, `\"text\" of \"/a/b.yaml\", dry: true`},
		{"PUT", "/config", "wrong", "", 422, 403, "wrong <&>"},
		{"PUT", "/config", "", "", 400, 403, "no configuration"},
		{"PUT", "/config", "text", "Origin", 403, 403, "browser"},
		{"POST", "/config", "text", "", 405, 405, "PUT"},
		{"GET", "/config", "", "", 405, 405, "PUT"},
		{"PUT", "/upstreams/a%2Fb/endpoints/unix:%2Frun%2Fx.sock", `{"weight": 0}`, "", 200, 403, `"weight": 0`},
		{"PUT", "/upstreams/a%2Fb/endpoints/unix:/run/x.sock", `{"weight": 7}`, "", 200, 403, `"endpoint": "unix:/run/x.sock"`},
		{"PUT", "/upstreams/a%2Fb/endpoints/unix:/run/x.sock", `{"weight": null}`, "", 200, 403, `"weight": -1`},
		{"PUT", "/upstreams/a%2Fb/endpoints/unix:/run/x.sock", `{}`, "", 400, 403, "expected"},
		{"PUT", "/upstreams/a%2Fb/endpoints/unix:/run/x.sock", `{"weight": -1}`, "", 400, 403, "expected"},
		{"PUT", "/upstreams/a%2Fb/endpoints/unix:/run/x.sock", `{"weight": 1.5}`, "", 400, 403, "expected"},
		{"PUT", "/upstreams/a%2Fb/endpoints/unix:/run/x.sock", `{"height": 1}`, "", 400, 403, "expected"},
		{"PUT", "/upstreams/other/endpoints/1.2.3.4:5", `{"weight": 1}`, "", 422, 403, "there is no 1.2.3.4:5 at other"},
		{"PUT", "/upstreams/other", `{"weight": 1}`, "", 404, 403, "/upstreams/NAME/endpoints/ADDRESS"},
		{"PUT", "/upstreams/a/endpoints/b", `{"weight": 1}`, "Origin", 403, 403, "browser"},
		{"GET", "/upstreams/a/endpoints/b", "", "", 405, 405, "PUT"},
	} {
		for onUnix, want := range map[bool]int{true: c.onUnix, false: c.onTCP} {
			host := tcp.Addr().String()
			if onUnix {
				host = "admin"
			}
			req, err := http.NewRequest(c.method, "http://"+host+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.header != "" {
				req.Header.Set(c.header, "same-origin")
			}
			res, err := over[onUnix].Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			says := c.says
			if want != c.onUnix {
				says = "unix: socket"
			}
			if err != nil || res.StatusCode != want || !strings.Contains(string(text), says) {
				t.Errorf("%s %s, by a unix socket %v: %d, want %d; %s, %v", c.method, c.path, onUnix, res.StatusCode, want, text, err)
			}
		}
	}
}

func TestAsk(t *testing.T) {
	path := "unix:" + filepath.Join(t.TempDir(), "admin.sock")
	s, err := Serve(path, nil, &fake{}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := Ask(Target{Address: path}, Change{Text: []byte("t"), Name: "/n&m", Dry: true}, &got); err != nil || got != `"t" of "/n&m", dry: true` {
		t.Errorf("%q, %v", got, err)
	}
	if err := Ask(Target{Address: path}, Change{}, &got); err != nil || got != `"" of "", dry: false` {
		t.Errorf("%q, %v", got, err)
	}
	if err := Ask(Target{Address: path}, Change{Text: []byte("wrong")}, &got); err == nil || err.Error() != "c.yaml:1: wrong <&>" {
		t.Errorf("%v", err)
	}
	s.Close()
	if err := Ask(Target{Address: path}, Change{}, &got); err == nil || !strings.Contains(err.Error(), "no zproxy answers at "+path) {
		t.Errorf("%v", err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go http.Serve(other, http.NotFoundHandler())
	if err := Ask(Target{Address: other.Addr().String()}, Change{}, &got); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
}
