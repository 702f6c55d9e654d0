package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// profileFile is what the compiler is told about where zproxy spends its time
// (profile-guided optimisation), from the root of the module.
const profileFile = "bench/zproxy.pgo"

// writeProfile puts together what all zproxies of this run have written at
// their end.
func (b *bench) writeProfile() error {
	b.stopAll()
	parts, err := filepath.Glob(filepath.Join(b.dir, "zproxy-*.pprof"))
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return errors.New("-profile: no zproxy has run")
	}
	args := append([]string{"tool", "pprof", "-proto", "-output", b.set.profile}, parts...)
	if text, err := exec.CommandContext(b.ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("putting %d profiles together: %w\n%s", len(parts), err, text)
	}
	b.say("%s is made from %d zproxies\n", b.set.profile, len(parts))
	return nil
}
