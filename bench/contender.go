package main

import (
	"bytes"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed peers
var peerFiles embed.FS

// contender is a proxy that takes part, with one way to configure it.
type contender struct {
	name     string
	program  string // key of bench.programs
	template string // below peers/; "" for the floor, which has only flags
	tuned    bool
	plain    bool   // speaks HTTP/1 with the origin even where others speak HTTP/2
	io       string // zproxy's backend
	args     func(config string, p *place) []string
}

// place is what a configuration is made from.
type place struct {
	Listen      string // 127.0.0.1:port
	Origin      string // as zproxy, nginx and the floor write it: ip:port or unix:/path
	OriginPath  string // the path alone
	Dir         string // for temporary files
	Connections int    // client and origin connections together
	Pool        int    // connections to the origin to keep; for zproxy, the most there may be
	Limit       int    // that others may have open to the origin, 0: any number
	Plain       string // where others listen for HTTP/1 besides, "": nowhere
	Files       int
	Tuned       bool
	HTTP2Client bool // clients speak HTTP/2, without TLS
	HTTP2Origin bool
	Upgrades    bool   // to WebSocket
	Patience    string // with who takes nothing; "": what is usual
	TLS         *keyFiles
	IO          string
	Loops       string // list of CPUs; "": one loop on any
	Admin       string // address of the metrics page; "": none
	Root        bool
}

var contenders = []contender{
	{name: "zproxy-epoll", program: "zproxy", template: "zproxy.yaml", io: "epoll", args: zproxyArgs},
	{name: "zproxy-uring", program: "zproxy", template: "zproxy.yaml", io: "uring", args: zproxyArgs},
	{name: "zproxy-epoll" + atOnce, program: "zproxy", template: "zproxy.yaml", tuned: true, io: "epoll", args: zproxyArgs},
	{name: "zproxy-uring" + atOnce, program: "zproxy", template: "zproxy.yaml", tuned: true, io: "uring", args: zproxyArgs},
	{name: "nginx", program: "nginx", template: "nginx.conf", args: nginxArgs},
	{name: "nginx-tuned", program: "nginx", template: "nginx.conf", tuned: true, args: nginxArgs},
	{name: "nginx-h1", program: "nginx", template: "nginx.conf", plain: true, args: nginxArgs},
	{name: "haproxy", program: "haproxy", template: "haproxy.cfg", args: haproxyArgs},
	{name: "haproxy-splice", program: "haproxy", template: "haproxy.cfg", tuned: true, args: haproxyArgs},
	{name: "floor", program: "floor", args: floorArgs("64")},
	{name: "floor-256k", program: "floor", args: floorArgs("256")},
	{name: "floor-h1", program: "floor", plain: true, args: floorArgs("64")},
}

func zproxyArgs(config string, _ *place) []string { return []string{"run", "-c", config} }

func haproxyArgs(config string, _ *place) []string { return []string{"-db", "-f", config} }

// -e: where to complain before the configuration has been read.
func nginxArgs(config string, p *place) []string {
	return []string{"-e", filepath.Join(p.Dir, "nginx-start.log"), "-p", p.Dir, "-c", config}
}

func floorArgs(kib string) func(string, *place) []string {
	return func(_ string, p *place) []string {
		return []string{"-listen", p.Listen, "-origin", p.Origin, "-buffer", kib}
	}
}

func contenderNamed(name string) *contender {
	for i := range contenders {
		if contenders[i].name == name {
			return &contenders[i]
		}
	}
	return nil
}

// started is a contender that takes part in a scenario.
type started struct {
	*contender
	process *process
	members []member // the process and its children, once it has answered
	url     string
}

// origin starts what is behind the proxies and returns its address.
func (b *bench) origin(s *scenario) (string, error) {
	if s.fileOrigin {
		return b.fileOrigin(s)
	}
	addr := "unix:" + filepath.Join(b.dir, "origin.sock")
	if !s.unixOrigin {
		var err error
		if addr, err = freeAddress(); err != nil {
			return "", err
		}
	}
	p, err := b.startProcess("origin", b.set.loadCPU, b.programs.paths["origin"], "-listen", addr, "-size", fmt.Sprint(s.body))
	if err != nil {
		return "", err
	}
	b.behind = p
	return addr, p.waitFor(b.ctx, func() error {
		network, a := "tcp", addr
		if path, ok := strings.CutPrefix(addr, "unix:"); ok {
			network, a = "unix", path
		}
		c, err := net.DialTimeout(network, a, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// fileOrigin starts nginx with one file as the answer to everything.
func (b *bench) fileOrigin(s *scenario) (string, error) {
	addr, err := freeAddress()
	if err != nil {
		return "", err
	}
	p := &place{Listen: addr, Dir: filepath.Join(b.dir, "origin"), Connections: max(4096, b.connections(s)+1024), Root: os.Geteuid() == 0}
	p.Files = 2 * p.Connections
	www := filepath.Join(p.Dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(www, "answer"), bytes.Repeat([]byte("x"), s.body), 0o644); err != nil {
		return "", err
	}
	config, err := b.configure("origin", "origin.conf", s, p)
	if err != nil {
		return "", err
	}
	proc, err := b.startProcess("origin", b.set.loadCPU, append(b.programs.argv("nginx"), nginxArgs(config, p)...)...)
	if err != nil {
		return "", err
	}
	b.behind = proc
	return addr, proc.waitFor(b.ctx, func() error { return tryConnect(addr) })
}

// start brings a contender up and sees it answer.
func (b *bench) start(c *contender, s *scenario, origin string) (*started, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, c.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	p := &place{Listen: listen, Origin: origin, OriginPath: strings.TrimPrefix(origin, "unix:"), Dir: dir, Pool: max(1024, b.originConnections(s)),
		Connections: max(4096, b.connections(s)+b.originConnections(s)+1024), Tuned: c.tuned, IO: c.io, Root: os.Geteuid() == 0,
		HTTP2Client: s.http2Clients(), HTTP2Origin: s.http2Origin && !c.plain, Upgrades: s.upgrades(), Patience: s.patience}
	if p.TLS, err = b.keyFiles(s.tls); err != nil {
		return nil, err
	}
	p.Files = 2 * p.Connections
	if !s.unixOrigin {
		p.OriginPath = ""
	}
	config := ""
	if c.template != "" {
		if config, err = b.configure(c.name, c.template, s, p); err != nil {
			return nil, err
		}
	}
	if c.io != "" {
		if err := b.knows(c, s, config); err != nil {
			return nil, err
		}
	}
	proc, err := b.startProcess(c.name, b.set.proxyCPU, append(b.programs.argv(c.program), c.args(config, p)...)...)
	if err != nil {
		return nil, err
	}
	st := &started{contender: c, process: proc, url: s.scheme() + listen + "/"}
	if err := proc.waitFor(b.ctx, func() error { return tryConnect(listen) }); err != nil {
		return nil, err
	}
	return st, nil
}

// connections is the most that clients of s have open at once.
func (b *bench) connections(s *scenario) int {
	if s.memory != noMemory {
		return b.guestCount(s)
	}
	return s.connections
}

// originConnections is how many of the origin's are taken when nothing is shared.
func (b *bench) originConnections(s *scenario) int {
	switch {
	case s.memory == webSockets || s.memory == http2Waiting:
		return b.guestCount(s) + 64
	case s.upgrades():
		return s.connections * max(1, s.streams)
	}
	return 0
}

// notYet is why a contender has no part in a scenario that is not for every
// version of it.
type notYet struct{ why string }

func (n notYet) Error() string { return n.why }

// knows asks zproxy whether it can do what is not in every version of it.
func (b *bench) knows(c *contender, s *scenario, config string) error {
	if !s.http2Clients() && !s.http2Origin && s.tls == noKey {
		return nil
	}
	text, err := exec.CommandContext(b.ctx, b.programs.paths[c.program], "check", "-c", config).CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return notYet{"this zproxy refuses the configuration: " + strings.ReplaceAll(string(bytes.TrimSpace(text)), b.dir+"/", "")}
	}
	return err
}

// out says why a contender has no result. Unless it is not meant to have one,
// the whole run fails.
func (b *bench) out(s *scenario, name string, err error) (why string) {
	if !errors.As(err, new(notYet)) {
		b.failures = append(b.failures, s.name+": "+name+": "+err.Error())
	}
	b.say("%-11s %-15s out: %v\n", s.name, name, err)
	return err.Error()
}

// configure writes a configuration, for who is to run with it and for the results.
func (b *bench) configure(who, from string, s *scenario, p *place) (string, error) {
	t, err := template.ParseFS(peerFiles, "peers/"+from)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, p); err != nil {
		return "", err
	}
	ext := filepath.Ext(from)
	b.keep(s.name+"-"+who+ext, who, text.Bytes(), p)
	name := filepath.Join(b.dir, who+ext)
	return name, os.WriteFile(name, text.Bytes(), 0o644)
}

// keep has a configuration among the results, unless there is one that differs
// in addresses and directories alone: it stands for all, under the name of the
// scenario that came first.
func (b *bench) keep(name, who string, text []byte, p *place) {
	same := strings.NewReplacer(p.Listen, "CLIENTS", p.Origin, "ORIGIN", p.Dir, "DIR", b.dir, "DIR").Replace(string(text))
	if !slices.Contains(b.kept[who], same) {
		b.kept[who] = append(b.kept[who], same)
		b.configs[name] = []byte(same)
	}
}

// answers asks once and checks the answer. Where clients go on to WebSockets the
// origin answers ordinary requests, too.
func (st *started) answers(s *scenario) error {
	transport := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!s.http2Clients())
	transport.Protocols.SetUnencryptedHTTP2(s.http2Clients() && s.tls == noKey)
	transport.Protocols.SetHTTP2(s.http2Clients() && s.tls != noKey)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // of our own, made for this run
	client := http.Client{Timeout: 5 * time.Second, Transport: transport}
	r, err := client.Get(st.url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != 200 || n != int64(s.body) {
		return fmt.Errorf("answered %s with %d bytes, want 200 with %d", r.Status, n, s.body)
	}
	return nil
}

func tryConnect(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// freeAddress asks the kernel for a port of 127.0.0.1 that nobody has.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
