package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nginxFrame is what each configuration is within.
const nginxFrame = `USER
daemon off;
worker_processes 1;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    access_log DIR/access.log;
    CASE
}
`

var nginxTranslations = []translation{
	{
		name: "virtual hosts",
		config: `
    server {
        listen LISTEN;
        server_name example.com www.example.com;
        location / { proxy_pass http://ORIGIN_A; proxy_set_header Host $host; }
    }
    server {
        listen LISTEN;
        server_name api.example.com *.api.example.com;
        location / { proxy_pass http://ORIGIN_B; }
    }
    server {
        listen LISTEN default_server;
        server_name _;
        return 404;
    }`,
		requests: []asking{
			{url: "http://example.com/a?b=1", status: 200, want: `"origin":"a"`},
			{url: "http://www.example.com/", status: 200},
			{url: "http://API.example.com/v1", status: 200, want: `"origin":"b"`},
			{url: "http://api.example.com/v1", status: 200, want: `"origin":"b"`},
			{url: "http://eu.api.example.com/v1", method: "POST", body: "x=1", fields: "Content-Type: application/x-www-form-urlencoded", status: 200},
			{url: "http://other.example.com/", status: 404},
			{url: "http://example.com/none?status=404", status: 404},
		},
	},
	{
		name: "redirects",
		config: `
    server {
        listen LISTEN;
        server_name www.example.com;
        return 301 $scheme://example.com$request_uri;
    }
    server {
        listen LISTEN;
        server_name example.com;
        rewrite ^/blog/(.*)$ /articles/$1 permanent;
        rewrite ^/user/([^/]+)/profile$ /people/$1 redirect;
        location = /old { return 302 /new?from=old; }
        location /docs/ { return 307 https://docs.example.com$request_uri; }
        location ~ ^/(shop|store)(/|$) { return 308 http://shop.example.com/; }
        location = /gone { return 410; }
        location / { proxy_pass http://ORIGIN_A; proxy_set_header Host $http_host; }
    }`,
		requests: []asking{
			{url: "http://www.example.com/x/y?z=1", status: 301},
			{url: "http://www.example.com/", status: 301},
			{url: "http://example.com/blog/2020/post?page=2", status: 301},
			{url: "http://example.com/blog/", status: 301},
			{url: "http://example.com/user/anna/profile", status: 302},
			{url: "http://example.com/user/anna/other", status: 200},
			{url: "http://example.com/old", status: 302},
			{url: "http://example.com/docs/a/b?c", status: 307},
			{url: "http://example.com/shop", status: 308},
			{url: "http://example.com/store/x", status: 308, method: "POST"},
			{url: "http://example.com/gone", status: 410},
			{url: "http://example.com/", status: 200},
		},
	},
	{
		name: "prefixes",
		config: `
    server {
        listen LISTEN;
        location / { proxy_pass http://ORIGIN_A; }
        location /api/ { proxy_pass http://ORIGIN_B; }
        location /api/v2/ { proxy_pass http://ORIGIN_C; }
        location = /api/v2/status { default_type application/json; return 200 '{"ok": true}\n'; }
        location ^~ /assets/ { proxy_pass http://ORIGIN_C; }
        location ~ ^/(assets|media)/ { proxy_pass http://ORIGIN_B; }
        location /media/large/ { proxy_pass http://ORIGIN_A; }
        location /admin { deny all; }
        location ~ ^/items/[0-9]+$ { proxy_pass http://ORIGIN_C; }
    }`,
		requests: []asking{
			{url: "http://x/", status: 200, want: `"origin":"a"`},
			{url: "http://x/api/v1/x", status: 200, want: `"origin":"b"`},
			{url: "http://x/api?q=1", status: 301},
			{url: "http://x/api/v2/x", status: 200, want: `"origin":"c"`},
			{url: "http://x/api/v2", status: 301},
			{url: "http://x/api/v2/status", status: 200, bodies: true, want: "true"},
			{url: "http://x/assets/x.css", status: 200, want: `"origin":"c"`},
			{url: "http://x/media/x.png", status: 200, want: `"origin":"b"`},
			{url: "http://x/media/large/x.png", status: 200, want: `"origin":"b"`},
			{url: "http://x/admin/users", status: 403},
			{url: "http://x/items/42", status: 200, want: `"origin":"c"`},
			{url: "http://x/a/../api/./v1/", times: 1},
		},
	},
	{
		name: "client address",
		config: `
    server {
        listen LISTEN;
        set_real_ip_from 127.0.0.0/8;
        real_ip_header X-Forwarded-For;
        real_ip_recursive on;
        location / {
            proxy_pass http://ORIGIN_A;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
        location /plain { return 200 "plain text; with \"quotes\", a \\ and a tab\t.\n"; }
    }`,
		requests: []asking{
			{url: "http://x/", fields: "X-Real-IP: 192.0.2.9", status: 200, want: `"X-Real-Ip":["127.0.0.1"]`},
			{url: "http://x/plain", status: 200, bodies: true, want: "quotes"},
		},
	},
	{
		name: "weights",
		config: `
    upstream app {
        server ORIGIN_A weight=3;
        server ORIGIN_B;
        keepalive 16;
    }
    upstream spread { least_conn; server ORIGIN_A; server ORIGIN_C down; }
    upstream fallback {
        server DEAD max_fails=1 fail_timeout=10s;
        server ORIGIN_C backup;
    }
    server {
        listen LISTEN;
        location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }
        location /least/ { proxy_pass http://spread; }
        location /backup/ { proxy_pass http://fallback; proxy_next_upstream error timeout; proxy_connect_timeout 1s; }
        location /none/ { proxy_pass http://DEAD; }
    }`,
		requests: []asking{
			{url: "http://x/", times: 16},
			{url: "http://x/", status: 200, want: `"host":"app"`},
			{url: "http://x/least/", times: 4},
			{url: "http://x/backup/", status: 200, want: `"origin":"c"`},
			{url: "http://x/backup/", method: "POST", body: "data", status: 200, want: `"body":"data"`},
			{url: "http://x/none/", status: 502},
		},
	},
	{
		name: "websocket",
		config: `
    map $http_upgrade $connection_upgrade {
        default upgrade;
        ''      close;
    }
    upstream chat { ip_hash; server ORIGIN_A; server ORIGIN_B; }
    server {
        listen LISTEN;
        location /ws/ {
            proxy_pass http://chat;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $host;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }
    }`,
		requests: []asking{
			{url: "http://x/ws/room", ws: true},
			{url: "http://x/ws/room", times: 5, unnamed: true},
			{url: "http://x/other", status: 404},
		},
	},
	{
		name: "grpc",
		config: `
    upstream greeter { server H2C; keepalive 8; }
    server {
        listen LISTEN http2;
        location /helloworld.Greeter/ { grpc_pass grpc://greeter; grpc_read_timeout 10s; }
        location / { return 404; }
    }`,
		requests: []asking{
			{url: "http://x/helloworld.Greeter/SayHello", method: "POST", body: "\x00\x00\x00\x00\x01x", h2c: true, fields: "Content-Type: application/grpc\nTe: trailers", status: 200, want: `"uri":"/helloworld.Greeter/SayHello"`},
			{url: "http://x/other", h2c: true, status: 404},
		},
	},
	{
		name: "tls",
		config: `
    ssl_certificate DIR/cert.pem;
    ssl_certificate_key DIR/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers HIGH:!aNULL;
    ssl_session_cache shared:SSL:1m;
    server {
        listen LISTEN;
        server_name example.com www.example.com;
        if ($host = www.example.com) {
            return 301 https://example.com$request_uri;
        }
        return 301 https://$host$request_uri;
    }
    server {
        listen LISTEN2 ssl http2;
        server_name example.com;
        location / { proxy_pass http://ORIGIN_A; proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-For $remote_addr; }
    }
    server {
        listen LISTEN3 ssl;
        server_name example.com;
        location / { proxy_pass https://ORIGIN_TLS; proxy_ssl_server_name on; proxy_ssl_name example.com; proxy_set_header Host example.com; proxy_set_header X-Forwarded-For $remote_addr; }
    }`,
		requests: []asking{
			{url: "http://www.example.com/a?b", status: 301},
			{url: "http://example.com/a?b", status: 301},
			{url: "https://example.com/a?b", to: "LISTEN2", status: 200, want: `"origin":"a"`},
			{url: "https://example.com/through", to: "LISTEN3", status: 200, want: `"uri":"/through"`},
		},
	},
	{
		name: "limits and pages",
		files: map[string]string{"html/50x.html": "<h1>later</h1>\n", "conf.d/a.conf": "server { listen LISTEN; server_name a; include DIR/snippets/*.conf; location / { proxy_pass http://DEAD; } }\n",
			"snippets/errors.conf": "error_page 500 502 503 504 /50x.html;\nlocation = /50x.html { root DIR/html; internal; }\n"},
		config: `
    client_max_body_size 1k;
    client_header_timeout 15s;
    client_body_timeout 20;
    keepalive_timeout 1m 30s;
    sendfile on;
    server_tokens off;
    log_format main '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer"';
    include DIR/conf.d/*.conf;`,
		requests: []asking{
			{url: "http://a/", status: 502, bodies: true, want: "later"},
			{url: "http://a/", method: "POST", body: strings.Repeat("x", 2000), status: 413},
		},
	},
	{
		name: "methods and conditions",
		config: `
    split_clients "$request_id" $variant {
        25% ORIGIN_B;
        *   ORIGIN_A;
    }
    server {
        listen LISTEN;
        server_name example.com;
        set $backend "ORIGIN_C";
        location / {
            if ($request_method !~ ^(GET|HEAD)$) { return 405; }
            proxy_pass http://ORIGIN_A;
        }
        location /upload/ {
            limit_except POST PUT { deny all; }
            proxy_pass http://ORIGIN_B;
        }
        location /set/ { proxy_pass http://$backend; }
        location /robots.txt { return 200 "User-agent: *\nDisallow: /\n"; }
        location = /empty { return 204; }
    }`,
		requests: []asking{
			{url: "http://example.com/", status: 200},
			{url: "http://example.com/", method: "DELETE", status: 405},
			{url: "http://example.com/upload/x", method: "PUT", body: "abc", status: 200, want: `"origin":"b"`},
			{url: "http://example.com/upload/x", status: 403},
			{url: "http://example.com/set/x", status: 200, want: `"origin":"c"`},
			{url: "http://example.com/robots.txt", status: 200, bodies: true},
			{url: "http://example.com/empty", status: 204, bodies: true},
		},
	},
	{
		name: "quoting",
		config: `
    server {
        listen LISTEN;
        location = /1 { return 200 "a;b {c} 'd' \"e\" \\ \t\n\x."; }
        location = /2 { return 200 'a "b" \'c\' \d # no comment'; } # a comment; with { braces
        location = /3 { return 200 a"b"c'd'#e\ f\;g; }
        location = /4 {
            return
                200
                "two
lines";
        }
        location "/5" { return 200 ""; }
        location ~ "^/6/(x|y)$" { return 200 six; }
    }`,
		requests: []asking{
			{url: "http://x/1", status: 200, bodies: true},
			{url: "http://x/2", status: 200, bodies: true},
			{url: "http://x/3", status: 200, bodies: true},
			{url: "http://x/4", status: 200, bodies: true, want: "two\nlines"},
			{url: "http://x/5", status: 200},
			{url: "http://x/6/y", status: 200, bodies: true, want: "six"},
			{url: "http://x/6/z", status: 404},
		},
	},
	{
		name: "what is left out",
		config: `
    proxy_cache_path DIR/cache keys_zone=c:1m;
    server {
        listen LISTEN;
        root DIR;
        location / { proxy_cache c; proxy_pass http://ORIGIN_A; proxy_set_header Host $host; }
        location ~ \.php$ { fastcgi_pass 127.0.0.1:9; }
        location /files/ { autoindex on; }
    }`,
		lost:     []string{"proxy_cache_path", "proxy_cache", "location", "fastcgi_pass", "autoindex", "root"},
		requests: []asking{{url: "http://x/a", status: 200}},
	},
}

// What nginx does with requests its translation does as well.
func TestConvertNginx(t *testing.T) {
	need(t, "nginx")
	for _, tr := range nginxTranslations {
		t.Run(tr.name, func(t *testing.T) {
			tr.config = strings.Replace(nginxFrame, "CASE", strings.TrimSpace(tr.config), 1)
			tr.config = strings.Replace(tr.config, "USER", map[bool]string{true: "user root;"}[os.Getuid() == 0], 1)
			translated(t, "nginx", tr, func(s *stage, text string) {
				n := spawn(s.t, "nginx", "-c", writeFile(s.t, filepath.Join(s.dir, "nginx.conf"), text), "-p", s.dir)
				n.awaitListener(s.t, s.listen[0]["LISTEN"])
			})
		})
	}
}
