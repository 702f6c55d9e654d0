package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	wantHashOn    = "path, source, or header, cookie or query and a name, e.g. header X-User"
	patternHashOn = "^(path|source|(header|cookie|query) [A-Za-z0-9._-]{1,64})$"
)

// KeyOf takes apart what hash_on says: "header", "cookie" or "query" and a name, "path" or "source".
func (u *Upstream) KeyOf() (part, name string) {
	part, name, _ = strings.Cut(u.HashOn, " ")
	return part, name
}

func checkHashOn(text string, _ int64) (want, hint string) {
	part, name, named := strings.Cut(text, " ")
	switch part {
	case "path", "source":
		if !named {
			return "", ""
		}
	case "header", "cookie", "query":
		if isName(name) {
			return "", ""
		}
	}
	return wantHashOn, ""
}

// verifyBalance checks that there is a key where it is needed, and only there.
func (d *decoder) verifyBalance(u *Upstream, n *yaml.Node, here *path) {
	byKey := u.Balance == "maglev" || u.Balance == "ring_hash"
	switch {
	case byKey && written(resolve(n), "hash_on") == nil:
		d.fail(child(n, "balance"), &path{up: here, key: "balance"}, quote(u.Balance)+" without hash_on", "hash_on beside it", "e.g. hash_on: path")
	case !byKey && u.HashOn != "":
		d.fail(child(n, "hash_on"), &path{up: here, key: "hash_on"}, quote(u.HashOn), "balance: maglev or ring_hash where there is hash_on", "")
	}
	if byKey && u.SlowStart != 0 {
		d.fail(child(n, "slow_start"), &path{up: here, key: "slow_start"}, u.SlowStart.String(), "another balance than "+u.Balance+" where there is slow_start", "a share that grows would move keys")
	}
	if !byKey && u.HashBalanceFactor != 0 {
		d.fail(child(n, "hash_balance_factor"), &path{up: here, key: "hash_balance_factor"}, "a bound", "balance: maglev or ring_hash where there is hash_balance_factor", "")
	}
}
