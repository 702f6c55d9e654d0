package haproxy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"zproxy/convert"
)

// check writes active health checks, where servers have any.
func (c *converter) check(p *party, servers []*server, out convert.Section) {
	var with *server
	for _, s := range servers {
		if s.has("check") {
			with = s
		}
	}
	if with == nil {
		return
	}
	for _, s := range servers {
		if !s.has("check") {
			c.doc.Note(s.at, "server", "it is checked as the others of its backend are")
		}
	}
	check := out.Section("health_check", with.at)
	httpchk := p.last("option", "httpchk")
	if httpchk == nil {
		check.Set("type", "tcp")
	} else {
		c.httpCheck(p, httpchk, check)
	}
	for _, option := range [][2]string{{"inter", "interval"}, {"fastinter", "fast_interval"}} {
		if t, ok := span(with.value(option[0])); ok && t > 0 {
			check.Set(option[1], convert.Duration(t, 10*time.Millisecond, time.Hour))
		}
	}
	for _, option := range []string{"fall", "rise"} {
		if n, err := strconv.Atoi(with.value(option)); err == nil && n > 0 {
			check.Set(option, min(n, 100))
		}
	}
	if l := p.last("timeout", "check"); l != nil {
		if t, ok := span(l.word(2)); ok && t > 0 {
			check.Set("timeout", convert.Duration(t, time.Millisecond, time.Hour), l.at)
		}
	}
	if n, err := strconv.Atoi(with.value("port")); err == nil && n > 0 && n < 65536 {
		check.Set("port", n)
	}
	if with.value("on-marked-down") == "shutdown-sessions" {
		check.Set("on_down", "end")
	}
}

// httpCheck writes what is asked for, and what passes.
func (c *converter) httpCheck(p *party, l *line, check convert.Section) {
	method, path, host := "OPTIONS", "/", "" // as HAProxy has them
	switch words := l.words[2:]; len(words) {
	case 0:
	case 1:
		path = words[0]
	default:
		method, path = words[0], words[1]
		if len(words) > 2 {
			_, rest, _ := strings.Cut(strings.Join(words[2:], " "), "Host:")
			host = strings.TrimSpace(rest)
		}
	}
	for _, send := range p.all("http-check", "send") {
		if m := send.after("meth"); m != "" {
			method = m
		}
		if u := send.after("uri"); u != "" {
			path = u
		}
		for i, w := range send.words {
			if w == "hdr" && strings.EqualFold(send.word(i+1), "host") {
				host = send.word(i + 2)
			} else if w == "hdr" || w == "body" {
				c.doc.Lost(send.at, "http-check send", "a check has no fields but Host, and no body")
			}
		}
	}
	check.Set("method", method, l.at)
	check.Set("path", path)
	if host != "" {
		check.Set("host", host)
	}
	for _, expect := range p.all("http-check", "expect") {
		words := expect.words[2:]
		for i, w := range words {
			value := ""
			if i+1 < len(words) {
				value = words[i+1]
			}
			switch {
			case w == "!" || strings.HasPrefix(w, "!"):
				c.doc.Lost(expect.at, "http-check expect", "what must not be there")
			case w == "status" && i+1 < len(words):
				check.Set("status", strings.Split(value, ","), expect.at)
			case w == "string":
				check.Set("body", regexp.QuoteMeta(value), expect.at)
			case w == "rstring":
				check.Set("body", value, expect.at)
			case slices.Contains([]string{"rstatus", "hdr", "fhdr"}, w):
				c.doc.Lost(expect.at, "http-check expect", w+" has no equivalent")
			default:
				continue
			}
			break
		}
	}
}
