package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nginx is an nginx as origin. Root is what it serves; /hello answers from
// memory, /dav/ takes PUT, /slow/ sends at 64 KiB/s.
type nginx struct {
	*process
	t      *testing.T
	addr   string // 127.0.0.1:port, or unix:/path
	dir    string
	config string
	root   string
}

// nginxConfig wants: user line, directory (twice), address, directory, directives.
const nginxConfig = `%s
daemon off;
worker_processes 1;
pid %[2]s/nginx.pid;
error_log stderr warn;
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 10000000;
  client_max_body_size 0;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  server {
    listen %[3]s backlog=4096;
    root %[4]s;
    %[5]s
    location = /hello { default_type text/plain; return 200 "hello\n"; }
    location /dav/ { dav_methods PUT; create_full_put_path on; }
    location /slow/ { alias %[4]s/; limit_rate 64k; }
  }
}
`

// startNginx runs an nginx on a free port that serves root.
func startNginx(t *testing.T, root string) *nginx {
	t.Helper()
	return startNginxFor(t, "http1", root)
}

// startNginxFor is startNginx with the protocol given: http1, h2c, or tls with the
// files of a certificate and its key.
func startNginxFor(t *testing.T, protocol, root string, pem ...string) *nginx {
	t.Helper()
	option, secure := "", ""
	switch protocol {
	case "h2c":
		option = " http2"
	case "tls":
		option, secure = " ssl http2", fmt.Sprintf("ssl_certificate %s; ssl_certificate_key %s;", pem[0], pem[1])
	}
	for try := 1; ; try++ {
		n := newNginx(t, freeAddr(t), option, secure, root)
		if n.start() {
			return n
		}
		if try == startTries || !strings.Contains(n.out.String(), "in use") {
			t.Fatalf("nginx does not start:\n%s", tail(n.out.String()))
		}
	}
}

// startNginxAt runs an nginx on the address given.
func startNginxAt(t *testing.T, addr, root string) *nginx {
	t.Helper()
	n := newNginx(t, addr, "", "", root)
	if !n.start() {
		t.Fatalf("nginx does not start:\n%s", tail(n.out.String()))
	}
	return n
}

// newNginx prepares an nginx; option is what stands behind its address, secure are
// directives.
func newNginx(t *testing.T, addr, option, secure, root string) *nginx {
	t.Helper()
	need(t, "nginx")
	n := &nginx{t: t, addr: addr, dir: t.TempDir(), root: root}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // its workers read what only root may
	}
	n.config = writeFile(t, filepath.Join(n.dir, "nginx.conf"), fmt.Sprintf(nginxConfig, user, n.dir, addr+option, root, secure))
	return n
}

// start runs it; false when it ended instead of listening.
func (n *nginx) start() bool {
	n.t.Helper()
	n.process = spawn(n.t, "nginx", "-c", n.config, "-p", n.dir)
	network, addr := "tcp", n.addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	return n.listens(network, addr)
}

// kill ends it at once, whatever it is doing: nginx's fast shutdown.
func (n *nginx) kill() {
	n.t.Helper()
	n.signal(n.t, syscall.SIGTERM)
	n.wait(n.t, patience)
}

// restart ends it and starts it again at the same address after the pause.
func (n *nginx) restart(pause time.Duration) {
	n.t.Helper()
	n.kill()
	time.Sleep(pause)
	for try := 1; !n.start(); try++ {
		if try == startTries {
			n.t.Fatalf("nginx does not start again:\n%s", tail(n.out.String()))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
