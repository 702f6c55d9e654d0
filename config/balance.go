package config

import (
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	wantHashOn    = "path, source, or header, cookie or query and a name, e.g. header X-User"
	patternHashOn = "^(path|source|(header|cookie|query) [A-Za-z0-9._-]{1,64})$"
)

const (
	maxPriority     = 15
	wantZone        = "a zone, e.g. eu-1a, of at most 64 letters, digits and ._/:-"
	patternZoneName = "^[A-Za-z0-9._/:-]{1,64}$"
	patternZone     = "^(\\$[A-Za-z_][A-Za-z0-9_]*|[A-Za-z0-9._/:-]{1,64})$"
)

func isZone(text string) bool {
	return text != "" && len(text) <= 64 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:-") == ""
}

func checkZone(text string, _ int64) (want, hint string) {
	if name, ok := strings.CutPrefix(text, "$"); !isZone(text) && (!ok || !isZone(name)) {
		return wantZone, ""
	}
	return "", ""
}

// verifyZone has the zone of the process, by a variable if that is what is asked for, known to all upstreams.
func (d *decoder) verifyZone(c *Config, root *yaml.Node) {
	if name, ok := strings.CutPrefix(c.Zone, "$"); ok {
		if c.Zone = os.Getenv(name); !isZone(c.Zone) {
			found := quote(c.Zone)
			if c.Zone == "" {
				found = "nothing"
			}
			d.fail(child(root, "zone"), &path{key: "zone"}, found+" in the environment variable "+name, wantZone, "set it where the process is started, or write the zone itself")
		}
	}
	for i := range c.Upstreams {
		c.Upstreams[i].Zone = c.Zone
	}
}

// verifyTiers checks what endpoints say of their preference.
func (d *decoder) verifyTiers(u *Upstream, n *yaml.Node, here *path) {
	for i := range u.Endpoints {
		e, at := &u.Endpoints[i], &path{up: &path{up: here, key: "endpoints"}, index: i}
		if i >= len(n.Content) {
			return // reported already
		}
		if place := resolve(n.Content[i]); e.Backup && written(place, "priority") != nil {
			d.fail(child(place, "priority"), &path{up: at, key: "priority"}, "priority beside backup", "one of them", "endpoints for backup come behind all priorities")
		} else if strings.HasPrefix(e.Zone, "$") {
			d.fail(child(place, "zone"), &path{up: at, key: "zone"}, quote(e.Zone), wantZone, "variables are for the zone of the process")
		}
	}
}

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
