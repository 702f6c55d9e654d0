package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// dnsmasq is one that serves addresses out of a file in the form of /etc/hosts.
type dnsmasq struct {
	*process
	addr, hosts string
}

func startDnsmasq(t *testing.T, hosts string, args ...string) *dnsmasq {
	t.Helper()
	bin, err := exec.LookPath("dnsmasq")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/dnsmasq"); err != nil {
			lacks(t, "dnsmasq")
		}
	}
	for try := 1; ; try++ {
		d := &dnsmasq{addr: freeAddr(t), hosts: filepath.Join(t.TempDir(), "hosts")}
		_, port, _ := net.SplitHostPort(d.addr)
		writeFile(t, d.hosts, hosts)
		d.process = spawn(t, bin, append([]string{"--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--local=/test/", "--local-ttl=1",
			"--listen-address=127.0.0.1", "--bind-interfaces", "--port=" + port, "--addn-hosts=" + d.hosts}, args...)...)
		if d.listens("tcp", d.addr) {
			return d
		}
		if try == startTries {
			t.Fatalf("dnsmasq does not start:\n%s", tail(d.out.String()))
		}
	}
}

// becomes has it serve other addresses.
func (d *dnsmasq) becomes(t *testing.T, hosts string) {
	t.Helper()
	writeFile(t, d.hosts, hosts)
	d.signal(t, syscall.SIGHUP)
}

// onPort runs an origin on that port of an address, or on any if that is 0, which says its address.
func onPort(t *testing.T, ip string, port int) (addr string, err error) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	addr = l.Addr().String()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ip) })}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return addr, nil
}

// onOnePort runs origins at 127.0.0.2 and 127.0.0.3, which have the same port.
func onOnePort(t *testing.T) (port string) {
	t.Helper()
	for try := 1; ; try++ {
		one, err := onPort(t, "127.0.0.2", 0)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(one)
		n, _ := strconv.Atoi(port)
		if _, err := onPort(t, "127.0.0.3", n); err == nil {
			return port
		} else if try == startTries {
			t.Fatal(err)
		}
	}
}

// Endpoints are found by a real name server: addresses, more than a datagram has room for, and services.
// When it has others they are served by, and when it has none, or is gone, the last ones.
func TestDiscoverDNS(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		port := onOnePort(t)
		d := startDnsmasq(t, "127.0.0.2 app.test one.test\n",
			"--srv-host=_http._tcp.app.test,one.test,"+port+",1,5", "--srv-host=_http._tcp.app.test,two.test,"+port+",1,5")
		const text = `
listeners: [{address: LISTEN}]
upstreams:
  app: {discover: {dns: {name: app.test, port: %s, servers: [%q], min_interval: 100ms, max_interval: 1s}}}
  services: {discover: {dns: {name: _http._tcp.app.test, records: srv, servers: [%[2]q], min_interval: 100ms, max_interval: 1s}}}
routes: [{path: "/*", upstream: app}, {path: /services, upstream: services}]
`
		z := start(t, backend, fmt.Sprintf(text, port, d.addr))
		answered := func(path, want string) {
			t.Helper()
			eventually(t, 20*time.Second, path+" is answered by "+want, func() (bool, string) {
				got := get(t, z.url(path))
				return got == want, got + tail(z.out.String())
			})
		}
		answered("/", "127.0.0.2")
		answered("/services", "127.0.0.2")
		d.becomes(t, "127.0.0.3 app.test two.test\n")
		answered("/", "127.0.0.3")
		answered("/services", "127.0.0.3")
		many := "127.0.0.3 app.test two.test\n"
		for i := range 150 {
			many += fmt.Sprintf("127.9.9.%d many.test\n127.9.9.%[1]d app.test\n", i+1)
		}
		d.becomes(t, many)
		found := func(n float64) {
			t.Helper()
			eventually(t, 20*time.Second, fmt.Sprint(n, " endpoints are found"), func() (bool, string) {
				got := z.metrics(t).sum("zproxy_discovery_endpoints", `upstream="app"`)
				return got == n, fmt.Sprint(got, tail(z.out.String()))
			})
		}
		found(151)
		d.becomes(t, "127.0.0.2 app.test\n")
		found(1)
		answered("/", "127.0.0.2")
		d.becomes(t, "127.0.0.2 other.test\n")
		eventually(t, 20*time.Second, "there are none, and the last ones stay", func() (bool, string) {
			return z.metrics(t).sum("zproxy_discovery_kept", `upstream="app"`) == 1, tail(z.out.String())
		})
		answered("/", "127.0.0.2")
		was := z.metrics(t).sum("zproxy_discovery_failures_total", `upstream="app"`)
		d.signal(t, syscall.SIGTERM)
		<-d.exited
		eventually(t, 20*time.Second, "the server is missed", func() (bool, string) {
			return z.metrics(t).sum("zproxy_discovery_failures_total", `upstream="app"`) > was, tail(z.out.String())
		})
		if got := get(t, z.url("/")); got != "127.0.0.2" {
			t.Errorf("without a name server %q answers", got)
		}
	})
}
