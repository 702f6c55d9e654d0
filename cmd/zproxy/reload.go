package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"zproxy/admin"
	"zproxy/config"
	"zproxy/server"
)

// running says how a command finds the process that it is about.
type running struct{ file, admin, pid, token, ca string }

// running adds the flags for that; about is what -c is.
func runningFlags(fs *flag.FlagSet, about string) *running {
	r := new(running)
	fs.StringVar(&r.file, "c", "", "configuration `FILE`: "+about)
	fs.StringVar(&r.admin, "admin", "", "admin `ADDRESS` of the process, host:port or unix:/path")
	fs.StringVar(&r.pid, "pid", "", "`FILE` with the number of the process")
	fs.StringVar(&r.token, "token", os.Getenv("ZPROXY_TOKEN_FILE"), "`FILE` with a token of admin.tokens; without it that of ZPROXY_TOKEN_FILE")
	fs.StringVar(&r.ca, "ca", "", "`FILE` with certificates that the admin address is trusted by; for -admin it says that TLS is spoken")
	return r
}

// target is the process's admin address, and how to be let in there.
func (r *running) target() (to admin.Target, err error) {
	if to, err = r.address(); err != nil {
		return to, err
	}
	if r.token != "" {
		text, err := os.ReadFile(r.token)
		if err != nil {
			return to, err
		}
		to.Token = strings.TrimSpace(string(text))
	}
	if r.ca != "" {
		text, err := os.ReadFile(r.ca)
		if err != nil {
			return to, err
		}
		to.TLS = trusting(to.Address, text)
	}
	return to, nil
}

func (r *running) address() (to admin.Target, err error) {
	if r.admin != "" {
		return admin.Target{Address: r.admin}, nil
	}
	file := r.file
	if r.pid != "" {
		if file, err = fileOf(r.pid); err != nil {
			return to, err
		}
	}
	c, err := config.Load(file)
	if err != nil { // the process would say the same
		return to, err
	}
	if c.Admin.Address == "" {
		return to, fmt.Errorf("%s has no admin.address, where the process could be asked; kill -HUP reloads, and its log says what became of it", file)
	}
	to.Address = c.Admin.Address
	if c.Admin.TLS != nil {
		to.TLS = trusting(to.Address, c.Admin.TLS.CertPEM)
		if chain, err := config.ParseCertificates(c.Admin.TLS.CertPEM); err == nil {
			if names := config.LeafNames(chain[0]); len(names) > 0 {
				to.TLS.ServerName = names[0]
			}
		}
	}
	return to, nil
}

// trusting is TLS with a server whose certificate is one of these, or vouched for by one of them or the system.
func trusting(address string, pem []byte) *tls.Config {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM(pem)
	host, _, _ := net.SplitHostPort(address)
	return &tls.Config{RootCAs: roots, ServerName: host}
}

// fileOf is the configuration file of the process whose number is in pidFile.
func fileOf(pidFile string) (string, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return "", err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s holds no process number", pidFile)
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH):
		return "", fmt.Errorf("%s: process %d does not run", pidFile, pid)
	case err != nil:
		return "", err
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	file := ""
	for i, arg := range args {
		switch name, value, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "="); {
		case i > 1 && (arg == "-c" || arg == "--c") && i+1 < len(args):
			file = args[i+1]
		case i > 1 && (name == "c" || name == "-c") && value != "":
			file = value
		}
	}
	if len(args) < 2 || args[1] != "run" || file == "" {
		return "", fmt.Errorf("%s: process %d is no zproxy with a configuration file: %s", pidFile, pid, strings.Join(args, " "))
	}
	if !filepath.IsAbs(file) {
		dir, err := os.Readlink(filepath.Join(proc, "cwd"))
		if err != nil {
			return "", fmt.Errorf("%s: where the file %s of process %d is cannot be told: %w", pidFile, file, pid, err)
		}
		file = filepath.Join(dir, file)
	}
	return file, nil
}

// parse parses a command's flags and looks that it has what it needs. need is how many of
// -c, -admin and -pid.
func (r *running) parse(fs *flag.FlagSet, args []string, errOut io.Writer, usage string) bool {
	fs.SetOutput(errOut)
	fs.Usage = func() {
		fmt.Fprintln(errOut, "usage: "+usage)
		fs.PrintDefaults()
	}
	if fs.Parse(args) != nil {
		return false
	}
	if fs.NArg() > 0 || r.file == "" && r.admin == "" && r.pid == "" {
		fs.Usage()
		return false
	}
	return true
}

// cmdReload has a running process reload its configuration, and tells what became of it.
func cmdReload(args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("zproxy reload", flag.ContinueOnError)
	r := runningFlags(fs, "that of the process, which names its admin.address")
	if !r.parse(fs, args, errOut, "zproxy reload -c FILE, or -admin ADDRESS, or -pid FILE") {
		return 2
	}
	var done server.Changed
	to, err := r.target()
	if err == nil {
		err = admin.Ask(to, admin.Change{}, &done)
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	for _, w := range done.Warnings {
		fmt.Fprintln(errOut, "warning: "+w)
	}
	fmt.Fprintf(out, "%s is in force, after %d ms\n%s", done.File, done.TookMs, done.String())
	return 0
}

// cmdDiff says what a configuration would change.
func cmdDiff(args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("zproxy diff", flag.ContinueOnError)
	r := runningFlags(fs, "what is to come")
	with := fs.String("with", "", "compare with this `FILE` instead of with what runs")
	if !r.parse(fs, args, errOut, "zproxy diff -c FILE [-admin ADDRESS | -pid FILE | -with FILE]") {
		return 2
	}
	if r.file == "" {
		fs.Usage()
		return 2
	}
	var changes *server.Changes
	var err error
	if *with != "" {
		changes, err = between(*with, r.file)
	} else {
		changes, err = r.against()
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	fmt.Fprint(out, changes.String())
	if len(changes.Restart) > 0 {
		fmt.Fprintln(out, needsRestart(changes))
	}
	return 0
}

func needsRestart(c *server.Changes) string {
	return "needs another process: " + strings.Join(c.Restart, ", ")
}

func between(old, new string) (*server.Changes, error) {
	now, err := config.Load(old)
	if err != nil {
		return nil, err
	}
	next, err := server.Load(new)
	if err != nil {
		return nil, err
	}
	return server.Difference(now, next), nil
}

// against asks the running process what r.file would change.
func (r *running) against() (*server.Changes, error) {
	to, err := r.target()
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(r.file)
	if err != nil {
		return nil, err
	}
	ask := admin.Change{Dry: true, Name: file}
	if unixAddress := strings.HasPrefix(to.Address, "unix:"); unixAddress {
		if ask.Text, err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	var would server.Changed
	if err := admin.Ask(to, ask, &would); err != nil {
		return nil, err
	}
	if !sameFile(would.File, file) {
		return nil, fmt.Errorf("the process at %s has the configuration %s, and takes no other by an address that is no unix: socket; compare with that file: zproxy diff -c %s -with %s",
			to.Address, would.File, r.file, would.File)
	}
	return &would.Changes, nil
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return a == b
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}
