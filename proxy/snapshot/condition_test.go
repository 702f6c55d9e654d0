package snapshot

import (
	"fmt"
	"strings"
	"testing"
	"unique"

	"zproxy/config"
	"zproxy/proxy/transport"
	"zproxy/proxy/transport/credentials"
)

func TestConditions(t *testing.T) {
	sections := []*config.RouteTLS{
		{},
		{Version: "1.3"},
		{ClientCert: &config.ClientCert{}},
		{ClientCert: &config.ClientCert{CN: []string{"z", "a", "m"}}},
		{ClientCert: &config.ClientCert{DNS: []string{"two.example", "no.example"}, CN: []string{"m"}}},
		{ClientCert: &config.ClientCert{URI: []string{"x:/exact", "spiffe://td/a/*"}}},
		{Version: "1.2", ClientCert: &config.ClientCert{Fingerprint: []string{"ff", "00"}}},
	}
	c := new(config.Config)
	for _, s := range append(sections, sections...) {
		c.Routes = append(c.Routes, config.Route{TLS: s})
	}
	s := new(Snapshot)
	numbers, err := s.compileConditions(c)
	if err != nil || len(s.conditions) != len(sections) || numbers[0] != 1 || numbers[len(sections)] != 1 {
		t.Fatalf("%v, %d conditions, %v", numbers, len(s.conditions), err)
	}
	of := func(version uint16, client credentials.Client) *transport.Session {
		return &transport.Session{Version: version, Client: unique.Make(client)}
	}
	for _, row := range []struct {
		session *transport.Session
		want    string
	}{
		{nil, ""},
		{&transport.Session{Version: 0x303}, "0"},
		{&transport.Session{Version: 0x304}, "0 1"},
		{of(0x304, credentials.Client{CommonName: "b"}), "0 1 2"},
		{of(0x303, credentials.Client{CommonName: "m", Fingerprint: "00"}), "0 2 3 6"},
		{of(0x303, credentials.Client{CommonName: "m", DNS: "one.example\ntwo.example\n"}), "0 2 3 4"},
		{of(0x303, credentials.Client{CommonName: "x", DNS: "two.example\n"}), "0 2"},
		{of(0x303, credentials.Client{URI: "x:/exact\n"}), "0 2 5"},
		{of(0x303, credentials.Client{URI: "x:/exactly\nspiffe://td/a/b\n"}), "0 2 5"},
		{of(0x303, credentials.Client{URI: "spiffe://td/a\n"}), "0 2"},
	} {
		set := s.Holds(row.session)
		var got []string
		for i := range sections {
			if set>>(i+1)&1 != 0 {
				got = append(got, fmt.Sprint(i))
			}
		}
		if text := strings.Join(got, " "); text != row.want || set&1 != 0 {
			t.Errorf("%+v: %s, want %s", row.session, text, row.want)
		}
		if n := testing.AllocsPerRun(10, func() { s.Holds(row.session) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
	for i := range 64 {
		c.Routes = append(c.Routes, config.Route{TLS: &config.RouteTLS{ClientCert: &config.ClientCert{CN: []string{fmt.Sprint(i)}}}})
	}
	if _, err := new(Snapshot).compileConditions(c); err == nil {
		t.Error("71 conditions are taken")
	}
}
