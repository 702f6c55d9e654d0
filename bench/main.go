// Command bench compares zproxy with nginx, HAProxy and a floor: a forwarder that
// does nothing but carry bytes (bench/floor).
//
//	go run ./bench [flags]             measure and report
//	go run ./bench compare -base X     this tree against the commit X, in turns
//	go run ./bench compare OLD NEW     what changed between two results
//	go run ./bench reloads [flags]     what clients see of reloads
//	go run ./bench scale [flags]       what loops that work side by side cost each other
//	go run ./bench -profile FILE ...   and write a profile for the compiler (make profile)
//
// The proxy under test has one CPU to itself, load generator (wrk, h2load,
// bench/load) and origin (bench/origin) share another. All are started here, on
// free ports of 127.0.0.1, as root in a network namespace with one congestion
// control for all, and take turns under load: A B C A B C ... What is compared is the
// proxy's CPU time per answered request as the scheduler accounts for it: what a
// user pays, whatever else the machine does. Times drift with the machine,
// so ratios are taken round by round. A round with errors is void. Besides:
// memory of idle connections, and how long answers take at fixed rates (with
// bench/load, which is the origin there, too).
//
// Before, between and after the rounds the floor is measured, and what else the
// machine does: a run on a busy one says so and has status 3, unless -busy is
// set. Its figures are not to be quoted.
//
// Results go to bench/results/DATE-HOST/: report.md, results.json, charts, and
// the configurations of all sides, made from the templates in bench/peers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settings are what the command line says.
type settings struct {
	rounds     int
	duration   time.Duration
	proxyCPU   int
	loadCPU    int
	idle       int
	files      int       // that a process may have open
	shares     []float64 // of the capacity, at which latency is measured
	scenarios  []string
	contenders []string // all when empty
	out        string
	limit      time.Duration
	install    bool
	profile    string
	busy       bool   // a busy machine is no failure, and latency counts the rounds it has spoilt
	own        bool   // bench/load instead of wrk
	equal      bool   // all in a network namespace with one congestion control
	peers      string // which nginx and HAProxy: installedPeers or currentPeers
}

// bench is one run.
type bench struct {
	ctx      context.Context
	set      settings
	progress io.Writer
	dir      string // temporary files
	launcher *launcher
	running  []*process
	root     string // of the source
	programs programs
	configs  map[string][]byte   // for the results, by file name
	kept     map[string][]string // what is in configs, by contender
	failures []string

	outside  *launcher // for programs that need the network beyond this machine
	terms    string    // that all contenders have alike
	undo     []func()  // at the end, the last first
	standing int       // of running: they stay for the whole run
	gate     *gate
	behind   *process // the origin
	origins  []member // it and its children
}

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// statusBusy is the exit status of a run that has results which are not to be
// quoted, because the machine was busy.
const statusBusy = 3

// command returns the exit status: 0, 1 when something failed or is missing,
// 2 for wrong usage, statusBusy.
func command(args []string, out, errOut io.Writer) int {
	for _, c := range subcommands {
		if len(args) > 0 && args[0] == c.name {
			return c.run(args[1:], out, errOut)
		}
	}
	set, status := parse(args, out, errOut)
	if status >= 0 {
		return status
	}
	if status := set.moveIn(args, out, errOut); status >= 0 {
		return status
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, set.limit, fmt.Errorf("not done after %v (see -limit)", set.limit))
	defer cancel()
	results, err := run(ctx, set, errOut)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			err = cause
		}
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	out.Write(results.Markdown())
	if len(results.Failures) > 0 {
		fmt.Fprintf(errOut, "bench: no result for:\n  %s\n", strings.Join(results.Failures, "\n  "))
		return 1
	}
	return set.verdict(results.Quiet, errOut)
}

// verdict is the exit status of a run that has all its results.
func (set *settings) verdict(q *Quiet, errOut io.Writer) int {
	if len(q.Busy) == 0 {
		return 0
	}
	fmt.Fprintf(errOut, "bench: the machine was busy, so this is not to be quoted: %s\n", strings.Join(q.Busy, "; "))
	if set.busy {
		return 0
	}
	return statusBusy
}

// commonFlags are those of every subcommand that compares.
func (set *settings) commonFlags(fs *flag.FlagSet) {
	fs.BoolVar(&set.busy, "busy", false, fmt.Sprintf("a busy machine is no failure (otherwise the status is %d), and latency counts rounds that it has spoilt: to try things out", statusBusy))
	fs.BoolVar(&set.equal, "equal-terms", true, "as root: all in a network namespace of their own with congestion control "+fairControl)
	fs.StringVar(&set.peers, "peers", installedPeers, "`which` nginx and HAProxy: "+installedPeers+", or "+currentPeers+" for those of Debian's development branch, as root")
}

func (set *settings) checkCommon() error {
	if set.peers != installedPeers && set.peers != currentPeers {
		return fmt.Errorf("-peers %s: want %s or %s", set.peers, installedPeers, currentPeers)
	}
	return nil
}

// parse returns a status of -1 when there is work to do.
func parse(args []string, out, errOut io.Writer) (set settings, status int) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.IntVar(&set.rounds, "rounds", 5, "`rounds` per scenario and contender")
	fs.DurationVar(&set.duration, "duration", 2*time.Second, "`length` of a round, whole seconds")
	fs.IntVar(&set.proxyCPU, "proxy-cpu", 0, "`CPU` of the proxy under test")
	fs.IntVar(&set.loadCPU, "load-cpu", 1, "`CPU` of load generator and origin")
	fs.IntVar(&set.idle, "idle", 10000, "`connections` of the idle scenarios")
	names := fs.String("scenarios", "", "only these, with commas between; see -list")
	who := fs.String("contenders", "", "only these, with commas between; see -list")
	shares := fs.String("shares", defaultShares, "latency: at these `hundredths` of the capacity, with commas between")
	fs.StringVar(&set.out, "out", "", "`directory` for the results (default bench/results/DATE-HOST)")
	fs.DurationVar(&set.limit, "limit", time.Hour, "give up after this `time`")
	fs.BoolVar(&set.install, "install", true, "as root: install missing peers with apt-get")
	set.commonFlags(fs)
	fs.StringVar(&set.profile, "profile", "", "also write where zproxy spends its time to this `file`, for make build; results are not comparable")
	list := fs.Bool("list", false, "list scenarios and contenders")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return set, 0
		}
		return set, 2
	}
	if *list {
		fmt.Fprintln(out, "scenarios:")
		for i := range scenarios {
			fmt.Fprintf(out, "  %-12s %s\n", scenarios[i].name, scenarios[i].title)
		}
		fmt.Fprintln(out, "contenders:")
		for i := range contenders {
			fmt.Fprintf(out, "  %s\n", contenders[i].name)
		}
		return set, 0
	}
	err := set.checkCommon()
	if err == nil {
		err = set.complete(*names, *who)
	}
	if err == nil {
		set.shares, err = parseShares(*shares)
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return set, 2
	}
	return set, -1
}

// complete checks what was set and resolves the lists of names.
func (set *settings) complete(names, who string) error {
	var known []string
	for i := range scenarios {
		known = append(known, scenarios[i].name)
	}
	set.scenarios = known
	if names != "" {
		set.scenarios = strings.Split(names, ",")
	}
	for _, n := range set.scenarios {
		if !slices.Contains(known, n) {
			return fmt.Errorf("there is no scenario %q; there are %s", n, strings.Join(known, ", "))
		}
	}
	if who != "" {
		set.contenders = strings.Split(who, ",")
	}
	for _, n := range set.contenders {
		if contenderNamed(n) == nil {
			return fmt.Errorf("there is no contender %q; see -list", n)
		}
	}
	switch {
	case set.rounds < 1 || set.rounds > 100:
		return errors.New("-rounds must be 1 to 100")
	case set.duration < time.Second || set.duration > 10*time.Minute || set.duration%time.Second != 0:
		return errors.New("-duration must be whole seconds, 1s to 10m")
	case set.idle < 1:
		return errors.New("-idle must be at least 1")
	}
	return set.checkMachine()
}

// checkMachine finds out whether CPUs and file limit allow what is asked for.
func (set *settings) checkMachine() error {
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		return err
	}
	if !mask.IsSet(set.proxyCPU) || !mask.IsSet(set.loadCPU) || set.proxyCPU == set.loadCPU {
		return fmt.Errorf("-proxy-cpu %d and -load-cpu %d must be two different CPUs that this process may use; it may use %d",
			set.proxyCPU, set.loadCPU, mask.Count())
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	set.files = int(min(limit.Max, 1<<30))
	idles := func(name string) bool { return scenarioNamed(name).memory != noMemory }
	if need := uint64(set.idle + 2048); slices.ContainsFunc(set.scenarios, idles) && limit.Max < need {
		return fmt.Errorf("-idle %d needs %d open files, the limit is %d: raise it (`ulimit -n %d`) or use fewer", set.idle, need, limit.Max, need)
	}
	return nil
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format, args...) }

// takesPart says whether the command line asks for a contender.
func (b *bench) takesPart(name string) bool {
	return len(b.set.contenders) == 0 || slices.Contains(b.set.contenders, name)
}

// run does everything between command line and report.
func run(ctx context.Context, set settings, progress io.Writer) (*Results, error) {
	b, end, err := newBench(ctx, set, progress)
	if err != nil {
		return nil, err
	}
	defer end()
	if set.profile != "" {
		if err := os.Setenv("ZPROXY_CPUPROFILE", b.dir); err != nil {
			return nil, err
		}
	}
	res := &Results{Format: resultsFormat, Started: time.Now().UTC().Truncate(time.Second), Environment: b.environment(), Settings: b.describe()}
	if err := b.openGate(); err != nil {
		return nil, err
	}
	b.say("this takes about %v\n", b.estimate().Round(time.Minute))
	for i := range scenarios {
		s := &scenarios[i]
		if !slices.Contains(set.scenarios, s.name) {
			continue
		}
		if err := b.scenario(s, res); err != nil {
			return nil, err
		}
	}
	res.Failures = b.failures
	results := filepath.Join(b.root, "bench", "results")
	if res.Quiet, err = b.closeGate(knownFloor(results, &res.Environment)); err != nil {
		return nil, err
	}
	res.markRounds()
	if set.profile != "" {
		if err := b.writeProfile(); err != nil {
			return nil, err
		}
	}
	out := set.out
	if out == "" {
		out = freshDirectory(results, res)
	}
	if err := res.write(out, b.configs); err != nil {
		return nil, err
	}
	b.say("results are in %s\n", out)
	return res, nil
}

// estimate is how long the scenarios take when no round is void.
func (b *bench) estimate() (total time.Duration) {
	for i := range scenarios {
		s := &scenarios[i]
		if !slices.Contains(b.set.scenarios, s.name) {
			continue
		}
		one := warmUp + time.Duration(b.set.rounds)*b.round(s)
		switch {
		case s.memory != noMemory:
			// Some 0.2 ms for each connection, beside the pauses.
			one = time.Duration(min(memoryRuns, b.set.rounds)) * (2*settle + settleIdle + time.Duration(b.guestCount(s))*200*time.Microsecond)
		case s.openLoop:
			one = warmUp + time.Duration(min(capacityRounds, b.set.rounds)+len(b.set.shares)*b.set.rounds)*b.round(s)
		}
		for _, name := range s.contenders {
			if b.takesPart(name) && b.programs.missing[name] == "" {
				total += one
			}
		}
	}
	return total
}

// scenario runs one of them and adds what it finds to res.
func (b *bench) scenario(s *scenario, res *Results) (err error) {
	switch {
	case s.memory != noMemory:
		var some []*MemoryResult
		some, err = b.idle(s)
		res.Memory = append(res.Memory, some...)
	case s.openLoop:
		res.Latency, err = b.latency(s)
	default:
		var one *ScenarioResult
		if one, err = b.load(s); err == nil {
			res.Scenarios = append(res.Scenarios, one)
		}
	}
	return err
}

// freshDirectory names a directory of dir that is not there yet.
func freshDirectory(dir string, res *Results) string {
	name := filepath.Join(dir, res.Started.Format("2006-01-02")+"-"+res.Environment.Host)
	for n := 2; ; n++ {
		if _, err := os.Stat(name); err != nil {
			return name
		}
		name = filepath.Join(dir, fmt.Sprintf("%s-%s-%d", res.Started.Format("2006-01-02"), res.Environment.Host, n))
	}
}
