package tune

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Plan picks what Apply would change.
func Plan(findings []Finding) []Finding {
	var plan []Finding
	for _, f := range findings {
		if f.State == Wrong {
			plan = append(plan, f)
		}
	}
	return plan
}

// Apply makes the changes of a plan and tells out of each. Values from before the first change of a setting are kept
// until Revert. What fails does not keep the rest from being done; the error names all of it.
func (t *Target) Apply(plan []Finding, out io.Writer) error {
	s, err := t.loadState()
	if err != nil {
		return err
	}
	if err := t.sameNetwork(s); err != nil {
		return err
	}
	t.newBoot(s)
	for _, f := range plan {
		if c := s.find(f.File); c != nil {
			c.Want, c.After = f.Want, ""
		} else {
			s.Changes = append(s.Changes, change{Setting: f.Setting, File: f.File, Before: f.Now, Want: f.Want})
		}
	}
	// First on disk, then in the kernel: whatever happens in between can be reverted.
	if err := t.saveState(s); err != nil {
		return fmt.Errorf("nothing was changed, since it could not be noted how to revert it: %w", err)
	}
	var failed error
	for _, f := range plan {
		c := s.find(f.File)
		var known bool
		if c.After, known, err = t.change(f.File, f.Want); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", f.Setting, err))
		}
		if !known {
			continue
		}
		note := ""
		if !sameValue(c.After, f.Want) {
			note = fmt.Sprintf("  (asked for %s)", f.Want)
		}
		fmt.Fprintf(out, "%s: %s -> %s%s\n", f.Setting, shown(f.Now), shown(c.After), note)
	}
	s.Changes = slices.DeleteFunc(s.Changes, func(c change) bool { return c.After == c.Before })
	return errors.Join(failed, t.saveState(s))
}

// newBoot forgets what a restart has undone and what would mean something else by now: interrupts have other numbers.
// Sysctls and the like may have been set again by persistent settings, so Revert looks at their values.
func (t *Target) newBoot(s *state) {
	boot, err := t.value("proc/sys/kernel/random/boot_id")
	if err != nil || boot == s.BootID {
		return
	}
	if s.BootID != "" {
		s.Changes = slices.DeleteFunc(s.Changes, func(c change) bool { return kindOf(c.File) == kindNIC })
	}
	s.BootID = boot
}

func (s *state) find(file string) *change {
	i := slices.IndexFunc(s.Changes, func(c change) bool { return c.File == file })
	if i < 0 {
		return nil
	}
	return &s.Changes[i]
}

// Revert puts everything back that Apply has changed, and tells out of each. A value that has been changed again since
// is somebody else's and stays, unless force is set; it stays noted and makes Revert fail.
func (t *Target) Revert(force bool, out io.Writer) error {
	s, err := t.loadState()
	if err != nil {
		return err
	}
	if len(s.Changes) == 0 && len(s.Files) == 0 {
		fmt.Fprintln(out, "nothing to revert")
		return nil
	}
	if err := t.sameNetwork(s); err != nil {
		return err
	}
	t.newBoot(s)
	var failed error
	var left []change
	for _, c := range slices.Backward(s.Changes) {
		if err := t.putBack(c, force, out); err != nil {
			failed = errors.Join(failed, err)
			left = append(left, c)
		}
	}
	slices.Reverse(left)
	s.Changes = left
	s.Files = slices.DeleteFunc(s.Files, func(f saved) bool {
		err := f.putBack(force, out)
		failed = errors.Join(failed, err)
		return err == nil
	})
	return errors.Join(failed, t.saveState(s))
}

func (t *Target) putBack(c change, force bool, out io.Writer) error {
	now, err := t.value(c.File)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Setting, err)
	}
	if now == c.Before {
		return nil
	}
	if c.After != "" && now != c.After && now != c.Want && !force {
		return fmt.Errorf("%s: was set to %s, is %s by now and stays so; --force puts it back to %s", c.Setting, c.After, now, shown(c.Before))
	}
	back, _, err := t.change(c.File, c.Before)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Setting, err)
	}
	if back != c.Before {
		return fmt.Errorf("%s: is %s, not %s again; something may still use it: stop that and revert once more", c.Setting, shown(back), shown(c.Before))
	}
	fmt.Fprintf(out, "%s: %s -> %s\n", c.Setting, shown(now), shown(c.Before))
	return nil
}

func (f *saved) putBack(force bool, out io.Writer) error {
	now, exists, err := readFile(f.Path)
	switch {
	case err != nil:
		return err
	case exists == f.Existed && now == f.Before:
		return nil
	case exists && now != f.After && !force:
		return fmt.Errorf("%s: has been edited since and stays so; --force puts it back", f.Path)
	}
	if !f.Existed {
		if err := removeFile(f.Path); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: removed\n", f.Path)
		return nil
	}
	if err := writeFile(f.Path, f.Before); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: as it was\n", f.Path)
	return nil
}

// sameValue knows that the kernel writes CPU masks with leading zeros.
func sameValue(a, b string) bool {
	return a == b || strings.TrimLeft(a, "0,") == strings.TrimLeft(b, "0,")
}

func shown(value string) string {
	if value == "" {
		return "(empty)"
	}
	return value
}
