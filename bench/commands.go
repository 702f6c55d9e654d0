package main

import (
	"context"
	"io"
	"os"
	"slices"
)

// subcommand is what bench does besides the comparison of all contenders. It
// returns the exit status: 0, 1 when something failed, 2 for wrong usage.
type subcommand struct {
	name string
	run  func(args []string, out, errOut io.Writer) int
}

// Each lies in a file of its own.
var subcommands = []subcommand{
	{"abuse", abuse},
	{"compare", compare},
	{"greedy", greedy},
	{"handshakes", handshakes},
	{"reloads", reloads},
	{"scale", scale},
	{"uploaders", uploaders},
}

// newBench prepares a run, with all programs that it starts, and returns what has to be
// called at its end.
func newBench(ctx context.Context, set settings, progress io.Writer) (*bench, func(), error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, nil, err
	}
	b := emptyBench(ctx, set, progress)
	b.root = root
	if b.dir, err = os.MkdirTemp("", "zproxy-bench-"); err != nil {
		return nil, nil, err
	}
	end := func() {
		b.standing = 0
		b.stopAll()
		for _, f := range slices.Backward(b.undo) {
			f()
		}
		os.RemoveAll(b.dir)
	}
	// nginx's worker may run as another user.
	if err := os.Chmod(b.dir, 0o755); err != nil {
		end()
		return nil, nil, err
	}
	if err = b.furnish(); err == nil {
		err = b.programs.gather(root)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return b, end, nil
}

// emptyBench has nothing prepared.
func emptyBench(ctx context.Context, set settings, progress io.Writer) *bench {
	b := &bench{ctx: ctx, set: set, progress: progress, launcher: newLauncher(), configs: map[string][]byte{}, kept: map[string][]string{}}
	b.programs = programs{b: b, paths: map[string]string{}, versions: map[string]string{}, missing: map[string]string{}}
	return b
}
