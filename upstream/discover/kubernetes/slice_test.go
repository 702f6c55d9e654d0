package kubernetes

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"zproxy/config"
	"zproxy/upstream/discover"
)

func TestEndpoints(t *testing.T) {
	const tcp = `[{"name": "http", "port": 8080, "protocol": "TCP"}]`
	of := func(name, kind, ports string, endpoints ...string) string {
		return fmt.Sprintf(`{"metadata": {"name": %q, "resourceVersion": "1"}, "addressType": %q, "ports": %s, "endpoints": [%s]}`, name, kind, ports, strings.Join(endpoints, ","))
	}
	at := func(addr, more string) string { return fmt.Sprintf(`{"addresses": [%q]%s}`, addr, more) }
	conditions := func(text string) string { return `, "conditions": {` + text + `}` }
	is := func(address string) discover.Endpoint {
		return discover.Endpoint{Address: address, Weight: 1, Labels: map[string]string{}}
	}
	ends := func(address string) discover.Endpoint { e := is(address); e.Draining = true; return e }
	with := func(e discover.Endpoint, zone string, labels ...string) discover.Endpoint {
		e.Zone = zone
		for i := 0; i < len(labels); i += 2 {
			e.Labels[labels[i]] = labels[i+1]
		}
		return e
	}
	type list = []discover.Endpoint
	for _, c := range []struct {
		what  string
		cfg   config.DiscoverKubernetes
		from  []string
		want  list
		wrong string
	}{
		{what: "no slices", want: list{}},
		{what: "no endpoints", from: []string{of("a", "IPv4", "[]")}, want: list{}},
		{what: "nulls", from: []string{`{"metadata": {"name": "a"}, "addressType": "IPv4", "ports": null, "endpoints": null}`}, want: list{}},
		{what: "conditions", from: []string{of("a", "IPv4", tcp,
			at("10.0.0.1", conditions(`"ready": true, "serving": true, "terminating": false`)),
			at("10.0.0.2", conditions(`"ready": false, "serving": false, "terminating": false`)),
			at("10.0.0.3", conditions(`"ready": false, "serving": true, "terminating": true`)),
			at("10.0.0.4", conditions(`"ready": false, "serving": false, "terminating": true`)),
			at("10.0.0.5", conditions(`"ready": true, "serving": true, "terminating": true`)), // published though not ready
			at("10.0.0.6", conditions(`"ready": null`)), at("10.0.0.7", ""),
			at("10.0.0.8", conditions(`"terminating": true, "ready": false`)))},
			want: list{is("10.0.0.1:8080"), ends("10.0.0.3:8080"), ends("10.0.0.5:8080"), is("10.0.0.6:8080"), is("10.0.0.7:8080")}},
		{what: "IPv6", from: []string{of("a", "IPv6", tcp, at("2001:DB8::1", ""))}, want: list{is("[2001:db8::1]:8080")}},
		{what: "both families", from: []string{of("a", "IPv4", tcp, at("10.0.0.1", "")), of("b", "IPv6", tcp, at("2001:db8::1", ""))}, want: list{is("10.0.0.1:8080"), is("[2001:db8::1]:8080")}},
		{what: "one family", cfg: config.DiscoverKubernetes{Addresses: "ipv6"}, from: []string{of("a", "IPv4", tcp, at("10.0.0.1", "")), of("b", "IPv6", tcp, at("2001:db8::1", ""))}, want: list{is("[2001:db8::1]:8080")}},
		{what: "names", from: []string{of("a", "FQDN", tcp, at("app.example", ""))}, wrong: "names are not looked up"},
		{what: "no address", from: []string{of("a", "IPv4", tcp, at("x", ""))}, wrong: `the address "x"`},
		{what: "in two slices", from: []string{
			of("a", "IPv4", tcp, at("10.0.0.1", conditions(`"ready": false, "serving": true, "terminating": true`)), at("10.0.0.2", "")),
			of("b", "IPv4", tcp, at("10.0.0.1", conditions(`"ready": true`)), at("10.0.0.2", conditions(`"ready": false, "serving": true, "terminating": true`)))},
			want: list{is("10.0.0.1:8080"), is("10.0.0.2:8080")}},

		{what: "a port by name", cfg: config.DiscoverKubernetes{PortName: "b"}, from: []string{of("a", "IPv4", `[{"name": "a", "port": 1}, {"name": "b", "port": 2}]`, at("10.0.0.1", ""))}, want: list{is("10.0.0.1:2")}},
		{what: "a name with other ports", cfg: config.DiscoverKubernetes{PortName: "b"}, from: []string{of("a", "IPv4", `[{"name": "b", "port": 1}]`, at("10.0.0.1", "")), of("b", "IPv4", `[{"name": "b", "port": 2}]`, at("10.0.0.2", ""))},
			want: list{is("10.0.0.1:1"), is("10.0.0.2:2")}},
		{what: "a port by number", cfg: config.DiscoverKubernetes{Port: 2}, from: []string{of("a", "IPv4", `[{"name": "a", "port": 1}, {"name": "b", "port": 2}]`, at("10.0.0.1", ""))}, want: list{is("10.0.0.1:2")}},
		{what: "all ports", cfg: config.DiscoverKubernetes{Port: 2}, from: []string{of("a", "IPv4", `[{"name": "", "port": null}]`, at("10.0.0.1", ""))}, want: list{is("10.0.0.1:2")}},
		{what: "all ports and none asked for", from: []string{of("a", "IPv4", `[{"name": "", "port": null}]`, at("10.0.0.1", ""))}, wrong: "expected port or port_name"},
		{what: "UDP beside TCP", from: []string{of("a", "IPv4", `[{"name": "q", "port": 1, "protocol": "UDP"}, {"name": "b", "port": 2, "protocol": "TCP"}]`, at("10.0.0.1", ""))}, want: list{is("10.0.0.1:2")}},
		{what: "which of two ports", from: []string{of("a", "IPv4", `[{"name": "a", "port": 1}, {"name": "b", "port": 2}]`, at("10.0.0.1", ""))}, wrong: "ports are a 1, b 2: expected port or port_name"},
		{what: "no such port", cfg: config.DiscoverKubernetes{PortName: "c"}, from: []string{of("a", "IPv4", tcp, at("10.0.0.1", ""))}, wrong: "ports are http 8080"},
		{what: "no such port in one slice", cfg: config.DiscoverKubernetes{PortName: "http"}, from: []string{of("a", "IPv4", tcp, at("10.0.0.1", "")), of("b", "IPv4", `[{"name": "a", "port": 1}]`, at("10.0.0.2", ""))}, want: list{is("10.0.0.1:8080")}},

		{what: "places", from: []string{of("a", "IPv4", tcp,
			at("10.0.0.1", `, "zone": "z1", "nodeName": "n1", "targetRef": {"kind": "Pod", "name": "p1"}`),
			at("10.0.0.2", `, "zone": "z1", "hints": {"forZones": [{"name": "z2"}]}`),
			at("10.0.0.3", `, "zone": "z1", "hints": {"forZones": [{"name": "z2"}, {"name": "z1"}]}`),
			at("10.0.0.4", `, "targetRef": {"kind": "VM", "name": "v"}, "hints": {}`))},
			want: list{with(is("10.0.0.1:8080"), "z1", "node", "n1", "zone", "z1", "pod", "p1"), with(is("10.0.0.2:8080"), "z2", "zone", "z1"), with(is("10.0.0.3:8080"), "z1", "zone", "z1"), is("10.0.0.4:8080")}},
	} {
		if c.cfg.Addresses == "" {
			c.cfg.Addresses = "any"
		}
		s := service{cfg: &c.cfg, parts: map[string]*part{}}
		for _, text := range c.from {
			var from slice
			if err := json.Unmarshal([]byte(text), &from); err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			s.put(&from)
		}
		got, err := s.endpoints()
		switch {
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: got %v, %v, expected an error with %q", c.what, got, err, c.wrong)
		case c.wrong == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%s: got %+v, %v, expected %+v", c.what, got, err, c.want)
		}
	}
}

func FuzzSlice(f *testing.F) {
	f.Add([]byte(sliceOf("a", "1", "10.0.0.1")))
	f.Add([]byte(`{"addressType": "IPv6", "ports": [{}], "endpoints": [{"addresses": [], "targetRef": null, "hints": {"forZones": [null]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var from slice
		if json.Unmarshal(text, &from) != nil {
			return
		}
		s := service{cfg: &config.DiscoverKubernetes{Addresses: "any"}, parts: map[string]*part{}}
		s.put(&from)
		list, _ := s.endpoints()
		for _, e := range list {
			if e.Weight != 1 || strings.HasSuffix(e.Address, ":0") {
				t.Errorf("%s has the endpoint %+v", text, e)
			}
		}
	})
}
