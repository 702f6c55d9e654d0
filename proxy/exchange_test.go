package proxy

import (
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"zproxy/loop"
	"zproxy/proxy/snapshot"
)

var dateLine = regexp.MustCompile(`Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n`)

// exchangeCase is one conversation. origin is what each origin connection
// must receive, reply what it answers; an empty origin means that nothing may
// arrive there. Date lines in want are left out.
type exchangeCase struct {
	name   string
	config string
	send   string
	origin string
	reply  string
	want   string
	closes bool // the proxy closes the client's connection
	hangup bool // the origin closes after its reply
	eager  bool // the origin replies when it has the head
}

const xff = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"

var exchangeCases = []exchangeCase{
	{
		name:   "get",
		send:   "GET /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\n\r\n",
		origin: "GET /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	},
	{
		name:   "connection close from the client",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
		closes: true,
	},
	{
		name:   "hop-by-hop fields and those named in Connection go no further",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, x-secret\r\nKeep-Alive: 5\r\nX-Secret: 1\r\nProxy-Connection: x\r\nTE: gzip\r\nX-Kept: 1\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nX-Kept: 1\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "post with a length",
		send:   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		origin: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n" + xff + "\r\nhello",
		reply:  "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "chunked both ways, extensions dropped, trailers kept",
		send:   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
		origin: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + xff + "\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;e\r\nbc\r\n0\r\nX-R: 2\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-R: 2\r\n\r\n",
	},
	{
		name:   "chunked response to an HTTP/1.0 client ends with the connection",
		send:   "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
		closes: true,
	},
	{
		name:   "chunked response with a long head to an HTTP/1.0 client",
		send:   "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
		closes: true,
	},
	{
		name:   "until-close response becomes chunked",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.0 200 OK\r\n\r\nabc",
		hangup: true,
		want:   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	},
	{
		name:   "head keeps the length and has no body",
		send:   "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "HEAD / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n",
	},
	{
		name:   "304 has no body",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
		want:   "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
	},
	{
		name:   "204 has no length either",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 204 No Content\r\n\r\n",
	},
	{
		name:   "interim responses pass",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
		want:   "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
	},
	{
		name:   "absolute-form: its authority wins, the origin gets origin-form",
		send:   "GET http://other:81/p?q HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET /p?q HTTP/1.1\r\nHost: other:81\r\n" + strings.Replace(xff, "Host: h", "Host: other:81", 1) + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "OPTIONS *",
		send:   "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "OPTIONS * HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "the routed path is the forwarded path",
		send:   "GET /a/../b/./%63?x=../y HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET /b/c?x=../y HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "forged forwarding fields of an untrusted client are replaced",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "forged forwarding fields go even where the proxy adds none",
		config: "forwarding: {x_forwarded: false, forwarded: false}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "a redirect with variables",
		config: "routes: [{path: \"/*\", redirect: {to: \"https://{host}{path}?{query}\", status: 308}}]\n",
		send:   "GET /a/./b%7e?q=1%20&r HTTP/1.1\r\nHost: example.com:8080\r\n\r\n",
		want:   "HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nLocation: https://example.com/a/b~?q=1%20&r\r\n\r\n",
	},
	{
		name:   "a redirect with a parameter, without a query",
		config: "routes: [{path: \"/a/:id/*rest\", redirect: {to: \"{scheme}://b.example/{path.rest}/{path.id}?{query}\"}}]\n",
		send:   "GET /a/4%0d%0aX:y/b/c HTTP/1.1\r\nHost: h\r\n\r\n",
		want:   "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://b.example/b/c/4%0D%0AX:y\r\n\r\n",
	},
	{
		name:   "a redirect to a path is none to another host",
		config: "routes: [{path: \"/*\", redirect: {to: \"{path}\"}}]\n",
		send:   "GET //evil.example/ HTTP/1.1\r\nHost: h\r\n\r\n",
		want:   "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /.//evil.example/\r\n\r\n",
	},
	{
		name:   "a redirect by the name of the client",
		config: "forwarding: {trusted_proxies: [127.0.0.1]}\nroutes: [{path: \"/*\", redirect: {to: \"/{client_ip}/{request_id}\"}}]\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 2001:db8::1\r\nX-Request-ID: req-7\r\n\r\n",
		want:   "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /2001:db8::1/req-7\r\n\r\n",
	},
	{
		name:   "a redirect to a host that nobody has named",
		config: "routes: [{path: \"/*\", redirect: {to: \"https://{host}/\"}}]\n",
		send:   "GET / HTTP/1.0\r\n\r\n",
		want:   "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\nConnection: close\r\n\r\n400 Bad Request\n",
		closes: true,
	},
	{
		name:   "a trusted proxy's X-Request-ID goes on",
		config: "forwarding: {trusted_proxies: [127.0.0.1], request_id: true, x_forwarded: false}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nx_request_id: other\r\nX-Request-ID: req-7\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: req-7\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "a request that has been here before",
		config: "forwarding: {via: zp}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 other, 1.1 zp " + snapshot.Instance + ",1.0 another\r\n\r\n",
		want:   loopDetected,
	},
	{
		name:   "another instance of the tier is none",
		config: "forwarding: {via: zp, x_forwarded: false}\n",
		send:   "GET / HTTP/1.0\r\nHost: h\r\nVia: 1.1 zp (0123456789abcdef)\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 zp (0123456789abcdef)\r\nVia: 1.0 zp " + snapshot.Instance + "\r\n\r\n",
		reply:  "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nVia: 1.0 zp\r\n\r\n",
		closes: true,
	},
	{
		name:   "too many hops by Via",
		config: "forwarding: {max_hops: 3}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 a, 1.1 b\r\nVia: ,1.1 c\r\n\r\n",
		want:   loopDetected,
	},
	{
		name:   "too many hops by CDN-Loop",
		config: "forwarding: {max_hops: 2}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nCDN-Loop: a.example; x=1, b\r\n\r\n",
		want:   loopDetected,
	},
	{
		name:   "not too many hops",
		config: "forwarding: {max_hops: 3, x_forwarded: false}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nCDN-Loop: a.example, b\r\nVia: 1.1 a, 1.1 b\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nCDN-Loop: a.example, b\r\nVia: 1.1 a, 1.1 b\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "Max-Forwards is one less for the next",
		config: "forwarding: {x_forwarded: false}\n",
		send:   "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 10\r\n\r\n",
		origin: "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 9\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "Max-Forwards of a GET is the origin's affair",
		config: "forwarding: {x_forwarded: false}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "OPTIONS that goes no further",
		config: "routes: [{path: /x, methods: [GET, OPTIONS], upstream: app}]\n",
		send:   "OPTIONS /x HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAllow: GET, OPTIONS\r\n\r\n",
	},
	{
		name: "TRACE that goes no further",
		send: "TRACE /x?y HTTP/1.1\r\nHost: h\r\nX: y\r\nCookie: secret\r\nAuthorization: secret\r\nConnection: z\r\nZ: z\r\nMax-Forwards: 0\r\n\r\n",
		want: "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: 38\r\n\r\nTRACE /x?y HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n",
	},
	{
		name: "Max-Forwards that is no number",
		send: "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: -1\r\n\r\n",
		want: "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n\r\n400 Bad Request\n",
	},
	{
		name:   "X-Real-IP is the proxy's own",
		config: "forwarding: {x_real_ip: true, x_forwarded: false}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 9.9.9.9\r\nX_Real_IP: 9.9.9.9\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 127.0.0.1\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "X-Real-IP is whom a trusted proxy names",
		config: "forwarding: {x_real_ip: true, x_forwarded: false, trusted_proxies: [127.0.0.1]}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 9.9.9.9\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "what is dropped can be chosen",
		config: "forwarding: {drop: [X-Mine, X-Ours-*], x_forwarded: false}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 9.9.9.9\r\nx_mine: 1\r\nX-Ours-A: 2\r\nX-Ours-: 3\r\nX-Ours: 4\r\nX_Forwarded_For: 9.9.9.9\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 9.9.9.9\r\nX-Ours: 4\r\n\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "a trusted proxy's fields are extended",
		config: "forwarding: {trusted_proxies: [127.0.0.0/8], forwarded: true, via: zp}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\n" +
			"Forwarded: for=9.9.9.9, for=127.0.0.1;host=\"h\";proto=http\r\nVia: 1.1 zp " + snapshot.Instance + "\r\n\r\n",
		reply: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: 1.1 zp\r\n\r\n",
	},
	{
		name:   "no route",
		config: "routes: [{path: /x, upstream: app}]\n",
		send:   "GET /y HTTP/1.1\r\nHost: h\r\n\r\n",
		want:   "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 14\r\n\r\n404 Not Found\n",
	},
	{
		name:   "wrong method",
		config: "routes: [{path: /x, methods: [GET, POST], upstream: app}]\n",
		send:   "PUT /x HTTP/1.1\r\nHost: h\r\n\r\n",
		want:   "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 23\r\nAllow: GET, HEAD, POST\r\n\r\n405 Method Not Allowed\n",
	},
	{
		name:   "fixed answer and redirect, pipelined",
		config: "routes: [{path: /f, respond: {status: 200, body: \"ok\\n\"}}, {path: /r, redirect: {to: \"https://e/\", status: 308}}, {path: \"/*\", upstream: app}]\n",
		send:   "GET /f HTTP/1.1\r\nHost: h\r\n\r\nHEAD /f HTTP/1.1\r\nHost: h\r\n\r\nGET /r HTTP/1.1\r\nHost: h\r\n\r\n",
		want: "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nok\n" +
			"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\n" +
			"HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nLocation: https://e/\r\n\r\n",
	},
	{
		name:   "content-length with transfer-encoding",
		send:   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
		want:   "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\nConnection: close\r\n\r\n400 Bad Request\n",
		closes: true,
	},
	{
		name:   "garbage from the origin",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "what?\r\n\r\n",
		want:   "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n\r\n502 Bad Gateway\n",
	},
	{
		name:   "a response cut short is cut short",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		hangup: true,
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		closes: true,
	},
	{
		name:   "a chunked response cut short has no last chunk",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		hangup: true,
		want:   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		closes: true,
	},
	{
		name:   "upgrade becomes a tunnel, bytes behind the handshake included",
		send:   "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly",
		origin: "GET /ws HTTP/1.1\r\nHost: h\r\n" + xff + "Upgrade: echo\r\nConnection: upgrade\r\n\r\nearly",
		eager:  true,
		reply:  "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello",
		want:   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhello",
	},
	{
		name:   "settings of an upgrade that Connection does not name do not pass either",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nHTTP2-Settings: AA\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "a method that expects content says that there is none",
		send:   "PUT / HTTP/1.1\r\nHost: h\r\n\r\n",
		origin: "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "so does one of HTTP/1.0",
		send:   "POST / HTTP/1.0\r\nHost: h\r\n\r\n",
		origin: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		closes: true,
	},
	{
		name:   "absolute-form with the default port beside a Host without",
		send:   "GET http://svc:80/ HTTP/1.1\r\nHost: svc\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: svc:80\r\n" + strings.Replace(xff, "Host: h", "Host: svc:80", 1) + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "h2c upgrades do not pass",
		send:   "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
		origin: "GET / HTTP/1.1\r\nHost: h\r\n" + xff + "\r\n",
		reply:  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		want:   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
	{
		name:   "CONNECT",
		send:   "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n",
		want:   "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\nConnection: close\r\n\r\n501 Not Implemented\n",
		closes: true,
	},
	{
		name:   "body over the limit",
		config: "limits: {body_bytes: 4}\n",
		send:   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		want:   "HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 22\r\nConnection: close\r\n\r\n413 Content Too Large\n",
		closes: true,
	},
	{
		name:   "unreachable origin",
		config: "upstreams: {app: {endpoints: [{address: \"127.0.0.1:1\"}], pool: {queue_timeout: 300ms}}}\n",
		send:   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		want:   "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n\r\n502 Bad Gateway\n",
	},
}

// Every conversation gives exactly these bytes on both sides, whether the
// request arrives in one piece or byte by byte.
func TestExchanges(t *testing.T) {
	besides(t, func(t *testing.T, io loop.IO) {
		for _, tc := range exchangeCases {
			t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				for _, split := range []bool{false, true} {
					runExchange(t, io, &tc, split)
				}
			})
		}
	})
}

func runExchange(t *testing.T, io loop.IO, tc *exchangeCase, split bool) {
	t.Helper()
	arrived := make(chan string, 4)
	origin := startOrigin(t, func(n int, c net.Conn) {
		got, _ := readHead(c)
		if tc.eager {
			c.Write([]byte(tc.reply))
		}
		rest, _ := hear(c, func(rest string) bool { return sameBody(got+rest, tc.origin) })
		arrived <- got + rest
		if !tc.eager {
			c.Write([]byte(tc.reply))
		}
		if !tc.hangup {
			c.SetDeadline(time.Time{})
			readN(c, 1)
		}
	})
	r := start(t, io, 1, yaml(origin, tc.config), nil)
	c := r.dial()
	if split {
		for i := range len(tc.send) {
			if _, err := c.Write([]byte(tc.send[i : i+1])); err != nil {
				break // the proxy has refused it already
			}
			if i%7 == 0 {
				time.Sleep(100 * time.Microsecond)
			}
		}
	} else {
		c.Write([]byte(tc.send))
	}
	got, closed := hear(c, func(got string) bool {
		return !tc.closes && sameBody(dateLine.ReplaceAllString(got, ""), tc.want)
	})
	if got = dateLine.ReplaceAllString(got, ""); got != tc.want && !(split && sameBody(got, tc.want)) {
		t.Errorf("split %v: client got\n%q\nwant\n%q", split, got, tc.want)
	}
	if closed != tc.closes {
		t.Errorf("split %v: connection closed %v, want %v", split, closed, tc.closes)
	}
	wait := patience
	if tc.origin == "" {
		wait = 0
	}
	select {
	case b := <-arrived:
		if b != tc.origin && !(split && sameBody(b, tc.origin)) {
			t.Errorf("split %v: origin got\n%q\nwant\n%q", split, b, tc.origin)
		}
	case <-time.After(wait):
		if tc.origin != "" {
			t.Errorf("split %v: nothing reached the origin", split)
		}
	}
	c.Close()
	r.settled()
}

// sameBody: chunk boundaries may follow how the bytes arrived.
func sameBody(a, b string) bool { return unchunk(a) == unchunk(b) }

var chunkLines = regexp.MustCompile(`(?s)\r\n\r\n.*`)

func unchunk(s string) string {
	if !strings.Contains(s, "Transfer-Encoding: chunked") {
		return s
	}
	return chunkLines.ReplaceAllStringFunc(s, func(body string) string {
		return regexp.MustCompile(`(^|\r\n)[0-9a-f]+\r\n`).ReplaceAllString(body[4:], "")
	})
}

const loopDetected = "HTTP/1.1 508 Loop Detected\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 18\r\n\r\n508 Loop Detected\n"
