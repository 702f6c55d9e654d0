// Command zproxy is an HTTP reverse proxy for Linux: one event loop per CPU.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"zproxy/config"
	"zproxy/proxy/snapshot"
	"zproxy/server"
)

const usage = `zproxy is an HTTP reverse proxy: one event loop per CPU, io_uring or epoll.

  zproxy run [-c FILE]     start; without -c with a built-in quickstart configuration; -watch: reload when FILE has changed
  zproxy check -c FILE     check a configuration and summarise it; -against-running: also that it needs no restart
  zproxy reload -c FILE    have the running process reload its configuration, and say what changed
  zproxy upgrade -c FILE   have the running process start the program anew, which takes over, and wait for that
  zproxy diff -c FILE      say what a configuration would change of the running one, or of another: -with FILE
  zproxy route -c FILE METHOD URL   say which listener, route and upstream a request would get, and why not others
  zproxy convert nginx|haproxy FILE   translate a configuration; status 3: something of it has no equivalent
  zproxy apikey NAME       make a key for filters api_key, and its line for their file
  zproxy ctl COMMAND       look into the running process, and change it: zproxy ctl alone lists the commands
  zproxy top               watch the running process in the terminal
  zproxy tune              compare the machine's settings with the recommended ones; tune apply, tune revert
  zproxy version           build, kernel, and which backends work here
  zproxy help              this text

While it runs:  SIGTERM, SIGINT  stop accepting, finish requests, end; a second one ends at once
                SIGHUP           reload the configuration and the certificates
                SIGUSR1          reopen the access log
                SIGUSR2          upgrade: start the program anew, which takes over

docs/configuration.md describes the configuration file, examples/ has some to start from.
`

// atEnd is called before the process ends; see profile.go.
var atEnd = func() {}

func main() {
	status := run(os.Args[1:], os.Stdout, os.Stderr)
	atEnd()
	os.Exit(status)
}

// run is the command; the result is its exit status: 0, 1 for a failure, 2
// for wrong usage.
func run(args []string, out, errOut io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errOut, usage)
		return 2
	}
	switch args[0] {
	case "run":
		return cmdRun(args[1:], out, errOut)
	case "check":
		return cmdCheck(args[1:], out, errOut)
	case "reload":
		return cmdReload(args[1:], out, errOut)
	case "upgrade":
		return cmdUpgrade(args[1:], out, errOut)
	case "diff":
		return cmdDiff(args[1:], out, errOut)
	case "route":
		return cmdRoute(args[1:], out, errOut)
	case "convert":
		return cmdConvert(args[1:], out, errOut)
	case "apikey":
		return cmdAPIKey(args[1:], out, errOut)
	case "ctl":
		return cmdCtl(args[1:], out, errOut)
	case "top":
		return cmdTop(args[1:], out, errOut)
	case "tune":
		return cmdTune(args[1:], os.Stdin, out, errOut)
	case "version", "-version", "--version":
		printVersion(out)
		return 0
	case "help", "-h", "-help", "--help":
		fmt.Fprint(out, usage)
		return 0
	}
	fmt.Fprintf(errOut, "zproxy: unknown command %q\n\n%s", args[0], usage)
	return 2
}

// configFlag parses the flags of a command that takes -c FILE, and more.
func configFlag(name string, args []string, errOut io.Writer, more func(*flag.FlagSet)) (file string, ok bool) {
	fs := flag.NewFlagSet("zproxy "+name, flag.ContinueOnError) // prints its own complaint
	fs.SetOutput(errOut)
	fs.StringVar(&file, "c", "", "configuration `FILE`")
	more(fs)
	if fs.Parse(args) != nil {
		return "", false
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(errOut, "zproxy %s: unexpected argument %q; the configuration is named with -c FILE\n", name, fs.Arg(0))
		return "", false
	}
	return file, true
}

func cmdCheck(args []string, out, errOut io.Writer) int {
	var against bool
	var process running
	file, ok := configFlag("check", args, errOut, func(fs *flag.FlagSet) {
		fs.BoolVar(&against, "against-running", false, "fail when a running process would need a restart for it")
		fs.StringVar(&process.admin, "admin", "", "admin `ADDRESS` of that process, if not that of FILE")
	})
	if !ok || file == "" {
		fmt.Fprintln(errOut, "usage: zproxy check -c FILE [-against-running [-admin ADDRESS]]")
		return 2
	}
	cfg, err := server.Load(file)
	var s *snapshot.Snapshot
	if err == nil {
		s, err = snapshot.NewRegistry(1, nil).Compile(cfg)
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	summarise(out, cfg, s)
	if !against {
		return 0
	}
	process.file = file
	changes, err := process.against()
	if err == nil && len(changes.Restart) > 0 {
		err = errors.New(needsRestart(changes))
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}

func cmdRun(args []string, out, errOut io.Writer) int {
	var watch bool
	file, ok := configFlag("run", args, errOut, func(fs *flag.FlagSet) {
		fs.BoolVar(&watch, "watch", false, "reload the configuration when FILE has changed")
	})
	if !ok {
		return 2
	}
	if watch && file == "" {
		fmt.Fprintln(errOut, "zproxy run: -watch needs -c FILE")
		return 2
	}
	before, err := server.Inherit()
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	var cfg *config.Config
	if file == "" {
		cfg = config.Quickstart()
	} else {
		if cfg, err = server.Load(file); err != nil {
			before.Fail(err)
			fmt.Fprintln(errOut, err)
			return 1
		}
	}
	if before == nil {
		if before, err = server.Activate(cfg); err != nil {
			fmt.Fprintln(errOut, err)
			return 1
		}
	}
	// Messages that nobody reads any more are lost, and the proxy goes on.
	signal.Ignore(unix.SIGPIPE)
	// From here on a signal is kept until it can be obeyed: whoever sees the
	// listeners accept may send one.
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGHUP)
	log := server.NewLog(errOut, &cfg.Log)
	s, err := server.Start(cfg, server.Options{Log: log, Version: version(), Builtin: file == "", Watch: watch, Inherited: before})
	if err != nil {
		before.Fail(err)
		return 1 // the log says why
	}
	if file == "" {
		fmt.Fprint(out, tryThis)
	}
	go obey(s, stop, log.With("subject", "process"))
	if s.Wait() != nil {
		return 1
	}
	return 0
}

// obey acts on signals until the process ends.
func obey(s *server.Server, signals <-chan os.Signal, log *slog.Logger) {
	draining := false
	for sig := range signals {
		switch sig {
		case unix.SIGUSR1:
			if err := s.ReopenLog(); err != nil {
				log.Error("the access log was not reopened", "signal", "SIGUSR1", "error", err.Error())
			} else {
				log.Info("the access log was reopened", "signal", "SIGUSR1")
			}
		case unix.SIGUSR2:
			go func() { _ = s.Upgrade() }() // the log says what became of it
		case unix.SIGHUP:
			log.Info("the configuration is read again", "signal", "SIGHUP")
			if err := s.ReadCertificates(); err != nil {
				log.Error("not all certificates were read again", "signal", "SIGHUP", "error", err.Error())
			}
			_, _ = s.Reload() // the log says what became of it
		default:
			name := unix.SignalName(sig.(unix.Signal))
			if draining {
				log.Warn("ending at once", "signal", name)
				s.EndNow()
				os.Exit(1)
			}
			draining = true
			log.Info("no longer accepting, finishing requests; once more to end at once", "signal", name)
			s.Stop()
		}
	}
}

const tryThis = `
zproxy is running with its quickstart configuration. Try, in another terminal:

  curl -i http://127.0.0.1:8080/             a request through the proxy to its built-in origin
  curl -s http://127.0.0.1:9901/metrics      what it counts
  curl -s http://127.0.0.1:9901/status       loops, buffers, pools

Ctrl-C stops it. For an origin of your own, start from a file in examples/:  zproxy run -c FILE

`
