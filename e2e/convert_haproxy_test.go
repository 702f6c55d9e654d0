package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// haproxyFrame is what stands before each configuration.
const haproxyFrame = `global
    maxconn 1000
    log stderr format raw local0

defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    option httplog

`

var haproxyTranslations = []translation{
	{
		name: "virtual hosts",
		config: `
frontend web
    bind LISTEN
    acl is_api hdr(host) -i api.example.com
    acl is_tenant hdr_end(host) -i .example.org
    use_backend api if is_api
    use_backend tenants if is_tenant
    use_backend www if { hdr(host) -i example.com www.example.com }
    default_backend fallback

backend www
    server a ORIGIN_A
backend api
    server b ORIGIN_B
backend tenants
    server c ORIGIN_C
backend fallback
    http-request deny deny_status 404
`,
		requests: []asking{
			{url: "http://example.com/a?b=1", status: 200, want: `"origin":"a"`},
			{url: "http://www.example.com/", status: 200, want: `"origin":"a"`},
			{url: "http://API.example.com/v1", status: 200, want: `"origin":"b"`},
			{url: "http://one.example.org/v1", method: "POST", body: "x=1", fields: "Content-Type: application/x-www-form-urlencoded", status: 200, want: `"origin":"c"`},
			{url: "http://other.example.net/", status: 404},
			{url: "http://example.com/none?status=404", status: 404},
		},
	},
	{
		name: "redirects",
		config: `
frontend web
    bind LISTEN
    http-request redirect code 301 location http://example.com%[capture.req.uri] if { hdr(host) -i www.example.com }
    redirect prefix http://docs.example.com code 307 if { path_beg /docs/ }
    redirect location /new?from=old code 302 if { path /old }
    http-request redirect scheme https code 308 if { path_beg /secure/ }
    http-request redirect prefix http://drop.example.com drop-query code 303 if { path /drop }
    http-request deny deny_status 410 if { path /gone }
    default_backend app
backend app
    server a ORIGIN_A
`,
		requests: []asking{
			{url: "http://www.example.com/x/y?z=1", status: 301},
			{url: "http://www.example.com/", status: 301},
			{url: "http://example.com/docs/a/b?c=1", status: 307},
			{url: "http://example.com/old", status: 302},
			{url: "http://example.com/secure/x?y=1", status: 308},
			{url: "http://example.com/drop?y=1", status: 303},
			{url: "http://example.com/gone", status: 410},
			{url: "http://example.com/older", status: 200, want: `"origin":"a"`},
		},
	},
	{
		name: "prefixes",
		config: `
frontend web
    bind LISTEN
    use_backend status if { path /api/v2/status }
    use_backend v2 if { path_beg /api/v2/ }
    use_backend api if { path_beg /api/ } || { path_beg /rest/ }
    use_backend static if { path_reg ^/(assets|media)/ }
    use_backend items if { path_reg ^/items/[0-9]+$ }
    default_backend app
backend app
    server a ORIGIN_A
backend api
    server b ORIGIN_B
backend v2
    server c ORIGIN_C
backend static
    server c ORIGIN_C
backend items
    server b ORIGIN_B
backend status
    http-request return status 200 content-type application/json string '{"ok": true}'
`,
		requests: []asking{
			{url: "http://x/", status: 200, want: `"origin":"a"`},
			{url: "http://x/api/v1/x", status: 200, want: `"origin":"b"`},
			{url: "http://x/rest/v1/x", status: 200, want: `"origin":"b"`},
			{url: "http://x/api/v2/x", status: 200, want: `"origin":"c"`},
			{url: "http://x/api/v2/status", status: 200, bodies: true, want: "true"},
			{url: "http://x/assets/x.css", status: 200, want: `"origin":"c"`},
			{url: "http://x/media/x/y.png", status: 200, want: `"origin":"c"`},
			{url: "http://x/items/42", status: 200, want: `"origin":"b"`},
			{url: "http://x/items/", status: 200, want: `"origin":"a"`},
			{url: "http://x/api", status: 200, want: `"origin":"a"`},
		},
	},
	{
		name: "weights and backups",
		config: `
frontend web
    bind LISTEN
    use_backend fallback if { path_beg /backup/ }
    use_backend none if { path_beg /none/ }
    default_backend app
backend app
    balance roundrobin
    server a ORIGIN_A weight 3
    server b ORIGIN_B weight 1
backend fallback
    option redispatch 1
    default-server inter 200ms fall 1
    server dead DEAD check
    server c ORIGIN_C backup
backend none
    server dead DEAD
`,
		requests: []asking{
			{url: "http://x/", times: 16},
			{url: "http://x/backup/", status: 200, want: `"origin":"c"`, await: true},
			{url: "http://x/backup/", method: "POST", body: "data", status: 200, want: `"body":"data"`},
			{url: "http://x/none/", status: 503, differs: 502},
		},
	},
	{
		name: "health checks",
		config: `
listen app
    bind LISTEN
    balance roundrobin
    option httpchk GET /health?status=200
    http-check expect status 200
    option redispatch
    retries 3
    default-server inter 500ms fall 1 rise 1
    server dead DEAD check
    server a ORIGIN_A check
`,
		requests: []asking{
			{url: "http://x/", times: 6, unnamed: true},
			{url: "http://x/", status: 200, want: `"origin":"a"`},
			{url: "http://x/", method: "POST", body: "data", status: 200, want: `"body":"data"`},
		},
	},
	{
		name: "websocket",
		config: `
frontend web
    bind LISTEN
    acl ws path_beg /ws/
    http-request deny deny_status 404 unless ws
    default_backend chat
backend chat
    balance source
    hash-type consistent
    timeout tunnel 1h
    server a ORIGIN_A
    server b ORIGIN_B
`,
		requests: []asking{
			{url: "http://x/ws/room", ws: true},
			{url: "http://x/ws/room", times: 5, unnamed: true},
			{url: "http://x/other", status: 404},
		},
	},
	{
		name: "grpc",
		config: `
frontend grpc
    bind LISTEN proto h2
    http-request return status 404 unless { path_beg /helloworld.Greeter/ }
    use_backend greeter if { path_beg /helloworld.Greeter/ }
backend greeter
    server g H2C proto h2
`,
		requests: []asking{
			{url: "http://x/helloworld.Greeter/SayHello", method: "POST", body: "\x00\x00\x00\x00\x01x", h2c: true, fields: "Content-Type: application/grpc\nTe: trailers", status: 200, want: `"uri":"/helloworld.Greeter/SayHello"`},
			{url: "http://x/other", h2c: true, status: 404},
		},
	},
	{
		name: "tls",
		config: `
frontend clear
    bind LISTEN
    http-request redirect scheme https code 301 unless { ssl_fc }
frontend web
    bind LISTEN2 ssl crt DIR/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    use_backend through if { path_beg /through/ }
    default_backend app
backend app
    server a ORIGIN_A
backend through
    server t ORIGIN_TLS ssl verify none sni str(example.com)
`,
		requests: []asking{
			{url: "http://example.com/a?b=1", status: 301},
			{url: "https://example.com/a?b=1", to: "LISTEN2", status: 200, want: `"origin":"a"`},
			{url: "https://example.com/through/x", to: "LISTEN2", status: 200, want: `"origin":"tls"`},
		},
	},
	{
		name: "methods",
		config: `
frontend web
    bind LISTEN
    monitor-uri /alive
    acl upload path_beg /upload/
    acl writing method PUT POST
    http-request deny deny_status 405 if upload !writing
    http-request deny if !upload !METH_GET
    http-request return status 200 content-type text/plain string "User-agent: *\nDisallow: /\n" if { path /robots.txt }
    http-request return status 204 if { path /empty }
    use_backend upload if upload
    default_backend app
backend app
    server a ORIGIN_A
backend upload
    server b ORIGIN_B
`,
		requests: []asking{
			{url: "http://x/", status: 200, want: `"origin":"a"`},
			{url: "http://x/", method: "DELETE", status: 403},
			{url: "http://x/upload/x", method: "PUT", body: "abc", status: 200, want: `"origin":"b"`},
			{url: "http://x/upload/x", status: 405},
			{url: "http://x/robots.txt", status: 200, bodies: true, want: "Disallow"},
			{url: "http://x/empty", status: 204},
			{url: "http://x/alive", status: 200},
		},
	},
	{
		name: "several frontends",
		config: `
frontend public
    bind LISTEN
    option forwardfor
    use_backend app if { path_beg /app/ }
    default_backend site
frontend internal
    bind LISTEN2
    bind LISTEN3
    option forwardfor
    default_backend app
backend site
    balance leastconn
    server a ORIGIN_A maxconn 50
    server b ORIGIN_B maxconn 50 disabled
backend app
    server c ORIGIN_C
`,
		requests: []asking{
			{url: "http://x/", status: 200, want: `"X-Forwarded-For":["127.0.0.1"]`},
			{url: "http://x/", times: 4},
			{url: "http://x/", to: "LISTEN2", status: 200, want: `"origin":"c"`},
			{url: "http://x/", to: "LISTEN3", status: 200, want: `"origin":"c"`},
		},
	},
	{
		name: "defaults and environment",
		config: `
global
    setenv SITE example.com
    nbthread 1
defaults short
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 10s
    timeout http-request 20s
    timeout http-keep-alive 5s
    retries 1
    retry-on conn-failure empty-response 503
frontend web from short
    bind LISTEN
    use_backend site if { hdr(host) "$SITE" }
    use_backend none if { hdr(host) -i "none.${SITE}" }
    default_backend "${OTHER-other}"
backend site from short
    server a ORIGIN_A
    server s2 ORIGIN_B weight 0
backend none from short
    server d DEAD
backend other from short
    server c ORIGIN_C
backend off from short
    disabled
    server c DEAD
`,
		requests: []asking{
			{url: "http://example.com/", times: 4},
			{url: "http://example.com/", status: 200, want: `"origin":"a"`},
			{url: "http://none.example.com/", status: 503, differs: 502},
			{url: "http://other.example.com/", status: 200, want: `"origin":"c"`},
		},
	},
	{
		name: "quoting",
		config: `
frontend web # a comment; with 'quotes
    bind LISTEN
    http-request return status 200 content-type text/plain string "a;b {c} 'd' \"e\" \\ \t\n\x41." if { path /1 }
    http-request return status 200 content-type text/plain string 'a "b" \d # no comment $X' if { path /2 } # a comment
    http-request return status 200 content-type text/plain string a"b"c'd'\#e\ f;g if { path /3 }
    http-request return status 200 content-type text/plain string a\ \#\"b\'\$x$y if { path /4 }
    http-request return status 200 content-type text/plain string "it\'s \q \$x ${NONE-usual}" if { path /5 }
    http-request return status 200 content-type "text/plain" string six if { path_reg '^/6/(x|y)$' }
    http-request deny deny_status 404
`,
		requests: []asking{
			{url: "http://x/1", status: 200, bodies: true},
			{url: "http://x/2", status: 200, bodies: true},
			{url: "http://x/3", status: 200, bodies: true},
			{url: "http://x/4", status: 200, bodies: true},
			{url: "http://x/5", status: 200, bodies: true},
			{url: "http://x/6/y", status: 200, bodies: true, want: "six"},
			{url: "http://x/6/z", status: 404},
		},
	},
	{
		name: "what is left out",
		config: `
frontend web
    bind LISTEN
    log 127.0.0.1:514 local0
    stick-table type ip size 100k expire 30s store http_req_rate(10s)
    http-request track-sc0 src
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000 }
    http-request set-header X-Team one if METH_POST
    use_backend canary if { hdr(x-canary) -m found }
    default_backend app
    compression algo gzip
backend app
    cookie SRV insert indirect
    server a ORIGIN_A cookie a
backend canary
    server b ORIGIN_B
`,
		lost:     []string{"log", "stick-table", "http-request track-sc0", "http-request deny", "http-request set-header", "use_backend", "compression algo", "cookie"},
		requests: []asking{{url: "http://x/?status=404", status: 404}},
	},
}

// What HAProxy does with requests its translation does as well.
func TestConvertHAProxy(t *testing.T) {
	need(t, "haproxy")
	for _, tr := range haproxyTranslations {
		t.Run(tr.name, func(t *testing.T) {
			tr.config = haproxyFrame + strings.TrimSpace(tr.config) + "\n"
			translated(t, "haproxy", tr, func(s *stage, text string) {
				h := spawn(s.t, "haproxy", "-db", "-f", writeFile(s.t, filepath.Join(s.dir, "haproxy.cfg"), text))
				h.awaitListener(s.t, s.listen[0]["LISTEN"])
			})
		})
	}
}
