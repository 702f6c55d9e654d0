package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// base is valid; cases append to it or are whole files of their own.
const base = `listeners: [{address: "127.0.0.1:8080"}]
upstreams: {app: {endpoints: [{address: "127.0.0.1:9000"}]}}
routes: [{path: "/*", upstream: app}]
`

// whole files.
const (
	listener = "listeners: [{address: \"127.0.0.1:8080\"}]\n"
	fixed    = "routes: [{path: /, respond: {}}]\n"
	dial     = "upstreams: {app: {endpoints: [{address: \"127.0.0.1:9000\"}]}}\n"
)

// checked goes on with a health check.
const found = listener + fixed + "upstreams: {a: {discover: "

const retried = listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\"}], retry: "

const checked = listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\"}], health_check: "

// goldenErrors says for each file what Parse says, "f:" standing for the name and one message on a line.
var goldenErrors = []struct {
	name, file, want string
}{
	// The file as a whole.
	{"empty", "", `f:1:1: found an empty file, expected a configuration: at least listeners and routes`},
	{"comments only", "# nothing\n", `f:1:1: found an empty file, expected a configuration: at least listeners and routes`},
	{"null", "~\n", `f:1:1: found an empty file, expected a configuration: at least listeners and routes`},
	{"empty object", "{}", `f:1:1: listeners: found nothing, expected a list of 1 to 256 entries, each with the keys address, protocols, tls, proxy_protocol, interim, socket (this key is required)
f:1:1: routes: found nothing, expected a list of 1 to 1048576 entries, each with the keys host, path, methods, listener, tls, interim, max_stream_duration, upstream, subset, subset_fallback, split, sticky, fallback, priority, respond, redirect, websocket, filters (this key is required)`},
	{"a list", "- a\n", `f:1:1: found a list, expected a mapping with the keys loops, io, batch_wait, core_dumps, zone, buffers, listeners, upstreams, routes, filters, hosts, limits, http2, forwarding, access_log, log, error_pages, shutdown, reload, dns, admin, user, landlock, group`},
	{"text", "hello", `f:1:1: found "hello", expected a mapping with the keys loops, io, batch_wait, core_dumps, zone, buffers, listeners, upstreams, routes, filters, hosts, limits, http2, forwarding, access_log, log, error_pages, shutdown, reload, dns, admin, user, landlock, group`},
	{"two documents", base + "---\na: 1\n", `f:4:1: found a second document, expected one document in a file (remove the line "---" and what follows)`},
	{"tab", "limits:\n\theaders: 100\n", `f:2:1: found a syntax error: found character that cannot start any token, expected valid YAML (indent with spaces, not tabs)`},
	{"unquoted wildcard", "routes:\n  - {host: *.example.com, path: /}\n", `f:2:12: found a syntax error: did not find expected alphabetic or numeric character, expected valid YAML (a value that begins with "*" must be in quotes, e.g. "*.example.com")`},
	{"unknown alias", base + "limits: *common\n", `f:4:9: found a syntax error: unknown anchor 'common' referenced, expected valid YAML (a value that begins with "*" must be in quotes, e.g. "*.example.com")`},
	{"unquoted IPv6", "listeners:\n  - address: [::]:8080\n", `f:2:14: found a syntax error: did not find expected node content, expected valid YAML (an address that begins with "[" must be in quotes, e.g. "[::]:8080")`},
	{"unquoted IPv6 with digits", "listeners:\n  - address: [::1]:8080\n", `f:2:14: found a syntax error: did not find expected node content, expected valid YAML (an address that begins with "[" must be in quotes, e.g. "[::]:8080")`},
	{"colon in value", "io: a: b\n", `f:1:1: found a syntax error: mapping values are not allowed in this context, expected valid YAML (look for a missing line break, wrong indentation, or a value with ": " that needs quotes)`},
	{"wrong indentation, far down", base + "limits:\n    headers: 100\n    connections: 5\n  body_bytes: 0\n", `f:7:3: found a syntax error: did not find expected key, expected valid YAML (this line is indented like none of those above it)`},
	{"wrong indentation of a list", "listeners:\n    - address: a\n    - address: b\n   - address: c\n", `f:4:4: found a syntax error: did not find expected key, expected valid YAML (this line is indented like none of those above it)`},
	{"bracket not closed", base + "limits: {headers: 100\nio: auto\n", `f:4:1: found a syntax error: did not find expected ',' or '}', expected valid YAML (a bracket or brace that opens here is not closed)`},
	{"quote not closed", base + "io: \"auto\n", `f:4:1: found a syntax error: found unexpected end of stream, expected valid YAML (a quote that opens here is not closed)`},
	{"control character", base + "io: au\x01to\n", `f:4:7: found a syntax error: control characters are not allowed, expected valid YAML (the byte 0x01)`},
	{"not UTF-8", base + "io: \xe9\n", `f:4:5: found a syntax error: incomplete UTF-8 octet sequence, expected valid YAML (save the file as UTF-8)`},
	{"JSON, not UTF-8", "{\"io\": \"\xe9\"}", `f:1:9: found a syntax error: invalid trailing UTF-8 octet, expected valid YAML (save the file as UTF-8)`},
	{"broken JSON", `{"io": "auto",, }`, `f:1:1: found a syntax error: did not find expected node content, expected valid YAML`},

	// Keys.
	{"unknown key", base + "limit: {}\n", `f:4:1: limit: found an unknown key, expected one of loops, io, batch_wait, core_dumps, zone, buffers, listeners, upstreams, routes, filters, hosts, limits, http2, forwarding, access_log, log, error_pages, shutdown, reload, dns, admin, user, landlock, group (did you mean "limits"?)`},
	{"unknown nested", base + "limits: {keep_alive_timeout: 5s}\n", `f:4:10: limits.keep_alive_timeout: found an unknown key, expected one of header_bytes, headers, body_bytes, request_header_timeout, keepalive_timeout, request_body_timeout, send_timeout, min_rate, half_close, lingering_timeout, lingering_time, connections, requests_per_connection (did you mean "keepalive_timeout"?)`},
	{"unknown, nothing like it", base + "dns: {zzzzzzz: 1}\n", `f:4:7: dns.zzzzzzz: found an unknown key, expected one of interval`},
	{"shortened key", "listeners: [{addr: \"127.0.0.1:8080\"}]\n" + fixed, `f:1:14: listeners[0].addr: found an unknown key, expected one of address, protocols, tls, proxy_protocol, interim, socket (did you mean "address"?)`},
	{"nginx's word", base + "worker_processes: 4\n", `f:4:1: worker_processes: found an unknown key, expected one of loops, io, batch_wait, core_dumps, zone, buffers, listeners, upstreams, routes, filters, hosts, limits, http2, forwarding, access_log, log, error_pages, shutdown, reload, dns, admin, user, landlock, group (see loops)`},
	{"HAProxy's word", base + "maxconn: 4\n", `f:4:1: maxconn: found an unknown key, expected one of loops, io, batch_wait, core_dumps, zone, buffers, listeners, upstreams, routes, filters, hosts, limits, http2, forwarding, access_log, log, error_pages, shutdown, reload, dns, admin, user, landlock, group (see limits.connections and upstreams.NAME.pool.max_connections)`},
	{"TLS", "listeners: [{address: \"127.0.0.1:8080\", tls: {}}]\n" + fixed, `f:1:46: listeners[0].tls.certificates: found nothing, expected certificates, or acme, which gets them (one of the two is required)`},
	{"h2c in TLS", "listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c], tls: {certificates: [{cert: a, key: b}]}}]\n" + fixed,
		`f:1:53: listeners[0].protocols[0]: found "h2c", expected h2 where there is tls (h2c is HTTP/2 without TLS)`},
	{"TLS in small blocks", "buffers: {block: 8KiB}\nlisteners: [{address: \"127.0.0.1:8080\", tls: {certificates: [{cert: a, key: b}]}}]\n" + fixed,
		`f:2:46: listeners[0].tls: found tls with blocks of 8KiB, expected buffers.block of 16KiB or more (a record of TLS has up to 16 KiB)`},
	{"upstream h2c in TLS", listener + fixed + "upstreams: {a: {protocol: h2c, tls: {}, endpoints: [{address: \"h:1\"}]}}\n",
		`f:3:27: upstreams.a.protocol: found "h2c", expected h2 where there is tls (h2c is HTTP/2 without TLS)`},
	{"port in server_name", listener + fixed + "upstreams: {a: {tls: {server_name: \"a:1\"}, endpoints: [{address: \"h:1\"}]}}\n",
		`f:3:36: upstreams.a.tls.server_name: found "a:1", expected a host name without a port`},
	{"health check of no kind", checked + "{type: ping}}}\n", `f:3:69: upstreams.a.health_check.type: found "ping", expected one of http, tcp, grpc`},
	{"health check is null", checked + "}}\n", `f:3:62: upstreams.a.health_check: found nothing, expected a mapping with the keys type, interval, fast_interval, timeout, fall, rise, jitter, initial, on_down, method, path, host, status, body, service, port, address, tls`},
	{"health check by tcp with a path", checked + "{type: tcp, path: /x}}}\n", `f:3:80: upstreams.a.health_check.path: found "/x", expected type: http with it (type is tcp)`},
	{"health check of a service", checked + "{service: x}}}\n", `f:3:72: upstreams.a.health_check.service: found "x", expected type: grpc with it (type is http)`},
	{"health check's status", checked + "{status: [2xx]}}}\n", `f:3:72: upstreams.a.health_check.status[0]: found "2xx", expected a status such as 200, or a range such as "200-399"`},
	{"health check's backward status", checked + "{status: [299-200]}}}\n", `f:3:72: upstreams.a.health_check.status[0]: found "299-200", expected a status such as 200, or a range such as "200-399" (the smaller number comes first)`},
	{"health check's expression", checked + "{body: '('}}}\n", "f:3:69: upstreams.a.health_check.body: found \"(\", expected a regular expression (RE2) (missing closing ): `(`)"},
	{"health check that is faster at rest", checked + "{interval: 1s, fast_interval: 2s}}}\n", `f:3:92: upstreams.a.health_check.fast_interval: found 2s, expected at most interval, which is 1s`},
	{"health check with two ports", checked + "{port: 5, address: '127.0.0.1:6'}}}\n", `f:3:69: upstreams.a.health_check.port: found 5, expected address or port, not both (address has a port of its own)`},
	{"health check at a name", checked + "{address: 'name.test:6'}}}\n", `f:3:72: upstreams.a.health_check.address: found "name.test:6", expected an address "ip:port", "[ip6]:port" or "unix:/path" (names are not looked up here)`},
	{"endpoints and discover", found + "{file: {path: x}}, endpoints: [{address: \"h:1\"}]}}\n", `f:3:57: upstreams.a.endpoints: found a list, expected endpoints or discover, not both`},
	{"discover without a kind", found + "{empty: drain}}}\n", `f:3:27: upstreams.a.discover: found none of them, expected exactly one of file, dns, consul, kubernetes`},
	{"discover dns without a port", found + "{dns: {name: h}}}}\n", `f:3:40: upstreams.a.discover.dns: found no port, expected port with records: address (addresses have no ports)`},
	{"discover srv with a port", found + "{dns: {name: h, records: srv, port: 80}}}}\n", `f:3:63: upstreams.a.discover.dns.port: found 80, expected no port with records: srv (SRV records have ports of their own)`},
	{"discover a name that is none", found + "{dns: {name: \"a..b\", port: 80}}}}\n", `f:3:40: upstreams.a.discover.dns.name: found "a..b", expected a name, e.g. app.internal or _http._tcp.app.internal (letters, digits, - and _, at most 63 of them between two dots)`},
	{"discover with a name server by name", found + "{dns: {name: h, port: 80, servers: [ns]}}}}\n", `f:3:63: upstreams.a.discover.dns.servers[0]: found "ns", expected the address of a name server, e.g. 10.0.0.53 or "[2001:db8::53]:5353"`},
	{"discover consul without a service", found + "{consul: {tags: [a]}}}}\n", `f:3:36: upstreams.a.discover.consul.service: found nothing, expected the name of a service (this key is required)`},
	{"discover consul with a path for a name", found + "{consul: {service: a/b}}}}\n", `f:3:46: upstreams.a.discover.consul.service: found "a/b", expected the name of a service (without / and spaces)`},
	{"discover consul at a path", found + "{consul: {service: s, url: \"http://h/v1\"}}}}\n", `f:3:54: upstreams.a.discover.consul.url: found "http://h/v1", expected a URL with a host and no path, e.g. https://consul.internal:8501`},
	{"discover consul with a token in the URL", found + "{consul: {service: s, url: \"https://t@h\"}}}}\n", `f:3:54: upstreams.a.discover.consul.url: found "https://t@h", expected a URL with a host and no path, e.g. https://consul.internal:8501 (a token goes into token_file)`},
	{"discover consul with TLS in clear", found + "{consul: {service: s, tls: {}}}}}\n", `f:3:54: upstreams.a.discover.consul.tls: found tls with "http://127.0.0.1:8500", expected a url that begins with https`},
	{"discover kubernetes without a service", found + "{kubernetes: {port: 80}}}}\n", `f:3:40: upstreams.a.discover.kubernetes.service: found nothing, expected the name of an object in Kubernetes (this key is required)`},
	{"discover kubernetes with a path for a name", found + "{kubernetes: {service: a, namespace: A/b}}}}\n", `f:3:64: upstreams.a.discover.kubernetes.namespace: found "A/b", expected the name of an object in Kubernetes (lower case letters, digits, - and .)`},
	{"discover kubernetes with two ports", found + "{kubernetes: {service: a, port: 80, port_name: http}}}}\n", `f:3:59: upstreams.a.discover.kubernetes.port: found 80 beside port_name, expected port or port_name, not both`},
	{"discover kubernetes with a context of nothing", found + "{kubernetes: {service: a, context: b}}}}\n", `f:3:62: upstreams.a.discover.kubernetes.context: found "b" without kubeconfig, expected kubeconfig with it`},
	{"discover with protocol auto", found + "{file: {path: x}}, protocol: auto, tls: {server_name: h}}}\n", `f:3:56: upstreams.a.protocol: found "auto", expected http1, h2c or h2 with discover (what endpoints agree to is asked of those that are listed)`},
	{"discover with TLS and no name", found + "{file: {path: x}}, tls: {}}}\n", `f:3:51: upstreams.a.tls: found no server_name, expected server_name with discover (endpoints that are found have addresses, and certificates are for names)`},
	{"retry on what it cannot be", retried + "{on: [reset, 303]}}}\n", `f:3:68: upstreams.a.retry.on[1]: found 303, expected connect, reset, timeout, or a status such as 503 or a range such as "500-599"`},
	{"retry on a backward range", retried + "{on: [\"599-500\"]}}}\n", `f:3:61: upstreams.a.retry.on[0]: found "599-500", expected connect, reset, timeout, or a status such as 503 or a range such as "500-599" (the smaller number comes first)`},
	{"retry with a time for what is not tried again", retried + "{on: [503], per_try_timeout: 1s}}}\n", `f:3:84: upstreams.a.retry.per_try_timeout: found 1s, expected timeout in on (without it a try has timeouts.response)`},
	{"retry and retries", retried + "{}, retries: 2}}\n", `f:3:68: upstreams.a.retries: found 2, expected retries or retry, not both (attempts of retry are the same)`},
	{"health check's path", checked + "{path: '/a b'}}}\n", `f:3:69: upstreams.a.health_check.path: found "/a b", expected a path such as /healthz or /ready?full=1 (what is not ASCII is percent-encoded)`},
	{"priority and backup", listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\", backup: true, priority: 1}]}}\n", `f:3:70: upstreams.a.endpoints[0].priority: found priority beside backup, expected one of them (endpoints for backup come behind all priorities)`},
	{"priority too large", listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\", priority: 16}]}}\n", `f:3:56: upstreams.a.endpoints[0].priority: found 16, expected a whole number up to 15`},
	{"endpoint's zone is a variable", listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\", zone: $ZONE}]}}\n", `f:3:52: upstreams.a.endpoints[0].zone: found "$ZONE", expected a zone, e.g. eu-1a, of at most 64 letters, digits and ._/:- (variables are for the zone of the process)`},
	{"zone with a space", base + "zone: a b\n", `f:4:7: zone: found "a b", expected a zone, e.g. eu-1a, of at most 64 letters, digits and ._/:-`},
	{"zone's variable is not set", base + "zone: $ZPROXY_NO_SUCH_ZONE\n", `f:4:7: zone: found nothing in the environment variable ZPROXY_NO_SUCH_ZONE, expected a zone, e.g. eu-1a, of at most 64 letters, digits and ._/:- (set it where the process is started, or write the zone itself)`},
	{"slow start by key", listener + fixed + "upstreams: {a: {balance: maglev, hash_on: path, slow_start: 1s, endpoints: [{address: \"h:1\"}]}}\n", `f:3:61: upstreams.a.slow_start: found 1s, expected another balance than maglev where there is slow_start (a share that grows would move keys)`},
	{"twice", base + "io: auto\nio: epoll\n", `f:5:1: io: found the key a second time, expected it once (first on line 4)`},
	{"twice, nested", base + "dns: {interval: 5s, interval: 6s}\n", `f:4:21: dns.interval: found the key a second time, expected it once (first on line 4)`},
	{"twice, upstream", listener + fixed + "upstreams:\n  a: {endpoints: [{address: \"h:1\"}]}\n  a: {endpoints: [{address: \"h:1\"}]}\n", `f:5:3: upstreams.a: found the key a second time, expected it once (first on line 4)`},
	{"merge key", base + "limits: {<<: {headers: 9}}\n", `f:4:10: limits: found the merge key "<<", expected the keys themselves (use an alias for a whole value instead)`},
	{"list as key", base + "? [a, b]\n: 1\n", `f:4:3: found a list as a key, expected a name`},
	{"section is a number", base + "limits: 5\n", `f:4:9: limits: found 5, expected a mapping with the keys header_bytes, headers, body_bytes, request_header_timeout, keepalive_timeout, request_body_timeout, send_timeout, min_rate, half_close, lingering_timeout, lingering_time, connections, requests_per_connection`},
	{"list is a mapping", "listeners: {address: \"127.0.0.1:80\"}\n" + fixed, `f:1:12: listeners: found a mapping, expected a list of 1 to 256 entries, each with the keys address, protocols, tls, proxy_protocol, interim, socket (begin each entry with "- ")`},
	{"no listeners", "listeners: []\n" + fixed, `f:1:12: listeners: found an empty list, expected a list of 1 to 256 entries, each with the keys address, protocols, tls, proxy_protocol, interim, socket`},
	{"upstreams is a list", listener + fixed + "upstreams: [{name: app}]\n", `f:3:12: upstreams: found a list, expected at most 4096 names, each with the keys balance, hash_on, hash_balance_factor, slow_start, sticky, protocol, tls, send_proxy, send_proxy_tlvs, endpoints, discover, pool, timeouts, retries, retry, host, health_check, outlier_detection, adaptive_concurrency, socket (write a name, a colon, and its settings indented below)`},
	{"upstream's name", listener + fixed + "upstreams: {a b: {endpoints: [{address: \"h:1\"}]}}\n", `f:3:13: upstreams: found "a b", expected a name of letters, digits, _, - and ., at most 64 long`},
	{"upstream is null", listener + fixed + "upstreams: {a: }\n", `f:3:16: upstreams.a: found neither endpoints nor discover, expected one of them (endpoints lists origin servers, discover says where they are found)`},

	// Counts, sizes, durations, booleans, choices.
	{"count too large", base + "limits: {headers: 5000}\n", `f:4:19: limits.headers: found 5000, expected a whole number from 8 to 1024`},
	{"negative count", base + "limits: {connections: -1}\n", `f:4:23: limits.connections: found -1, expected a whole number up to 16777216`},
	{"count with a fraction", base + "limits: {headers: 9.5}\n", `f:4:19: limits.headers: found 9.5, expected a whole number from 8 to 1024`},
	{"hexadecimal count", base + "limits: {headers: 0x20}\n", `f:4:19: limits.headers: found 0x20, expected a whole number from 8 to 1024`},
	{"count in quotes", base + "limits: {headers: \"64\"}\n", `f:4:19: limits.headers: found "64", expected a whole number from 8 to 1024 (without quotes)`},
	{"overflow", base + "limits: {headers: 99999999999999999999}\n", `f:4:19: limits.headers: found 99999999999999999999, expected a whole number from 8 to 1024`},
	{"count is a list", base + "limits: {headers: [1]}\n", `f:4:19: limits.headers: found a list, expected a whole number from 8 to 1024`},
	{"count is null", base + "limits: {headers: }\n", `f:4:19: limits.headers: found nothing, expected a whole number from 8 to 1024`},
	{"ambiguous size", base + "limits: {header_bytes: 64k}\n", `f:4:24: limits.header_bytes: found "64k", expected a size from 1KiB to 1MiB, e.g. "16KiB", "64MiB", "1GB" (write 64KiB for 1024s or 64KB for 1000s)`},
	{"size too small", base + "limits: {header_bytes: 10}\n", `f:4:24: limits.header_bytes: found 10, expected a size from 1KiB to 1MiB, e.g. "16KiB", "64MiB", "1GB"`},
	{"size with a fraction", base + "limits: {header_bytes: 1.5KiB}\n", `f:4:24: limits.header_bytes: found "1.5KiB", expected a size from 1KiB to 1MiB, e.g. "16KiB", "64MiB", "1GB" (whole numbers only: take the next smaller unit)`},
	{"unknown unit", base + "limits: {header_bytes: 3 pages}\n", `f:4:24: limits.header_bytes: found "3 pages", expected a size from 1KiB to 1MiB, e.g. "16KiB", "64MiB", "1GB" (units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)`},
	{"size overflow", base + "limits: {body_bytes: 9999999999TiB}\n", `f:4:22: limits.body_bytes: found "9999999999TiB", expected a size up to 1024TiB, e.g. "16KiB", "64MiB", "1GB"`},
	{"size without number", base + "limits: {body_bytes: MiB}\n", `f:4:22: limits.body_bytes: found "MiB", expected a size up to 1024TiB, e.g. "16KiB", "64MiB", "1GB"`},
	{"duration without unit", base + "dns: {interval: 30}\n", `f:4:17: dns.interval: found 30, expected a duration from 1s to 24h, e.g. "60s", "1m30s" (add the unit: 30s or 30ms)`},
	{"days", base + "limits: {keepalive_timeout: 1d}\n", `f:4:29: limits.keepalive_timeout: found "1d", expected a duration from 1ms to 24h, e.g. "60s", "1m30s" (write days as hours: 24h)`},
	{"no duration", base + "dns: {interval: often}\n", `f:4:17: dns.interval: found "often", expected a duration from 1s to 24h, e.g. "60s", "1m30s" (units are ms, s, m, h)`},
	{"negative duration", base + "shutdown: {grace: -1s}\n", `f:4:19: shutdown.grace: found "-1s", expected a duration from 0s to 24h, e.g. "60s", "1m30s"`},
	{"no time at all", base + "limits: {request_header_timeout: 0s}\n", `f:4:34: limits.request_header_timeout: found "0s", expected a duration from 1ms to 1h, e.g. "60s", "1m30s"`},
	{"parts of a second", "listeners: [{address: \"127.0.0.1:8080\", socket: {keep_alive: 1500ms}}]\n" + fixed, `f:1:62: listeners[0].socket.keep_alive: found "1500ms", expected whole seconds (the kernel counts this one in seconds)`},
	{"yes", base + "forwarding: {forwarded: yes}\n", `f:4:25: forwarding.forwarded: found "yes", expected true or false`},
	{"enum", base + "io: uringg\n", `f:4:5: io: found "uringg", expected one of auto, uring, epoll (did you mean "uring"?)`},
	{"enum, capitals", base + "io: Epoll\n", `f:4:5: io: found "Epoll", expected one of auto, uring, epoll (did you mean "epoll"?)`},
	{"enum, number", base + "io: 1\n", `f:4:5: io: found 1, expected one of auto, uring, epoll (text that looks like something else needs quotes: "1")`},
	{"enum, another", base + "buffers: {huge_pages: \"on\"}\n", `f:4:23: buffers.huge_pages: found "on", expected one of auto, always, never`},

	// Loops and buffers.
	{"no loops", base + "loops: 0\n", `f:4:8: loops: found 0, expected auto, a whole number from 1 to 1024, or a list of CPUs such as "0-3,8" (for CPU 0 alone write "0-0")`},
	{"backward CPUs", base + "loops: 3-1\n", `f:4:8: loops: found "3-1", expected auto, a whole number from 1 to 1024, or a list of CPUs such as "0-3,8" (the range "3-1" runs backwards)`},
	{"CPU twice", base + "loops: 0-3,2\n", `f:4:8: loops: found "0-3,2", expected auto, a whole number from 1 to 1024, or a list of CPUs such as "0-3,8" (CPU 2 is named twice)`},
	{"no CPU list", base + "loops: all\n", `f:4:8: loops: found "all", expected auto, a whole number from 1 to 1024, or a list of CPUs such as "0-3,8" (a list is numbers and ranges with commas between, without spaces)`},
	{"CPU number", base + "loops: 0-999999999\n", `f:4:8: loops: found "0-999999999", expected auto, a whole number from 1 to 1024, or a list of CPUs such as "0-3,8" (CPU numbers end at 8191)`},
	{"long wait", base + "batch_wait: 11ms\n", `f:4:13: batch_wait: found "11ms", expected auto, or a duration from 0s to 10ms, e.g. "200us"`},
	{"wait without unit", base + "batch_wait: 200\n", `f:4:13: batch_wait: found 200, expected auto, or a duration from 0s to 10ms, e.g. "200us" (add the unit: 200s or 200ms)`},
	{"block", base + "buffers: {block: 12KiB}\n", `f:4:18: buffers.block: found "12KiB", expected a power of two: 4KiB, 8KiB, 16KiB, 32KiB or 64KiB`},
	{"block, range", base + "buffers: {block: 128KiB}\n", `f:4:18: buffers.block: found "128KiB", expected a size from 4KiB to 64KiB, e.g. "16KiB", "64MiB", "1GB"`},
	{"blocks do not fit", base + "buffers: {block: 64KiB, max_per_loop: 1100KiB}\n", `f:4:39: buffers.max_per_loop: found 1100KiB, expected a multiple of buffers.block, which is 64KiB`},

	// Listeners and admin.
	{"no address", "listeners: [{}]\n" + fixed, `f:1:13: listeners[0].address: found nothing, expected an address "ip:port", "[ip6]:port" or "unix:/path" (this key is required)`},
	{"only a port", "listeners: [{address: \"8080\"}]\n" + fixed, `f:1:23: listeners[0].address: found "8080", expected an address "ip:port", "[ip6]:port" or "unix:/path" (write 127.0.0.1:8080 for this machine only, 0.0.0.0:8080 for all)`},
	{"no host", "listeners: [{address: \":8080\"}]\n" + fixed, `f:1:23: listeners[0].address: found ":8080", expected an address "ip:port", "[ip6]:port" or "unix:/path" (all addresses are 0.0.0.0:8080 (IPv4) or "[::]:8080")`},
	{"star", "listeners: [{address: \"*:80\"}]\n" + fixed, `f:1:23: listeners[0].address: found "*:80", expected an address "ip:port", "[ip6]:port" or "unix:/path" (all addresses are 0.0.0.0:80 (IPv4) or "[::]:80")`},
	{"no brackets", "listeners: [{address: \"::1:80\"}]\n" + fixed, `f:1:23: listeners[0].address: found "::1:80", expected an address "ip:port", "[ip6]:port" or "unix:/path" (an IPv6 address needs brackets and a port: "[::1]:8080")`},
	{"port 0", "listeners: [{address: \"127.0.0.1:0\"}]\n" + fixed, `f:1:23: listeners[0].address: found "127.0.0.1:0", expected an address "ip:port", "[ip6]:port" or "unix:/path" (a port is a number from 1 to 65535)`},
	{"port 65536", "listeners: [{address: \"127.0.0.1:65536\"}]\n" + fixed, `f:1:23: listeners[0].address: found "127.0.0.1:65536", expected an address "ip:port", "[ip6]:port" or "unix:/path" (a port is a number from 1 to 65535)`},
	{"name to listen on", "listeners: [{address: \"example.com:80\"}]\n" + fixed, `f:1:23: listeners[0].address: found "example.com:80", expected an address "ip:port", "[ip6]:port" or "unix:/path" (names are not looked up here: write the IP address)`},
	{"relative socket", "listeners: [{address: \"unix:z.sock\"}]\n" + fixed, `f:1:23: listeners[0].address: found "unix:z.sock", expected an address "ip:port", "[ip6]:port" or "unix:/path" (the path of a socket begins with /: unix:/run/zproxy.sock)`},
	{"long socket", "listeners: [{address: \"unix:/" + strings.Repeat("a", 107) + "\"}]\n" + fixed, `f:1:23: listeners[0].address: found "unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...", expected an address "ip:port", "[ip6]:port" or "unix:/path" (the path of a socket has at most 107 bytes)`},
	{"h2", "listeners: [{address: \"127.0.0.1:80\", protocols: [http1, h2]}]\n" + fixed, `f:1:58: listeners[0].protocols[1]: found "h2", expected h2c where there is no tls (HTTP/2 over TLS needs a tls section)`},
	{"h3", "listeners: [{address: \"127.0.0.1:80\", protocols: [h3]}]\n" + fixed, `f:1:51: listeners[0].protocols[0]: found "h3", expected one of http1, h2c, h2 ("h3" is not available in this build yet)`},
	{"http2 as protocol", "listeners: [{address: \"127.0.0.1:80\", protocols: [http2]}]\n" + fixed, `f:1:51: listeners[0].protocols[0]: found "http2", expected one of http1, h2c, h2 (did you mean "h2c", or with tls "h2"?)`},
	{"no protocols", "listeners: [{address: \"127.0.0.1:80\", protocols: []}]\n" + fixed, `f:1:50: listeners[0].protocols: found an empty list, expected a list from 1 to 2 long, each one of http1, h2c, h2`},
	{"protocols is text", "listeners: [{address: \"127.0.0.1:80\", protocols: http1}]\n" + fixed, `f:1:50: listeners[0].protocols: found "http1", expected a list from 1 to 2 long, each one of http1, h2c, h2 (write [http1])`},
	{"protocol twice", "listeners: [{address: \"127.0.0.1:80\", protocols: [http1, http1]}]\n" + fixed, `f:1:58: listeners[0].protocols[1]: found "http1" a second time, expected each value once`},
	{"listener twice", "listeners: [{address: \"127.0.0.1:80\"}, {address: \"127.0.0.1:80\"}]\n" + fixed, `f:1:50: listeners[1].address: found "127.0.0.1:80" a second time, expected each address once (first in listeners[0])`},
	{"listener twice, spelled otherwise", "listeners: [{address: \"[::1]:80\"}, {address: \"[0:0::1]:80\"}]\n" + fixed, `f:1:46: listeners[1].address: found "[0:0::1]:80" a second time, expected each address once (first in listeners[0])`},
	{"congestion", "listeners: [{address: \"127.0.0.1:80\", socket: {congestion: Big Bang}}]\n" + fixed, `f:1:60: listeners[0].socket.congestion: found "Big Bang", expected the name of a congestion control, e.g. bbr or cubic`},
	{"mode", "listeners: [{address: \"unix:/s\", socket: {mode: 888}}]\n" + fixed, `f:1:49: listeners[0].socket.mode: found 888, expected permissions in octal, e.g. "0660" (as chmod has it; what is not for others ends in 0)`},
	{"sticky mode", "listeners: [{address: \"unix:/s\", socket: {mode: \"1777\"}}]\n" + fixed, `f:1:49: listeners[0].socket.mode: found "1777", expected permissions in octal, e.g. "0660" (as chmod has it; what is not for others ends in 0)`},
	{"user as a number", "listeners: [{address: \"unix:/s\", socket: {user: 33}}]\n" + fixed, `f:1:49: listeners[0].socket.user: found 33, expected a name such as www-data, or a number in quotes (text that looks like something else needs quotes: "33")`},
	{"group", "listeners: [{address: \"unix:/s\", socket: {group: \"a:b\"}}]\n" + fixed, `f:1:50: listeners[0].socket.group: found "a:b", expected a name such as www-data, or a number in quotes`},
	{"mode without a file", "listeners: [{address: \"127.0.0.1:80\", socket: {mode: 0660}}]\n" + fixed, `f:1:54: listeners[0].socket.mode: found 0660, expected a unix: address, which has a file (whoever reaches 127.0.0.1:80 may connect)`},
	{"group of the admin without a file", listener + fixed + "admin: {address: \"127.0.0.1:81\", group: adm}\n", `f:3:41: admin.group: found "adm", expected a unix: address, which has a file (whoever reaches 127.0.0.1:81 may connect)`},
	{"backlog of an upstream", listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\"}], socket: {backlog: 5}}}\n", `f:3:57: upstreams.a.socket.backlog: found an unknown key, expected one of no_delay, keep_alive, receive_buffer, send_buffer, congestion`},
	{"admin without address", base + "admin: {}\n", `f:4:8: admin.address: found nothing, expected an address "ip:port", "[ip6]:port" or "unix:/path" (this key is required)`},
	{"admin on a listener", base + "admin: {address: \"0.0.0.0:8080\"}\n", `f:4:18: admin.address: found "0.0.0.0:8080", expected an address of its own (listeners[0] has "127.0.0.1:8080")`},

	// Upstreams.
	{"URL as endpoint", listener + fixed + "upstreams: {a: {endpoints: [{address: \"http://h:1/x\"}]}}\n", `f:3:39: upstreams.a.endpoints[0].address: found "http://h:1/x", expected an address "ip:port", "[ip6]:port", "name:port" or "unix:/path" (without "http://" and path)`},
	{"endpoint without port", listener + fixed + "upstreams: {a: {endpoints: [{address: app.internal}]}}\n", `f:3:39: upstreams.a.endpoints[0].address: found "app.internal", expected an address "ip:port", "[ip6]:port", "name:port" or "unix:/path" (the port is missing)`},
	{"no IP address", listener + fixed + "upstreams: {a: {endpoints: [{address: \"10.0.0.300:80\"}]}}\n", `f:3:39: upstreams.a.endpoints[0].address: found "10.0.0.300:80", expected an address "ip:port", "[ip6]:port", "name:port" or "unix:/path" (not an IP address)`},
	{"bad name", listener + fixed + "upstreams: {a: {endpoints: [{address: \"-x:80\"}]}}\n", `f:3:39: upstreams.a.endpoints[0].address: found "-x:80", expected an address "ip:port", "[ip6]:port", "name:port" or "unix:/path" (a part of a host neither begins nor ends with -)`},
	{"everywhere as endpoint", listener + fixed + "upstreams: {a: {endpoints: [{address: \"0.0.0.0:80\"}]}}\n", `f:3:39: upstreams.a.endpoints[0].address: found "0.0.0.0:80", expected an address "ip:port", "[ip6]:port", "name:port" or "unix:/path" (nothing answers there: 127.0.0.1 or [::1] is this machine)`},
	{"no endpoints", listener + fixed + "upstreams: {a: {endpoints: []}}\n", `f:3:28: upstreams.a.endpoints: found an empty list, expected a list of 1 to 4096 entries, each with the keys address, weight, priority, backup, zone, labels`},
	{"4097 endpoints", listener + fixed + "upstreams: {a: {endpoints: [" + strings.Repeat("{address: \"h:1\"},", 4097) + "]}}\n", `f:3:28: upstreams.a.endpoints: found a list of 4097, expected a list of 1 to 4096 entries, each with the keys address, weight, priority, backup, zone, labels`},
	{"endpoint is text", listener + fixed + "upstreams: {a: {endpoints: [\"h:1\"]}}\n", `f:3:29: upstreams.a.endpoints[0]: found "h:1", expected a mapping with the keys address, weight, priority, backup, zone, labels`},
	{"endpoint twice", listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\"}, {address: \"H:1\"}]}}\n", `f:3:57: upstreams.a.endpoints[1].address: found "H:1" a second time, expected each endpoint once (give it a larger weight instead)`},
	{"weight", listener + fixed + "upstreams: {a: {endpoints: [{address: \"h:1\", weight: 0}]}}\n", `f:3:54: upstreams.a.endpoints[0].weight: found 0, expected a whole number from 1 to 256`},
	{"balance", listener + fixed + "upstreams: {a: {balance: roundrobin, endpoints: [{address: \"h:1\"}]}}\n", `f:3:26: upstreams.a.balance: found "roundrobin", expected one of round_robin, least_conn, least_time, p2c, random, ring_hash, maglev (did you mean "round_robin"?)`},
	{"upstream h2", listener + fixed + "upstreams: {a: {protocol: h2, endpoints: [{address: \"h:1\"}]}}\n", `f:3:27: upstreams.a.protocol: found "h2", expected h2c where there is no tls (HTTP/2 over TLS needs a tls section, which may be empty: tls: {})`},
	{"upstream of both", listener + fixed + "upstreams: {a: {protocol: [http1, h2c], endpoints: [{address: \"h:1\"}]}}\n", `f:3:27: upstreams.a.protocol: found a list, expected one of http1, h2c, h2, auto`},
	{"balance by key without one", listener + fixed + "upstreams: {a: {balance: maglev, endpoints: [{address: \"h:1\"}]}}\n", `f:3:26: upstreams.a.balance: found "maglev" without hash_on, expected hash_on beside it (e.g. hash_on: path)`},
	{"a key that nothing needs", listener + fixed + "upstreams: {a: {hash_on: path, endpoints: [{address: \"h:1\"}]}}\n", `f:3:26: upstreams.a.hash_on: found "path", expected balance: maglev or ring_hash where there is hash_on`},
	{"hash_on without a name", listener + fixed + "upstreams: {a: {balance: ring_hash, hash_on: header, endpoints: [{address: \"h:1\"}]}}\n", `f:3:46: upstreams.a.hash_on: found "header", expected path, source, or header, cookie or query and a name, e.g. header X-User`},
	{"send_proxy by HTTP/2", listener + fixed + "upstreams: {a: {protocol: h2c, send_proxy: v2, endpoints: [{address: \"h:1\"}]}}\n", `f:3:27: upstreams.a.protocol: found "h2c", expected http1 where there is send_proxy (a connection with HTTP/2 is for many clients, and the header names one)`},
	{"send_proxy_tlvs by version 1", listener + fixed + "upstreams: {a: {send_proxy: v1, send_proxy_tlvs: [ssl, alpn], endpoints: [{address: \"h:1\"}]}}\n", `f:3:50: upstreams.a.send_proxy_tlvs: found 2 of them, expected none without send_proxy: v2 (version 1 of the PROXY protocol has addresses alone)`},
	{"send_proxy and prewarm", listener + fixed + "upstreams: {a: {send_proxy: v1, pool: {prewarm: 2}, endpoints: [{address: \"h:1\"}]}}\n", `f:3:49: upstreams.a.pool.prewarm: found 2, expected 0 where there is send_proxy (a connection is dialled for one client)`},
	{"auto in clear", listener + fixed + "upstreams: {a: {protocol: auto, endpoints: [{address: \"h:1\"}]}}\n", `f:3:27: upstreams.a.protocol: found "auto", expected http1 or h2c where there is no tls (auto is what ALPN gives, which is a part of TLS: in clear nothing says what an endpoint speaks)`},
	{"auto of a listener", "listeners: [{address: \"127.0.0.1:80\", protocols: [auto]}]\n" + fixed, `f:1:51: listeners[0].protocols[0]: found "auto", expected one of http1, h2c, h2`},
	{"max_idle", listener + fixed + "upstreams: {a: {pool: {max_connections: 3, max_idle: 5}, endpoints: [{address: \"h:1\"}]}}\n", `f:3:54: upstreams.a.pool.max_idle: found 5, expected at most max_connections, which is 3`},
	{"prewarm", listener + fixed + "upstreams: {a: {pool: {max_idle: 3, prewarm: 4}, endpoints: [{address: \"h:1\"}]}}\n", `f:3:46: upstreams.a.pool.prewarm: found 4, expected at most max_idle, which is 3`},
	{"upstream's host", listener + fixed + "upstreams: {a: {host: \"http://x\", endpoints: [{address: \"h:1\"}]}}\n", `f:3:23: upstreams.a.host: found "http://x", expected a host, with or without a port, e.g. app.internal (without "http://" and path)`},

	// Routes.
	{"no upstream", listener + "routes: [{path: /, upstream: app}]\n", `f:2:30: routes[0].upstream: found "app", expected the name of an upstream (there are none: add it under upstreams)`},
	{"other upstream", listener + dial + "routes: [{path: /, upstream: ap}]\n", `f:3:30: routes[0].upstream: found "ap", expected the name of an upstream: app (did you mean "app"?)`},
	{"two actions", listener + dial + "routes: [{path: /, upstream: app, respond: {}}]\n", `f:3:10: routes[0]: found upstream and respond, expected exactly one of upstream, split, respond, redirect`},
	{"split to nobody", listener + dial + "routes: [{path: /, split: [{upstream: ap, weight: 1}]}]\n", `f:3:39: routes[0].split[0].upstream: found "ap", expected the name of an upstream: app (did you mean "app"?)`},
	{"split to one twice", listener + dial + "routes: [{path: /, split: [{upstream: app, weight: 1}, {upstream: app, weight: 1}]}]\n", `f:3:67: routes[0].split[1].upstream: found "app" a second time, expected each upstream once, or each subset of it`},
	{"split without weights", listener + dial + "routes: [{path: /, split: [{upstream: app, weight: 0}]}]\n", `f:3:27: routes[0].split: found no weight, expected a weight above 0`},
	{"sticky by two", listener + dial + "routes: [{path: /, split: [{upstream: app, weight: 1}], sticky: {cookie: a, header: b}}]\n", `f:3:65: routes[0].sticky: found cookie and header, or neither, expected exactly one of cookie, header`},
	{"sticky without a split", listener + dial + "routes: [{path: /, upstream: app, sticky: {cookie: a}}]\n", `f:3:43: routes[0].sticky: found a mapping, expected a route with split`},
	{"sticky by no name", listener + dial + "routes: [{path: /, split: [{upstream: app, weight: 1}], sticky: {cookie: \"a b\"}}]\n", "f:3:74: routes[0].sticky.cookie: found \"a b\", expected a name of letters, digits, and -._, e.g. edge1"},
	{"fallback to itself", listener + dial + "routes: [{path: /, upstream: app, fallback: app}]\n", `f:3:45: routes[0].fallback: found "app", expected another upstream than the route's own`},
	{"fallback of no upstream", listener + dial + "routes: [{path: /, respond: {}, fallback: app}]\n", `f:3:43: routes[0].fallback: found "app", expected a route with upstream or split`},
	{"no action", listener + "routes: [{path: /}]\n", `f:2:10: routes[0]: found none of them, expected exactly one of upstream, split, respond, redirect`},
	{"action is null", listener + "routes: [{path: /, respond: }]\n", `f:2:29: routes[0].respond: found nothing, expected a mapping with the keys status, body, content_type`},
	// Filters.
	{"an unknown filter", base + "filters: [{ipp: {}}]\n", `f:4:12: filters[0].ipp: found an unknown key, expected one of api_key, basic_auth, concurrency_limit, forward_auth, ip, jwt, rate_limit, request_headers, response_headers (did you mean "ip"?)`},
	{"no filter", base + "filters: [{}]\n", `f:4:11: filters[0]: found none of them, expected exactly one of api_key, basic_auth, concurrency_limit, forward_auth, ip, jwt, rate_limit, request_headers, response_headers (begin each filter with "- ")`},
	{"a filter that does nothing", base + "filters:\n  - ip: {}\n", `f:5:9: filters[0].ip: found nothing, expected allow or deny`},
	{"a filter with a wrong network", base + "filters:\n  - ip: {deny: [10.0.0.1/8]}\n", `f:5:17: filters[0].ip.deny[0]: found "10.0.0.1/8", expected a network such as 10.0.0.0/8, or an IP address (bits behind the prefix are set: did you mean 10.0.0.0/8?)`},
	{"a filter that is none", base + "filters: [ip]\n", `f:4:11: filters[0]: found "ip", expected a mapping with the keys api_key, basic_auth, concurrency_limit, forward_auth, ip, jwt, rate_limit, request_headers, response_headers`},
	{"filters that are no list", base + "filters: {ip: {deny: [10.0.0.1]}}\n", `f:4:10: filters: found a mapping, expected a list of 0 to 256 entries, each with the keys api_key, basic_auth, concurrency_limit, forward_auth, ip, jwt, rate_limit, request_headers, response_headers (begin each entry with "- ")`},
	{"a filter of a route", listener + "routes:\n  - path: /\n    respond: {}\n    filters:\n      - ip: {allow: []}\n", `f:6:21: routes[0].filters[0].ip.allow: found an empty list, expected a list from 1 to 10000 long, each a network such as 10.0.0.0/8, or an IP address`},
	{"a field of the connection", base + "filters: [{request_headers: {set: {Transfer_encoding: a}}}]\n", `f:4:36: filters[0].request_headers.set: found "Transfer_encoding", expected a field name such as X-User (Transfer_encoding is about the connection: the proxy writes it itself)`},
	{"a field of the WebSocket", base + "filters: [{response_headers: {remove: [Sec-WebSocket-Accept]}}]\n", `f:4:40: filters[0].response_headers.remove[0]: found "Sec-WebSocket-Accept", expected a field name such as X-Frame-Options (Sec-WebSocket-Accept is about the connection: the proxy writes it itself)`},
	{"Host", base + "filters: [{request_headers: {rename: {X-Host: host}}}]\n", `f:4:47: filters[0].request_headers.rename.X-Host: found "host", expected a field name such as X-User (key host of the upstream sets it)`},
	{"Location", base + "filters: [{response_headers: {set: {Location: a}}}]\n", `f:4:37: filters[0].response_headers.set: found "Location", expected a field name such as X-Frame-Options (Location is that of the response, or of redirect)`},
	{"no field name", base + "filters: [{request_headers: {set: {\"X A\": a}}}]\n", `f:4:36: filters[0].request_headers.set: found "X A", expected a field name such as X-User (letters, digits and !#$%&'*+-.^_|~, at most 64)`},
	{"a name twice", base + "filters: [{request_headers: {set: {X-A: a, x-a: b}}}]\n", `f:4:44: filters[0].request_headers.set.x-a: found the name a second time, expected it once (letter case makes no difference)`},
	{"fields that are no mapping", base + "filters: [{request_headers: {set: [X-A]}}]\n", `f:4:35: filters[0].request_headers.set: found a list, expected a mapping with 1 to 256 entries, each a field name such as X-User, a colon and a value, with variables in braces`},
	{"no fields", base + "filters: [{request_headers: {set: {}}}]\n", `f:4:35: filters[0].request_headers.set: found 0 entries, expected a mapping with 1 to 256 entries, each a field name such as X-User, a colon and a value, with variables in braces`},
	{"an unknown variable", base + "filters: [{request_headers: {add: {X-A: \"{clientip}\"}}}]\n", `f:4:41: filters[0].request_headers.add.X-A: found {clientip}, expected one of {scheme}, {host}, {path}, {query}, {client_ip}, {request_id}, {method}, {tls_sni}, {tls_version}, {user}, {header.NAME}, {cookie.NAME}`},
	{"a value of two lines", base + "filters: [{request_headers: {add: {X-A: \"a\\nb\"}}}]\n", `f:4:41: filters[0].request_headers.add.X-A: found a byte that no field may have, expected printable ASCII on one line`},
	{"filters of no host", base + "hosts: [{host: a.example, filters: []}]\n", `f:4:16: hosts[0].host: found "a.example", expected the host of a route (what stands here holds for routes with this host, and there is none)`},
	{"filters of a host twice", listener + "routes: [{host: a.b, path: /*, respond: {}}]\nhosts:\n  - host: a.b\n  - host: A.b\n", `f:5:11: hosts[1].host: found "a.b" a second time, expected each host once`},

	{"fingerprint", listener + "routes: [{path: /, tls: {client_cert: {fingerprint: [\"3a:5g\"]}}, respond: {}}]\n", `f:2:54: routes[0].tls.client_cert.fingerprint[0]: found "3a:5g", expected a SHA-256 sum in hexadecimal, 64 digits with or without colons (openssl x509 -in cert.pem -noout -fingerprint -sha256)`},
	{"no path", listener + "routes: [{respond: {}}]\n", `f:2:10: routes[0].path: found nothing, expected a path such as /users, /users/:id or /files/*rest (this key is required)`},
	{"relative path", listener + "routes: [{path: users, respond: {}}]\n", `f:2:17: routes[0].path: found "users", expected a path such as /users, /users/:id or /files/*rest (a path begins with /)`},
	{"tail in the middle", listener + "routes: [{path: \"/*x/y\", respond: {}}]\n", `f:2:17: routes[0].path: found "/*x/y", expected a path such as /users, /users/:id or /files/*rest ("*" takes all that remains, so it is the last segment)`},
	{"star within", listener + "routes: [{path: \"/a*\", respond: {}}]\n", `f:2:17: routes[0].path: found "/a*", expected a path such as /users, /users/:id or /files/*rest ("*" stands only at the start of the last segment)`},
	{"nameless parameter", listener + "routes: [{path: \"/:/x\", respond: {}}]\n", `f:2:17: routes[0].path: found "/:/x", expected a path such as /users, /users/:id or /files/*rest (behind ":" or "*" stands a name of letters, digits, _ and -, up to the next /)`},
	{"parameter and more", listener + "routes: [{path: \"/:id.json\", respond: {}}]\n", `f:2:17: routes[0].path: found "/:id.json", expected a path such as /users, /users/:id or /files/*rest (behind ":" or "*" stands a name of letters, digits, _ and -, up to the next /)`},
	{"parameter twice", listener + "routes: [{path: \"/:id/:id\", respond: {}}]\n", `f:2:17: routes[0].path: found "/:id/:id", expected a path such as /users, /users/:id or /files/*rest (the name "id" is used twice)`},
	{"17 parameters", listener + "routes: [{path: \"/:" + strings.Join(strings.Split("abcdefghijklmnopq", ""), "/:") + "\", respond: {}}]\n", `f:2:17: routes[0].path: found "/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q", expected a path such as /users, /users/:id or /files/*rest (at most 16 named segments)`},
	{"33 segments", listener + "routes: [{path: " + strings.Repeat("/a", 33) + ", respond: {}}]\n", `f:2:17: routes[0].path: found "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a...", expected a path such as /users, /users/:id or /files/*rest (at most 32 segments)`},
	{"query", listener + "routes: [{path: \"/a?b=c\", respond: {}}]\n", `f:2:17: routes[0].path: found "/a?b=c", expected a path such as /users, /users/:id or /files/*rest (the query is not part of the path)`},
	{"dots", listener + "routes: [{path: /a/../b, respond: {}}]\n", `f:2:17: routes[0].path: found "/a/../b", expected a path such as /users, /users/:id or /files/*rest (segments "." and ".." are resolved before a route is looked up)`},
	{"encoded dots", listener + "routes: [{path: /a/%2e./b, respond: {}}]\n", `f:2:17: routes[0].path: found "/a/%2e./b", expected a path such as /users, /users/:id or /files/*rest (segments "." and ".." are resolved before a route is looked up)`},
	{"bad escape", listener + "routes: [{path: /a%2, respond: {}}]\n", `f:2:17: routes[0].path: found "/a%2", expected a path such as /users, /users/:id or /files/*rest ("%" is followed by two digits 0-9, A-F)`},
	{"braces", listener + "routes: [{path: \"/users/{id}\", respond: {}}]\n", `f:2:17: routes[0].path: found "/users/{id}", expected a path such as /users, /users/:id or /files/*rest (a named segment is written /:name)`},
	{"regular expression", listener + "routes: [{path: \"/^api$\", respond: {}}]\n", `f:2:17: routes[0].path: found "/^api$", expected a path such as /users, /users/:id or /files/*rest (the character "^" is written percent-encoded)`},
	{"host is any", listener + "routes: [{host: \"*\", path: /, respond: {}}]\n", `f:2:17: routes[0].host: found "*", expected a host such as api.example.com or "*.example.com" (leave host out to match any)`},
	{"host with port", listener + "routes: [{host: \"a.example:80\", path: /, respond: {}}]\n", `f:2:17: routes[0].host: found "a.example:80", expected a host such as api.example.com or "*.example.com" (without scheme and port: every port matches)`},
	{"star in the middle", listener + "routes: [{host: \"a.*.example\", path: /, respond: {}}]\n", `f:2:17: routes[0].host: found "a.*.example", expected a host such as api.example.com or "*.example.com" ("*" stands only in front of the first dot)`},
	{"host with a dot", listener + "routes: [{host: a.example., path: /, respond: {}}]\n", `f:2:17: routes[0].host: found "a.example.", expected a host such as api.example.com or "*.example.com" (without the dot at the end: it makes no difference)`},
	{"host outside ASCII", listener + "routes: [{host: bücher.example, path: /, respond: {}}]\n", `f:2:17: routes[0].host: found "bücher.example", expected a host such as api.example.com or "*.example.com" (a host is ASCII: write the xn-- form)`},
	{"small method", listener + "routes: [{path: /, methods: [get], respond: {}}]\n", `f:2:30: routes[0].methods[0]: found "get", expected a method in capitals, e.g. GET (methods are case-sensitive: "GET")`},
	{"no methods", listener + "routes: [{path: /, methods: [], respond: {}}]\n", `f:2:29: routes[0].methods: found an empty list, expected a list from 1 to 32 long, each a method in capitals, e.g. GET`},
	{"CONNECT", listener + "routes: [{path: /, methods: [CONNECT], respond: {}}]\n", `f:2:30: routes[0].methods[0]: found "CONNECT", expected a method in capitals, e.g. GET, not CONNECT (this is not a forward proxy)`},
	{"method is a number", listener + "routes: [{path: /, methods: [1], respond: {}}]\n", `f:2:30: routes[0].methods[0]: found 1, expected a method in capitals, e.g. GET (text that looks like something else needs quotes: "1")`},
	{"status 100", listener + "routes: [{path: /, respond: {status: 100}}]\n", `f:2:38: routes[0].respond.status: found 100, expected a whole number from 200 to 599`},
	{"204 with a body", listener + "routes: [{path: /, respond: {status: 204, body: x}}]\n", `f:2:49: routes[0].respond.body: found "x", expected no body with status 204`},
	{"body is a number", listener + "routes: [{path: /, respond: {body: 404}}]\n", `f:2:36: routes[0].respond.body: found 404, expected text (text that looks like something else needs quotes: "404")`},
	{"large body", listener + "routes: [{path: /, respond: {body: " + strings.Repeat("a", 65537) + "}}]\n", `f:2:36: routes[0].respond.body: found "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...", expected at most 64KiB (larger files are an origin's business)`},
	{"type with a line break", listener + "routes: [{path: /, respond: {content_type: \"text/plain\\r\\nX: y\"}}]\n", `f:2:44: routes[0].respond.content_type: found "text/plain\r\nX: y", expected a media type, e.g. text/html; charset=utf-8 (printable ASCII on one line)`},
	{"redirect status", listener + "routes: [{path: /, redirect: {to: /x, status: 304}}]\n", `f:2:47: routes[0].redirect.status: found 304, expected one of 301, 302, 303, 307, 308`},
	{"redirect nowhere", listener + "routes: [{path: /, redirect: {}}]\n", `f:2:30: routes[0].redirect.to: found nothing, expected a URL https://host/path or a path /path (this key is required)`},
	{"redirect with a variable", listener + "routes: [{path: /, redirect: {to: \"https://x$request_uri\"}}]\n", `f:2:35: routes[0].redirect.to: found "https://x$request_uri", expected a URL https://host/path or a path /path (variables are written in braces: {host}, {path}, {query})`},
	{"redirect with an unknown variable", listener + "routes: [{path: \"/a/:id\", redirect: {to: \"https://x/{path.name}\"}}]\n", `f:2:42: routes[0].redirect.to: found {path.name}, expected one of {scheme}, {host}, {path}, {query}, {client_ip}, {request_id}, {path.id}`},
	{"redirect with a brace", listener + "routes: [{path: /, redirect: {to: \"/a}\"}}]\n", `f:2:35: routes[0].redirect.to: found }, expected a name in braces, such as {host}`},
	{"redirect with a line break", listener + "routes: [{path: /, redirect: {to: \"/x\\r\\nSet-Cookie: a\"}}]\n", `f:2:35: routes[0].redirect.to: found "/x\r\nSet-Cookie: a", expected a URL https://host/path or a path /path (spaces and letters outside ASCII are written percent-encoded, e.g. %20)`},
	{"redirect elsewhere", listener + "routes: [{path: /, redirect: {to: \"javascript:alert(1)\"}}]\n", `f:2:35: routes[0].redirect.to: found "javascript:alert(1)", expected a URL https://host/path or a path /path`},
	{"route's listener", listener + "routes: [{path: /, listener: \"127.0.0.1:81\", respond: {}}]\n", `f:2:30: routes[0].listener: found "127.0.0.1:81", expected the address of a listener: 127.0.0.1:8080`},
	{"websocket without an upstream", listener + "routes: [{path: /, respond: {}, websocket: {}}]\n", `f:2:44: routes[0].websocket: found settings for WebSocket, expected a route with upstream (an answer of the proxy's own opens none)`},
	{"websocket mode", listener + dial + "routes: [{path: /, upstream: app, websocket: {mode: frame}}]\n", `f:3:53: routes[0].websocket.mode: found "frame", expected one of frames, tunnel (did you mean "frames"?)`},
	{"limits of a tunnel", listener + dial + "routes: [{path: /, upstream: app, websocket: {mode: tunnel, max_message: 1MiB, ping_interval: 30s}}]\n", "f:3:74: routes[0].websocket.max_message: found \"1MiB\", expected mode: frames with it (a tunnel knows nothing of frames)\n" +
		"f:3:95: routes[0].websocket.ping_interval: found \"30s\", expected mode: frames with it (a tunnel knows nothing of frames)"},
	{"idle timeout", listener + dial + "routes: [{path: /, upstream: app, websocket: {idle_timeout: 25h}}]\n", `f:3:61: routes[0].websocket.idle_timeout: found "25h", expected a duration from 0s to 24h, e.g. "60s", "1m30s"`},

	// HTTP/2.
	{"http2 is a switch", base + "http2: true\n", `f:4:8: http2: found true, expected a mapping with the keys max_streams, stream_window, connection_window, header_table, upstream_streams, upstream_connections, idle_timeout, abuse_score`},
	{"no streams", base + "http2: {max_streams: 0}\n", `f:4:22: http2.max_streams: found 0, expected a whole number from 1 to 65536`},
	{"window smaller than a frame", base + "http2: {stream_window: 1KiB}\n", `f:4:24: http2.stream_window: found "1KiB", expected a size from 16KiB to 1GiB, e.g. "16KiB", "64MiB", "1GB"`},
	{"window of 31 bits and more", base + "http2: {connection_window: 2GiB}\n", `f:4:28: http2.connection_window: found "2GiB", expected a size from 64KiB to 1GiB, e.g. "16KiB", "64MiB", "1GB"`},
	{"windows the wrong way round", base + "http2: {stream_window: 2MiB, connection_window: 1MiB}\n", `f:4:49: http2.connection_window: found 1MiB, expected at least stream_window, which is 2MiB`},
	{"window below the default of a stream", base + "http2: {connection_window: 512KiB}\n", `f:4:28: http2.connection_window: found 512KiB, expected at least stream_window, which is 1MiB`},
	{"header table", base + "http2: {header_table: 1MiB}\n", `f:4:23: http2.header_table: found "1MiB", expected a size up to 64KiB, e.g. "16KiB", "64MiB", "1GB"`},
	{"never idle", base + "http2: {idle_timeout: 0}\n", `f:4:23: http2.idle_timeout: found 0, expected a duration from 1ms to 24h, e.g. "60s", "1m30s"`},
	{"score", base + "http2: {abuse_score: 5}\n", `f:4:22: http2.abuse_score: found 5, expected a whole number from 10 to 1048576`},
	{"nginx's streams", base + "http2: {max_concurrent_streams: 128}\n", `f:4:9: http2.max_concurrent_streams: found an unknown key, expected one of max_streams, stream_window, connection_window, header_table, upstream_streams, upstream_connections, idle_timeout, abuse_score`},

	// The rest.
	{"trusted network", base + "forwarding: {trusted_proxies: [10.0.0.1/8]}\n", `f:4:32: forwarding.trusted_proxies[0]: found "10.0.0.1/8", expected a network such as 10.0.0.0/8, or an IP address (bits behind the prefix are set: did you mean 10.0.0.0/8?)`},
	{"trusted name", base + "forwarding: {trusted_proxies: [lb.example]}\n", `f:4:32: forwarding.trusted_proxies[0]: found "lb.example", expected a network such as 10.0.0.0/8, or an IP address`},
	{"no field name", base + "forwarding: {drop: [\"X Real\"]}\n", `f:4:21: forwarding.drop[0]: found "X Real", expected a field name such as X-Real-IP, or the beginning of one and *, e.g. X-Envoy-*`},
	{"every field", base + "forwarding: {drop: [X-A, \"*\"]}\n", `f:4:26: forwarding.drop[1]: found "*", expected a field name such as X-Real-IP, or the beginning of one and *, e.g. X-Envoy-*`},
	{"a field of the framing", base + "forwarding: {drop: [Content-*]}\n", `f:4:21: forwarding.drop[0]: found "Content-*", expected a field name such as X-Real-IP, or the beginning of one and *, e.g. X-Envoy-* (Content-Length decides how a request is read, and is not dropped)`},
	{"via", base + "forwarding: {via: \"a b\"}\n", `f:4:19: forwarding.via: found "a b", expected a name of letters, digits, and -._, e.g. edge1`},
	{"all of IPv4 and one", "listeners: [{address: \"0.0.0.0:8080\"}, {address: \"127.0.0.1:8080\"}]\n" + fixed, `f:1:50: listeners[1].address: found "127.0.0.1:8080" beside "0.0.0.0:8080", expected addresses that do not include each other (listeners[0] and this one cannot both be opened: 0.0.0.0 means all IPv4 addresses, [::] all of IPv6 and IPv4)`},
	{"one and all of IPv6", "listeners: [{address: \"127.0.0.1:8080\"}, {address: \"[::]:8080\"}]\n" + fixed, `f:1:52: listeners[1].address: found "[::]:8080" beside "127.0.0.1:8080", expected addresses that do not include each other (listeners[0] and this one cannot both be opened: 0.0.0.0 means all IPv4 addresses, [::] all of IPv6 and IPv4)`},
	{"all of both", "listeners: [{address: \"[::]:8080\"}, {address: \"0.0.0.0:8080\"}]\n" + fixed, `f:1:47: listeners[1].address: found "0.0.0.0:8080" beside "[::]:8080", expected addresses that do not include each other (listeners[0] and this one cannot both be opened: 0.0.0.0 means all IPv4 addresses, [::] all of IPv6 and IPv4)`},
	{"one socket file, written twice", "listeners: [{address: \"unix:/run/a\"}, {address: \"unix:/run//a\"}]\n" + fixed, `f:1:49: listeners[1].address: found "unix:/run//a" a second time, expected each address once (first in listeners[0])`},
	{"log off", base + "access_log: {path: \"off\"}\n", `f:4:20: access_log.path: found "off", expected a file name, or "-" for standard output (leave access_log out to turn it off)`},
	{"log format", base + "access_log: {path: \"-\", format: jsonl}\n", `f:4:33: access_log.format: found "jsonl", expected json, combined, or a text with fields in braces, such as {client} (did you mean "json"?)`},
	{"an empty log format", base + "access_log: {path: \"-\", format: \"\"}\n", `f:4:33: access_log.format: found "", expected json, combined, or a text with fields in braces, such as {client}`},
	{"an unknown field of a log format", base + "access_log:\n  path: \"-\"\n  format: '{client_ip} {user_agnet}'\n", `f:6:11: access_log.format: found {user_agnet}, expected one of {time}, {time_clf}, {client}, {client_ip}, {peer}, {request}, {method}, {target}, {host}, {protocol}, {status}, {bytes_in}, {bytes_out}, {duration_us}, {duration_s}, {route}, {upstream}, {endpoint}, {upstream_host}, {upstream_target}, {reused}, {connect_us}, {connect_s}, {response_us}, {response_s}, {reason}, {close_code}, {closed_by}, {referer}, {user_agent}, {request_id}, {user}, {cut}, {tls_version}, {tls_suite}, {tls_sni}, {tls_resumed}, {client_cert_subject}, {client_cert_serial}, {client_cert_fingerprint} (did you mean {user_agent}?)`},
	{"a log format with a field twice", base + "access_log: {path: \"-\", format: \"{host} {host}\"}\n", `f:4:33: access_log.format: found {host} a second time, expected each field once`},
	{"a log format of two lines", base + "access_log: {path: \"-\", format: \"{host}\\n{status}\"}\n", `f:4:33: access_log.format: found a control character, expected one line of text`},
	{"a log format with a brace", base + "access_log: {path: \"-\", format: \"{host} }\"}\n", `f:4:33: access_log.format: found }, expected a name in braces, such as {host}`},
	{"page status", base + "error_pages: {200: x.html}\n", `f:4:15: error_pages: found 200, expected a status from 400 to 599`},
	{"page is a list", base + "error_pages: [x.html]\n", `f:4:14: error_pages: found a list, expected a mapping from statuses 400 to 599 to file names (e.g. {404: pages/404.html})`},
	{"page is nothing", base + "error_pages: {404: }\n", `f:4:20: error_pages.404: found nothing, expected a file name`},

	// Several at once, in file order; terminals are safe.
	{"several", "loops: 0\n" + listener + "routes: [{path: x, upstream: y}]\n", `f:1:8: loops: found 0, expected auto, a whole number from 1 to 1024, or a list of CPUs such as "0-3,8" (for CPU 0 alone write "0-0")
f:3:17: routes[0].path: found "x", expected a path such as /users, /users/:id or /files/*rest (a path begins with /)
f:3:30: routes[0].upstream: found "y", expected the name of an upstream (there are none: add it under upstreams)`},
	{"escape sequence", base + "io: \"\\e[2J\"\n", `f:4:5: io: found "\x1b[2J", expected one of auto, uring, epoll`},
	{"through an alias", base + "limits: {headers: &n 5}\nshutdown: {grace: *n}\n", `f:4:19: limits.headers: found 5, expected a whole number from 8 to 1024
f:5:19: shutdown.grace: found 5, expected a duration from 0s to 24h, e.g. "60s", "1m30s" (add the unit: 5s or 5ms)`},
}

func TestErrorMessages(t *testing.T) {
	if _, err := Parse("f", []byte(base)); err != nil {
		t.Fatal("what the cases build upon is not valid itself:", err)
	}
	for _, c := range goldenErrors {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse("f", []byte(c.file))
			if err == nil {
				t.Fatalf("accepted: %+v\nwant: %s", got, c.want)
			}
			if got != nil {
				t.Error("a configuration comes with the error")
			}
			if err.Error() != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", err, c.want)
			}
		})
	}
}

func TestErrorsCarryTheirParts(t *testing.T) {
	_, err := Parse("z.yaml", []byte(base+"dns: {interval: often}\n"))
	var list *Errors
	if !errors.As(err, &list) || len(*list) != 1 {
		t.Fatalf("%T: %v", err, err)
	}
	want := Error{File: "z.yaml", Line: 4, Col: 17, Key: "dns.interval", Value: `"often"`,
		Want: `a duration from 1s to 24h, e.g. "60s", "1m30s"`, Hint: "units are ms, s, m, h"}
	if (*list)[0] != want {
		t.Errorf("got %+v, want %+v", (*list)[0], want)
	}
}

// TestLoadReportsFiles covers what only reading from disk can find.
func TestLoadReportsFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("big.html", strings.Repeat("a", MaxBodyBytes+1))
	write("latin1.html", "caf\xe9")
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none.yaml"), `found no such file, expected a configuration file that can be read`},
		{dir, `found a directory, expected a configuration file that can be read`},
		{write("pages.yaml", base+"error_pages: {404: none.html, 500: big.html, 502: latin1.html}\n"),
			`error_pages.404: found "none.html", no such file, expected a file that can be read (relative to the configuration file)` +
				"\nerror_pages.500: found \"big.html\" of 65537 bytes, expected at most 64KiB" +
				"\nerror_pages.502: found \"latin1.html\", not UTF-8, expected text in UTF-8"},
	} {
		_, err := Load(c.path)
		if err == nil {
			t.Fatal(c.path, "is accepted")
		}
		var got []string
		for _, line := range strings.Split(err.Error(), "\n") {
			rest, ok := strings.CutPrefix(line, c.path)
			if !ok {
				t.Errorf("%q does not begin with the file", line)
			}
			_, rest, _ = strings.Cut(rest, ": ")
			got = append(got, rest)
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("got:\n%s\nwant:\n%s", s, c.want)
		}
	}
}
