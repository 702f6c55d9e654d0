package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"zproxy/config"
	"zproxy/loop"
)

// keyed are ways to send a request with a key.
var keyed = map[string]func(r *http.Request, key string){
	"header X-User": func(r *http.Request, key string) { r.Header.Set("x-user", key) },
	"cookie uid":    func(r *http.Request, key string) { r.Header.Set("Cookie", "other=1; uid="+key+"; more=2") },
	"query q":       func(r *http.Request, key string) { r.URL.RawQuery = "a=b&q=" + key },
	"path":          func(r *http.Request, key string) { r.URL.Path = "/./x/" + key },
	"source":        func(r *http.Request, key string) { r.Header.Set("X-Forwarded-For", key) },
}

// Requests with the same key go to the same endpoint, and keys to all of them.
func TestBalanceByKey(t *testing.T) {
	onAllVersions(t, func(t *testing.T, io loop.IO, v versionPair) {
		origins := named(t, v, "a", "b", "c")
		for on, set := range keyed {
			withOrigins(t, io, v, origins, ", balance: maglev, hash_on: "+on, "forwarding: {trusted_proxies: [127.0.0.1]}\n", func(t *testing.T, p *pair) {
				used := map[string]bool{}
				for i := range 30 {
					first := ""
					for range 3 {
						_, body := p.do("GET", "/", nil, func(r *http.Request) { set(r, fmt.Sprintf("10.0.0.%d", i)) })
						if first != "" && string(body) != first {
							t.Fatalf("%s: key %d goes to %s and %s", on, i, first, body)
						}
						first = string(body)
					}
					used[first] = true
				}
				if len(used) != len(origins) {
					t.Errorf("%s: 30 keys go to %v", on, used)
				}
			})
		}
	})
}

// A reload changes what the key is.
func TestKeyIsAdopted(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		v := versionPair{"h1-h1", false, false}
		origins := named(t, v, "a", "b", "c")
		withOrigins(t, io, v, origins, ", balance: ring_hash, hash_on: header X-User", "", func(t *testing.T, p *pair) {
			// split says whether requests with keys of one field go to several endpoints.
			split := func(on string) bool {
				used := map[string]bool{}
				for i := range 20 {
					_, body := p.do("GET", "/", nil, func(r *http.Request) {
						r.Header.Set("X-User", "same")
						r.Header.Set("X-Other", "same")
						r.Header.Set(on, fmt.Sprint(i))
					})
					used[string(body)] = true
				}
				return len(used) > 1
			}
			if !split("X-User") || split("X-Other") {
				t.Error("X-User is not the key")
			}
			cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, "listeners: [{address: \"127.0.0.1:8080\", protocols: [http1, h2c]}]\n"+
				"upstreams: {app: {balance: ring_hash, hash_on: header X-Other, endpoints: [{address: %q}, {address: %q}, {address: %q}]}}\n"+
				"routes: [{path: \"/*\", upstream: app}]\n", origins[0], origins[1], origins[2]))
			if err != nil {
				t.Fatal(err)
			}
			snap, err := p.registry.Compile(cfg)
			if err != nil {
				t.Fatal(err)
			}
			AskAdopt(p.peers[0].Loop, snap)
			await(t, "X-Other is the key", func() bool { return split("X-Other") && !split("X-User") })
		})
	})
}

// balance is usual, or another way that has keys of its own.
func (s *simulation) balance(usual string) string {
	rng := rand.New(rand.NewPCG(s.seed, 0xba1))
	if rng.IntN(3) != 0 {
		return usual
	}
	return []string{"random", "least_time", "maglev\n    hash_on: path", "ring_hash\n    hash_on: query q", "maglev\n    hash_on: source\n    hash_balance_factor: 120"}[rng.IntN(5)]
}
