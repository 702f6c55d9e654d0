package nginx

import (
	"strconv"
	"strings"
	"time"

	"zproxy/convert"
)

// block writes what an upstream block says.
func (c *converter) block(block *directive, out convert.Section) {
	var servers []*directive
	for _, d := range block.block {
		switch d.name {
		case "least_conn":
			out.Set("balance", "least_conn", d.line)
		case "ip_hash":
			out.Set("balance", "maglev", d.line)
			out.Set("hash_on", "source")
			c.doc.Note(d.line, d.name, "the same client goes to the same endpoint, but another one than with nginx")
		case "hash":
			c.hash(d, out)
		case "random":
			out.Set("balance", map[bool]string{false: "random", true: "p2c"}[d.arg(0) == "two"], d.line)
		case "keepalive":
			if n, err := strconv.Atoi(d.arg(0)); err == nil && n >= 0 {
				out.Section("pool").Set("max_idle", min(n, 1<<20), d.line)
				c.doc.Note(d.line, d.name, "it is the number for one endpoint and all loops, not for all endpoints of one worker")
				if n > 1024 {
					out.Section("pool").Set("max_connections", min(n, 1<<20))
				}
			}
		case "keepalive_timeout":
			if t, ok := duration(d.arg(0)); ok {
				out.Section("pool").Set("idle_timeout", convert.Duration(t, time.Millisecond, 24*time.Hour), d.line)
			}
		case "server":
			servers = append(servers, d)
		}
	}
	c.endpoints(servers, out)
}

func (c *converter) hash(d *directive, out convert.Section) {
	key := d.arg(0)
	name, end := variable(key+" ", 0)
	on := ""
	switch {
	case name == "" || end != len(key):
	case name == "remote_addr" || name == "binary_remote_addr":
		on = "source"
	case name == "request_uri" || name == "uri":
		on = "path"
		if name == "request_uri" {
			c.doc.Note(d.line, d.name, "the query is no part of the key")
		}
	case strings.HasPrefix(name, "cookie_"):
		on = "cookie " + name[len("cookie_"):]
	case strings.HasPrefix(name, "arg_"):
		on = "query " + name[len("arg_"):]
	case strings.HasPrefix(name, "http_"):
		on = "header " + strings.ReplaceAll(name[len("http_"):], "_", "-")
	}
	if on == "" {
		c.doc.Lost(d.line, d.name, "the key is a field, a cookie, the path, a value of the query or the client's address")
		return
	}
	balance := "maglev"
	if d.arg(1) == "consistent" {
		balance = "ring_hash"
	}
	out.Set("balance", balance, d.line)
	out.Set("hash_on", on)
}

// endpoints writes the servers of an upstream block.
func (c *converter) endpoints(servers []*directive, out convert.Section) {
	weights := make([]int, len(servers))
	for i, d := range servers {
		weights[i] = 1
		for _, option := range d.args[min(1, len(d.args)):] {
			if w, ok := strings.CutPrefix(option, "weight="); ok {
				if n, err := strconv.Atoi(w); err == nil && n > 0 {
					weights[i] = n
				}
			}
		}
	}
	if convert.Weights(weights) {
		c.doc.Note(servers[0].line, "server", "weights are scaled to at most 256")
	}
	hashed := out.Has("hash_on")
	most := 0
	for i, d := range servers {
		down := false
		e := convert.NewSection()
		e.Set("address", endpoint(d.arg(0), "80"))
		if weights[i] != 1 {
			e.Set("weight", weights[i])
		}
		for _, option := range d.args[min(1, len(d.args)):] {
			key, value, _ := strings.Cut(option, "=")
			switch key {
			case "weight":
			case "backup":
				e.Set("backup", true)
			case "down":
				down = true
				c.doc.Note(d.line, "server", "it is down, so it is left out")
			case "max_fails", "fail_timeout":
				c.doc.Note(d.line, "server", key+": an endpoint that cannot be connected to is left alone for a while, longer each time; for errors in its responses see outlier_detection")
			case "max_conns":
				if n, err := strconv.Atoi(value); err == nil {
					most = max(most, n)
				}
			case "resolve":
				c.doc.Note(d.line, "server", "names are looked up again and again, see dns")
			case "slow_start":
				if t, ok := duration(value); ok && !hashed {
					out.Set("slow_start", convert.Duration(t, 0, 24*time.Hour), d.line)
				}
			default:
				c.doc.Lost(d.line, "server", "the option "+key+" has no equivalent")
			}
		}
		if !down {
			c.append(out, e, d)
		}
	}
	if !out.Has("endpoints") {
		out.Append("endpoints").Set("address", "127.0.0.1:1")
		line := convert.Line{}
		if len(servers) > 0 {
			line = servers[0].line
		}
		c.doc.Lost(line, "upstream", "it has no server that is not down, so its one endpoint is an address where nobody answers")
	}
	if most > 0 {
		pool := out.Section("pool")
		pool.Set("max_connections", min(most, 1<<20))
		if idle, err := strconv.Atoi(pool.Text("max_idle")); err == nil && idle > most {
			pool.Set("max_idle", most)
		}
	}
}

// append adds an endpoint to the list.
func (c *converter) append(out, e convert.Section, d *directive) {
	one := out.Append("endpoints", d.line)
	one.Take(e)
}

// retries writes when a request is tried again.
func (c *converter) retries(sc *scope, prefix string, block *directive, out convert.Section) {
	next, tries := sc.last(prefix+"_next_upstream"), sc.last(prefix+"_next_upstream_tries")
	if next == nil && tries == nil {
		return
	}
	n := 5
	if tries != nil {
		if t, err := strconv.Atoi(tries.arg(0)); err == nil && t > 0 {
			n = min(t-1, 5)
		}
	}
	if next != nil && next.arg(0) == "off" || n == 0 {
		line := tries
		if n != 0 {
			line = next
		}
		out.Set("retries", 0, line.line)
		return
	}
	if block != nil {
		servers := 0
		for _, d := range block.block {
			if d.name == "server" {
				servers++
			}
		}
		n = min(n, max(servers-1, 1))
	} else {
		n = min(n, 1)
	}
	on := []string{"connect", "reset", "timeout"}
	methods := "idempotent"
	if next != nil {
		on = []string{"connect"}
		for _, cause := range next.args {
			switch status, isStatus := strings.CutPrefix(cause, "http_"); {
			case isStatus:
				on = append(on, status)
			case cause == "error":
				on = append(on, "reset")
			case cause == "timeout":
				on = append(on, "timeout")
			case cause == "non_idempotent":
				methods = "all"
			case cause == "invalid_header":
				c.doc.Note(next.line, next.name, "an invalid response is not asked for again elsewhere")
			}
		}
	}
	retry := out.Section("retry")
	retry.Set("attempts", n)
	if next != nil {
		retry.Set("on", on, next.line)
	} else {
		retry.Set("on", on)
	}
	retry.Set("methods", methods)
	if d := sc.last(prefix + "_next_upstream_timeout"); d != nil {
		c.doc.Note(d.line, d.name, "tries are bounded by attempts and a budget, and each by timeouts.response or retry.per_try_timeout")
	}
}
