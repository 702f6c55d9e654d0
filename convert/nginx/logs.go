package nginx

import (
	"strings"
	"time"

	"zproxy/convert"
	"zproxy/variables"
)

// fieldsOf are the fields of the access log by the names of nginx's variables.
var fieldsOf = map[string]string{"remote_addr": "client_ip", "time_local": "time_clf", "time_iso8601": "time", "request": "request", "request_method": "method", "request_uri": "target",
	"uri": "target", "host": "host", "http_host": "host", "server_protocol": "protocol", "status": "status", "body_bytes_sent": "bytes_out", "bytes_sent": "bytes_out", "request_length": "bytes_in",
	"request_time": "duration_s", "upstream_addr": "endpoint", "proxy_host": "upstream", "upstream_connect_time": "connect_s", "upstream_header_time": "response_s", "upstream_response_time": "response_s",
	"http_referer": "referer", "http_user_agent": "user_agent", "request_id": "request_id", "ssl_protocol": "tls_version", "ssl_cipher": "tls_suite", "ssl_server_name": "tls_sni",
	"ssl_session_reused": "tls_resumed", "ssl_client_s_dn": "client_cert_subject", "ssl_client_serial": "client_cert_serial", "ssl_client_fingerprint": "client_cert_fingerprint", "realip_remote_addr": "peer"}

// accessLog writes the first access log there is.
func (c *converter) accessLog() {
	var log *directive
	for _, d := range c.every("access_log") {
		switch {
		case d.arg(0) == "off":
			if len(c.scopes) > 0 && c.http.last("access_log") != d {
				c.doc.Lost(d.line, d.name, "there is one access log, for all requests")
			}
		case log == nil:
			log = d
		case log.arg(0) != d.arg(0) || log.arg(1) != d.arg(1):
			c.doc.Lost(d.line, d.name, "there is one access log, for all requests: "+log.arg(0))
		}
	}
	if log == nil {
		return
	}
	path := log.arg(0)
	switch {
	case strings.HasPrefix(path, "syslog:"), strings.Contains(path, "$"):
		c.doc.Lost(log.line, log.name, "the access log is one file, or standard output")
		return
	case path == "/dev/stdout":
		path = "-"
	default:
		path = c.path(path)
	}
	out := c.doc.Root.Section("access_log")
	out.Set("path", path, log.line)
	out.Set("format", "combined")
	for _, option := range log.args[min(1, len(log.args)):] {
		key, value, ok := strings.Cut(option, "=")
		switch {
		case !ok && option != "combined":
			if format := c.format(option); format != nil {
				out.Set("format", format.text, format.line)
			}
		case key == "flush":
			if t, ok := duration(value); ok {
				out.Set("flush", convert.Duration(t, 10*time.Millisecond, time.Minute))
			}
		case key == "if", key == "gzip":
			c.doc.Lost(log.line, log.name, "no equivalent of "+key+"=")
		}
	}
}

type format struct {
	text string
	line convert.Line
}

// format is a log_format as zproxy has it, nil if it cannot be one.
func (c *converter) format(name string) *format {
	for _, d := range c.http.own("log_format") {
		if d.arg(0) != name {
			continue
		}
		pieces := d.args[1:]
		if len(pieces) > 0 && strings.HasPrefix(pieces[0], "escape=") {
			pieces = pieces[1:]
		}
		text := strings.Join(pieces, "")
		seen := map[string]bool{}
		literal := expand(text, func(string) (string, bool) { return "", true })
		if strings.ContainsAny(literal, "{}") {
			c.doc.Note(d.line, d.name, "it has braces, so it is the log in JSON, with names of its own: see docs/access-log.md")
			return &format{"json", d.line}
		}
		text = expand(text, func(name string) (string, bool) {
			field := fieldsOf[name]
			switch {
			case name == "remote_user":
				return "-", true
			case field == "" || seen[field]:
				c.doc.Lost(d.line, d.name, "no field for $"+name+", or it is there already")
				return "-", true
			}
			seen[field] = true
			return "{" + field + "}", true
		})
		if _, err := variables.ParseLog(text); err != nil {
			c.doc.Lost(d.line, d.name, err.Error())
			return nil
		}
		return &format{text, d.line}
	}
	return nil
}

// processLog writes how much is logged of the process.
func (c *converter) processLog() {
	d := c.main.last("error_log")
	if d == nil {
		return
	}
	if d.arg(0) != "stderr" {
		c.doc.Note(d.line, d.name, "the process log goes to standard error, and from there to systemd's journal")
	}
	level := map[string]string{"": "error", "debug": "info", "info": "info", "notice": "info", "warn": "warn", "error": "error", "crit": "error", "alert": "error", "emerg": "error"}[d.arg(1)]
	if level == "warn" || level == "error" {
		c.doc.Root.Section("log").Set("level", level, d.line)
	}
}
