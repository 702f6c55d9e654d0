package haproxy

import (
	"sync"

	"zproxy/convert"
)

// fate is what becomes of a line. With neither text it is translated.
type fate struct {
	lost string // it has no equivalent: why
	note string // nothing to translate: why
}

const (
	byItself = "zproxy sees to that by itself"
	syslog   = "there is no syslog; the process log is on standard error, and access_log writes a file"
	tables   = "not translated yet; limits on rates and on requests at a time are filters: see docs/filters.md"
	scripts  = "scripts and agents have no equivalent"
	later    = "no equivalent yet"
	filters  = "not translated yet; write it as a filter: see docs/filters.md"
	pages    = "the file holds a response with its head; take the body out into a file of its own and name that in error_pages"
	admin    = "what the proxy counts is at the admin address: /metrics and /status"
)

var sectionFates = map[string]string{"userlist": filters, "peers": tables, "mailers": "there is no mail; metrics are for alerts", "http-errors": pages,
	"cache": "zproxy has no cache yet", "program": "other programs are systemd's to start", "fcgi-app": "zproxy speaks HTTP to origins alone", "log-forward": syslog,
	"crt-store": "certificates are named at each listener", "acme": "see listeners[].tls.acme"}

// fates are the lines that are known here, by their first word or two.
var fates = sync.OnceValue(func() map[string]fate {
	return convert.Gather(map[fate][]string{
		{}: {"mode", "bind", "log", "acl", "use_backend", "default_backend", "server", "default-server", "balance", "hash-type", "timeout connect", "timeout server", "timeout client", "timeout http-request",
			"timeout http-keep-alive", "timeout queue", "timeout check", "timeout tunnel", "option forwardfor", "option httpchk", "option httpclose", "option abortonclose", "option redispatch", "retries", "retry-on",
			"http-request redirect", "http-request deny", "http-request return", "http-request tarpit", "http-request set-header", "http-request add-header", "http-request del-header", "redirect", "http-check send", "http-check expect",
			"user", "group", "nbthread", "maxconn", "crt-base", "monitor-uri", "cookie", "disabled", "enabled", "unique-id-header", "option allbackups", "server-template", "http-request use-service", "http-request silent-drop", "http-request reject"},
		{note: byItself}: {"daemon", "option independent-streams", "unique-id-format", "id", "chroot", "pidfile", "nbproc", "cpu-map", "ulimit-n", "maxconnrate", "maxsslconn", "spread-checks", "master-worker", "description", "node", "ca-base", "hard-stop-after", "set-dumpable", "expose-fd",
			"option httplog", "option tcplog", "option dontlognull", "option dontlog-normal", "option log-health-checks", "option log-separate-errors", "option logasap", "option splice-auto", "option splice-request", "option splice-response",
			"option tcp-smart-accept", "option tcp-smart-connect", "option http-keep-alive", "option http-server-close", "option prefer-last-server", "option tcpka", "option clitcpka", "option srvtcpka", "option contstats", "option socket-stats",
			"option http-no-delay", "option http-use-htx", "option persist", "option nolinger", "option httpslog", "option http-buffer-request", "option accept-unsafe-violations-in-http-request", "option accept-invalid-http-request", "option http-restrict-req-hdr-names",
			"fullconn", "log-tag", "load-server-state-from-file", "server-state-file", "server-state-base", "busy-polling", "noepoll", "nosplice",
			"description", "backlog", ".notice", "timeout client-fin", "timeout server-fin", "timeout tarpit", "http-reuse", "pool-purge-delay", "zero-warning", "strict-limits", "presetenv", "setenv", "resetenv", "unsetenv", "h1-case-adjust", "numa-cpu-mapping", "http-check connect", "resolvers"},
		{lost: syslog}:  {"log-format", "log-format-sd", "error-log-format", "log-send-hostname", "http-request set-log-level", "http-request capture", "http-response capture", "capture", "declare"},
		{lost: tables}:  {"stick-table", "stick", "http-request track-sc0", "http-request track-sc1", "http-request track-sc2", "http-request sc-inc-gpc0", "http-request sc-set-gpt0", "tcp-request", "tcp-response", "rate-limit"},
		{lost: scripts}: {"lua-load", "lua-load-per-thread", "lua-prepend-path", "filter", "external-check", "http-request send-spoe-group", "51degrees-data-file", "wurfl-data-file", "option external-check", "insecure-fork-wanted"},
		{lost: admin}:   {"stats", "stats socket", "stats timeout", "stats uri", "stats enable", "stats auth", "stats refresh", "stats realm", "stats hide-version", "stats show-legends", "stats show-node", "stats admin", "stats show-desc", "stats maxconn", "stats bind-process", "stats http-request", "stats scope"},
		{lost: "conditions on the program and its environment are not decided here; the lines of all branches are taken"}: {".if", ".elif", ".else", ".endif"},
		{lost: pages}: {"errorfile", "errorfiles", "errorloc", "errorloc302", "errorloc303", "http-error"},
		{lost: later}: {"compression algo", "compression type", "compression offload", "compression direction", "http-request set-path", "http-request replace-path", "http-request set-uri", "http-request replace-uri", "http-request set-query",
			"http-request replace-header", "http-request replace-value", "http-response replace-header", "http-response replace-value"},
		{lost: filters}: {"http-request auth", "http-response set-header", "http-response add-header", "http-response del-header"},
		{lost: "responses of origins are passed on as they are"}:                                 {"http-response set-status", "http-response deny", "http-response redirect", "http-response return", "http-response strict-mode", "http-after-response"},
		{lost: "variables are those of a request alone"}:                                         {"http-request set-var", "http-request set-var-fmt", "http-request unset-var", "http-response set-var", "set-var", "http-request set-src", "http-request set-method", "http-request set-map", "http-request set-priority-class", "http-request set-timeout", "http-request wait-for-body", "http-request normalize-uri", "http-request do-resolve", "http-request disable-l7-retry", "http-request cache-use", "http-response cache-store", "http-request early-hint", "http-request set-tos", "http-request set-mark", "http-request set-nice", "http-request allow", "http-response allow", "http-request strict-mode"},
		{lost: "a server that is chosen by a rule of its own is an upstream of its own here"}:    {"use-server", "force-persist", "ignore-persist", "dispatch", "option transparent", "option http_proxy", "source"},
		{lost: "which requests are checked by another protocol than HTTP is not translated"}:     {"option tcp-check", "tcp-check", "option ssl-hello-chk", "option smtpchk", "option mysql-check", "option pgsql-check", "option redis-check", "option ldap-check", "http-check disable-on-404", "http-check set-var", "http-check comment"},
		{lost: "the Forwarded field is forwarding.forwarded"}:                                    {"option forwarded", "option originalto"},
		{lost: "statistics by another program's protocol"}:                                       {"monitor", "email-alert", "monitor-net"},
		{lost: "trusted names of its own are listeners[].tls and upstreams.NAME.tls: see there"}: {"ssl-server-verify", "ssl-dh-param-file", "ssl-engine", "ssl-mode-async", "issuers-chain-path", "ssl-load-extra-files", "ssl-skip-self-issued-ca"},
	})
})
