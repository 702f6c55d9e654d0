package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// peer is a program of the distribution.
type peer struct {
	program string
	pkg     string // Debian package
	version []string
}

var peers = []peer{
	{"wrk", "wrk", []string{"-v"}},
	{"h2load", "nghttp2-client", []string{"--version"}},
	{"nginx", "nginx", []string{"-v"}},
	{"haproxy", "haproxy", []string{"-v"}},
}

// programs are what a run starts: where each is, and which contenders lack theirs.
type programs struct {
	b        *bench
	paths    map[string]string // of those that were built
	prefix   []string          // before the name of a peer that is in a root of its own
	versions map[string]string // program to what it says of itself
	missing  map[string]string // contender to why it does not take part
}

// moduleRoot is where go.mod is: what is built is the tree we are run in.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module with `go list -m`: %w (bench builds zproxy itself and needs its source and Go)", err)
	}
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "zproxy ")
	if !ok {
		return "", fmt.Errorf("the working directory belongs to module %q; run this inside of zproxy's", strings.TrimSpace(string(out)))
	}
	return dir, nil
}

// build makes a program of the tree at root.
func (ps *programs) build(root, name, pkg string, flags ...string) error {
	ps.b.say("building %s\n", name)
	out := filepath.Join(ps.b.dir, name+".bin")
	args := append(append([]string{"build", "-trimpath", "-buildvcs=false"}, flags...), "-o", out, pkg)
	cmd := exec.CommandContext(ps.b.ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := ps.output(cmd); err != nil {
		return fmt.Errorf("building %s: %w\n%s", name, err, text)
	}
	ps.paths[name] = out
	return nil
}

// buildZproxy does it as make build of that tree does.
func (ps *programs) buildZproxy(root, name, revision string) error {
	tags, profile := "giouring", filepath.Join(root, profileFile)
	if _, err := os.Stat(profile); err != nil {
		profile = "off" // a tree from before there was one
	}
	if ps.b.set.profile != "" {
		tags, profile = "giouring,cpuprofile", "off"
	}
	return ps.build(root, name, "./cmd/zproxy", "-tags", tags, "-pgo", profile, "-ldflags", "-checklinkname=0 -s -w -X 'main.buildVersion="+revision+"'")
}

// gather builds our programs and finds those of the system.
func (ps *programs) gather(root string) error {
	if err := ps.buildZproxy(root, "zproxy", revision(root)); err != nil {
		return err
	}
	for _, name := range []string{"origin", "floor", "load"} {
		if err := ps.build(root, name, "./bench/"+name); err != nil {
			return err
		}
	}
	if ps.b.set.peers == currentPeers {
		if err := ps.peerRoot(); err != nil {
			return err
		}
	}
	if err := ps.findPeers(); err != nil {
		return err
	}
	version, err := exec.CommandContext(ps.b.ctx, ps.paths["zproxy"], "version").Output()
	if err != nil {
		return fmt.Errorf("zproxy version: %w", err)
	}
	ps.versions["zproxy"] = strings.TrimSpace(string(version))
	if _, why, ok := strings.Cut(ps.versions["zproxy"], "io_uring not usable, "); ok {
		for _, name := range []string{"zproxy-uring", "zproxy-uring" + atOnce} {
			ps.missing[name] = "io_uring not usable here: " + why
			ps.b.say("%s does not take part: io_uring not usable, %s\n", name, why)
		}
	}
	return nil
}

// findPeers notes which contenders cannot take part; without a load generator
// or an origin nobody can.
func (ps *programs) findPeers() error {
	var lacking []string
	for _, p := range peers {
		if ps.needs(p.program) && ps.argv(p.program)[0] == "" {
			lacking = append(lacking, p.pkg)
		}
	}
	if len(lacking) > 0 && ps.b.set.install && os.Geteuid() == 0 {
		if err := ps.aptInstall(lacking); err != nil {
			ps.b.say("%v\n", err)
		}
	}
	for _, p := range peers {
		if !ps.needs(p.program) {
			continue
		}
		if argv := append(ps.argv(p.program), p.version...); argv[0] != "" {
			// wrk ends with status 1 after it has told its version.
			text, _ := exec.CommandContext(ps.b.ctx, argv[0], argv[1:]...).CombinedOutput()
			ps.versions[p.program], _, _ = strings.Cut(string(text), "\n")
			continue
		}
		hint := fmt.Sprintf("%s is not installed: apt-get install %s", p.program, p.pkg)
		if p.program == "wrk" || p.program == "h2load" || p.program == "nginx" && ps.wantsFileOrigin() {
			return errors.New(hint + ", or leave out the scenarios that need it with -scenarios")
		}
		ps.b.say("%s\n", hint)
		for i := range contenders {
			if contenders[i].program == p.program {
				ps.missing[contenders[i].name] = hint
			}
		}
	}
	return nil
}

// needs says whether a program has a part in what was asked for.
func (ps *programs) needs(program string) bool {
	for _, name := range ps.b.set.scenarios {
		if scenarioNamed(name).generatorFor(ps.b.set.own) == program {
			return true
		}
	}
	if program == "nginx" && ps.wantsFileOrigin() {
		return true
	}
	for i := range contenders {
		if contenders[i].program == program && ps.b.takesPart(contenders[i].name) {
			return true
		}
	}
	return false
}

// wantsFileOrigin says whether a scenario has nginx for an origin.
func (ps *programs) wantsFileOrigin() bool {
	for i := range scenarios {
		if scenarios[i].fileOrigin && slices.Contains(ps.b.set.scenarios, scenarios[i].name) {
			return true
		}
	}
	return false
}

// argv is how a program is called, "" where it is missing. Peers may be in a root
// of their own; chroot becomes the program, which keeps its id.
func (ps *programs) argv(program string) []string {
	switch {
	case ps.paths[program] != "":
		return []string{ps.paths[program]}
	case len(ps.prefix) > 0 && slices.Contains(peerPackages, program):
		return append(slices.Clone(ps.prefix), "/usr/sbin/"+program)
	}
	return []string{find(program)}
}

// find looks in the search path, and where daemons are, which often is not in it.
func find(program string) string {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func (ps *programs) aptInstall(packages []string) error {
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-qy", "--no-install-recommends"}, packages...)} {
		ps.b.say("apt-get %s\n", strings.Join(args, " "))
		cmd := exec.CommandContext(ps.b.ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if text, err := ps.output(cmd); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, text)
		}
	}
	return nil
}

// output runs a command that may need the network beyond this machine, and
// returns all it says.
func (ps *programs) output(cmd *exec.Cmd) ([]byte, error) {
	text := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = text, text
	if err := ps.b.outside.start(cmd, -1); err != nil {
		return nil, err
	}
	err := cmd.Wait()
	return []byte(text.String()), err
}
