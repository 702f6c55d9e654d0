package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"zproxy/config"
	"zproxy/numa"
	"zproxy/tune"
)

const tuneUsage = `zproxy tune compares this machine's settings with what the proxy wants; docs/tuning.md has the reasons.

  zproxy tune [check]      a table: setting, now, recommended, why; status 1 unless all is right. Changes nothing
  zproxy tune apply        say what would change, ask, and change it; noted in /` + tune.StateFile + `
  zproxy tune revert       put back everything that apply has changed

  -c FILE        recommend for the loops, buffers and listeners of this configuration
  --only LIST    only these groups (sockets, packets, limits, memory, nic, cpu) or settings that begin so: net.ipv4.,kernel.
  --sources      check: also where each reason is documented
  --yes          apply: don't ask
  --persist DIR  apply: also write sysctl.d, tmpfiles.d and a systemd unit below DIR (/etc), for the next start
  --force        revert: also what somebody else has changed since
  --root DIR     a directory that stands for /, with proc and sys in it
`

// tuneFlags are the flags of all three commands.
type tuneFlags struct {
	configFile, only, persist, root string
	sources, yes, force             bool
}

// cmdTune is "zproxy tune"; in answers the question of apply.
func cmdTune(args []string, in io.Reader, out, errOut io.Writer) int {
	verb := "check"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	var f tuneFlags
	fs := flag.NewFlagSet("zproxy tune "+verb, flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.Usage = func() { fmt.Fprint(errOut, tuneUsage) }
	fs.StringVar(&f.only, "only", "", "")
	fs.StringVar(&f.root, "root", "/", "")
	switch verb {
	case "check":
		fs.StringVar(&f.configFile, "c", "", "")
		fs.BoolVar(&f.sources, "sources", false, "")
	case "apply":
		fs.StringVar(&f.configFile, "c", "", "")
		fs.BoolVar(&f.yes, "yes", false, "")
		fs.StringVar(&f.persist, "persist", "", "")
	case "revert":
		fs.BoolVar(&f.force, "force", false, "")
	default:
		fmt.Fprintf(errOut, "zproxy tune: unknown command %q\n\n%s", verb, tuneUsage)
		return 2
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if fs.NArg() > 0 || verb == "revert" && f.only != "" {
		fmt.Fprint(errOut, tuneUsage)
		return 2
	}
	ok, err := f.run(verb, in, out)
	if err != nil {
		fmt.Fprintf(errOut, "zproxy: %v\n", err)
	}
	if err != nil || !ok {
		return 1
	}
	return 0
}

func (f *tuneFlags) run(verb string, in io.Reader, out io.Writer) (ok bool, err error) {
	target, err := tune.Open(f.root)
	if err != nil {
		return false, err
	}
	defer target.Close()
	if verb == "revert" {
		return true, target.Revert(f.force, out)
	}
	opt, err := tuneOptions(f.configFile)
	if err != nil {
		return false, err
	}
	m, err := target.Read(opt)
	if err != nil {
		return false, err
	}
	findings := m.Check()
	if f.only != "" {
		if findings = tune.Only(findings, strings.Split(f.only, ",")); len(findings) == 0 {
			return false, fmt.Errorf("--only %s: there is no such group or setting", f.only)
		}
	}
	if verb == "check" {
		printFindings(out, findings, f.sources)
		return tune.AllRight(findings), nil
	}
	return f.apply(target, findings, in, out)
}

func (f *tuneFlags) apply(target *tune.Target, findings []tune.Finding, in io.Reader, out io.Writer) (ok bool, err error) {
	plan := tune.Plan(findings)
	for _, p := range plan {
		fmt.Fprintf(out, "%s: %s -> %s  (%s)\n", p.Setting, p.Now, p.Want, p.Rule.Why)
	}
	if len(plan) == 0 {
		fmt.Fprintln(out, "nothing to change")
	} else if !f.yes {
		fmt.Fprint(out, "Change these now? [y/N] ")
		answer, _ := bufio.NewReader(in).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			fmt.Fprintln(out, "Nothing was changed; with --yes there is no question.")
			return false, nil
		}
	}
	var failed error // of some settings: the others are to survive a restart all the same
	if len(plan) > 0 {
		fmt.Fprintln(out)
		failed = target.Apply(plan, out)
	}
	if f.persist == "" {
		return true, failed
	}
	program, err := os.Executable()
	if err != nil {
		return false, err
	}
	var args []string
	if f.configFile != "" {
		file, err := filepath.Abs(f.configFile)
		if err != nil {
			return false, err
		}
		args = []string{"-c", file}
	}
	return true, errors.Join(failed, target.Persist(f.persist, program, args, out))
}

// tuneOptions takes from a configuration what the recommendations depend on.
func tuneOptions(file string) (tune.Options, error) {
	var opt tune.Options
	if file == "" {
		return opt, nil
	}
	cfg, err := config.Load(file)
	if err != nil {
		return opt, err
	}
	opt.BufferBytes = int64(cfg.Buffers.MaxPerLoop)
	opt.LoopCount = cfg.Loops.N
	if opt.LoopCPUs, err = numa.ParseCPUList(cfg.Loops.CPUs); err != nil {
		return opt, fmt.Errorf("%s: loops: %w", file, err)
	}
	for _, l := range cfg.Listeners {
		if _, port, err := net.SplitHostPort(l.Address); err == nil {
			if n, err := strconv.Atoi(port); err == nil {
				opt.ListenPorts = append(opt.ListenPorts, n)
			}
		}
	}
	return opt, nil
}

// printFindings prints the table, by group, and below it what apply cannot do.
func printFindings(out io.Writer, findings []tune.Finding, sources bool) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tsetting\tnow\trecommended\twhy")
	for _, f := range summed(findings) {
		why := f.Rule.Why
		if sources {
			why += "  [" + f.Rule.Source + "]"
		}
		now, want := f.Now, f.Want
		switch {
		case f.State == tune.Absent:
			now, want, why = "-", "-", "not on this machine, or not in this network namespace"
		case f.State == tune.Right:
			want = "the same"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.State, f.Setting, now, want, why)
	}
	w.Flush()
	counts := map[tune.State]int{}
	for _, f := range findings {
		counts[f.State]++
		if f.Remedy != "" {
			fmt.Fprintf(out, "%s: %s: %s\n", f.State, f.Setting, f.Remedy)
		}
	}
	fmt.Fprintf(out, "%d right, %d wrong (`zproxy tune apply` sets them), %d to be set by hand, %d not here\n",
		counts[tune.Right], counts[tune.Wrong], counts[tune.ByHand], counts[tune.Absent])
}

// summed makes one line of several right ones in a row that come from one rule, as with the queues of a card.
func summed(findings []tune.Finding) []tune.Finding {
	var lines []tune.Finding
	for i := 0; i < len(findings); {
		f, n := findings[i], 1
		for i+n < len(findings) && f.State == tune.Right && findings[i+n].Rule == f.Rule && findings[i+n].State == tune.Right {
			n++
		}
		if n > 1 {
			f.Setting, f.Now = f.Rule.Name, fmt.Sprintf("all %d as they should be", n)
		}
		lines = append(lines, f)
		i += n
	}
	return lines
}
