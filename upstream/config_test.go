package upstream

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"zproxy/proto"
)

// Every field counts: what is forgotten in Equal would be a change of the
// configuration that a reload ignores.
func TestEqualSeesEveryField(t *testing.T) {
	base := func() Config { return Config{Name: "a", Endpoints: endpoints(1, 2)} }
	a, b := base(), base()
	if !a.Equal(&b) {
		t.Fatal("the same configuration is not equal")
	}
	v := reflect.ValueOf(&b).Elem()
	for i := range v.NumField() {
		b = base()
		name := v.Type().Field(i).Name
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("other")
		case reflect.Int, reflect.Int64:
			f.SetInt(77)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Uint8:
			f.SetUint(1)
		case reflect.Struct:
			b.Outlier.Panic = 1
		case reflect.Slice:
			b.Endpoints[1].Weight = 9
		case reflect.Map:
			b.Labels = map[string]string{"version": "v2"}
		default:
			t.Fatalf("field %s: a kind this test does not know", name)
		}
		if a.Equal(&b) || b.Equal(&a) {
			t.Errorf("field %s does not count", name)
		}
	}
	b = base()
	b.Endpoints[0].Address = "127.0.0.1:1"
	if a.Equal(&b) {
		t.Error("an endpoint's address does not count")
	}
	b = base()
	b.Endpoints[0].Weight, b.FailBackoff = 0, DefaultFailBackoff
	c := mustCluster(t, b, 1).Config()
	if !a.Equal(&b) || !c.Equal(&a) {
		t.Error("a default that is written out is a difference")
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]Address{
		"127.0.0.1:80":         {Static: "127.0.0.1:80"},
		"[::1]:80":             {Static: "[::1]:80"},
		"[fe80::1%eth0]:80":    {Static: "[fe80::1%eth0]:80"},
		"unix:/run/a.sock":     {Static: "unix:/run/a.sock"},
		"unix:@abstract":       {Static: "unix:@abstract"},
		"app:8080":             {Host: "app", Port: "8080"},
		"App_1.example.com.:1": {Host: "App_1.example.com.", Port: "1"},
		"3com.example:80":      {Host: "3com.example", Port: "80"},
	} {
		if got, err := ParseAddress(in); err != nil || got != want {
			t.Errorf("%s: %+v %v, expected %+v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ":80", "app", "app:", "app:0", "app:65536", "app:http", "app:-1", "unix:", "unix:rel",
		"127.0.0.1", "127.0.0.1:0", "127.0.0.256:80", "1.2.3:80", "[::1:80", "::1:80", "a b:80", "-a:80", "a-:80", "a..b:80",
		"http://a:80", "a/b:80", strings.Repeat("a", 64) + ":80", strings.Repeat("a.", 127) + "abc:80", "é.test:80",
	} {
		if got, err := ParseAddress(in); err == nil {
			t.Errorf("%q accepted as %+v", in, got)
		} else if !strings.Contains(err.Error(), in) {
			t.Errorf("%q: error %q does not name it", in, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no endpoint":  {},
		"too many":     {Endpoints: endpoints(make([]int, MaxEndpoints+1)...)},
		"weight":       {Endpoints: endpoints(-1)},
		"large weight": {Endpoints: endpoints(maxWeight + 1)},
		"address":      {Endpoints: []EndpointConfig{{Address: "nonsense", Weight: 1}}},
		"connections":  {Endpoints: endpoints(1), MaxConnections: -1},
		"idle":         {Endpoints: endpoints(1), MaxIdle: -1},
		"prewarm":      {Endpoints: endpoints(1), Prewarm: 1 << 31},
		"queue":        {Endpoints: endpoints(1), Queue: -1},
	} {
		cfg.Name = "named"
		if _, err := NewCluster(cfg, 1); err == nil || !strings.Contains(err.Error(), `"named"`) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	c := mustCluster(t, Config{Endpoints: endpoints(make([]int, 64)...), FailBackoff: time.Minute}, 2)
	if got := c.Config(); got.FailBackoffMax != time.Minute || got.FailResponses != DefaultFailResponses || got.Endpoints[63].Weight != 1 {
		t.Errorf("defaults: %+v", got)
	}
	if d := c.Pool(0).Acquire(1, 1, 1<<63-1, 0); d.Kind != Dial || d.Endpoint != 63 {
		t.Errorf("got %+v, expected the last of 64 endpoints", d)
	}
	for _, b := range []Balance{RoundRobin, LeastConn, P2C, LeastTime, Random, RingHash, Maglev} {
		if got, err := ParseBalance(b.String()); err != nil || got != b {
			t.Errorf("%v reads as %v, %v", b, got, err)
		}
	}
	if _, err := ParseBalance("fastest"); err == nil {
		t.Error("an unknown balance is accepted")
	}
}

func TestRepeatOf(t *testing.T) {
	for name, want := range map[string]Repeat{
		"GET": RepeatAlways, "HEAD": RepeatAlways, "OPTIONS": RepeatAlways, "TRACE": RepeatAlways, "QUERY": RepeatAlways,
		"PUT": RepeatUnseen, "DELETE": RepeatUnseen,
		"POST": RepeatNever, "PATCH": RepeatNever, "CONNECT": RepeatNever, "PURGE": RepeatNever, "query": RepeatNever, "get": RepeatNever,
	} {
		if got := RepeatOf(proto.ParseMethod([]byte(name)), []byte(name)); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
