package loop

import (
	"slices"
	"testing"
)

func TestFeatures(t *testing.T) {
	f := Probe()
	if f.Kernel == "" {
		t.Error("no kernel release")
	}
	if f.Usable == (f.Reason != "") {
		t.Errorf("usable %v, reason %q", f.Usable, f.Reason)
	}
	if f.Usable && !slices.Contains(CompiledIn(), "uring") {
		t.Errorf("usable, but compiled in are %v", CompiledIn())
	}
	f = Features{Usable: true, Names: []string{"defer_taskrun", "bundles"}}
	if got, want := f.String(), "defer_taskrun bundles"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f = Features{Reason: "too old"}
	if got, want := f.String(), "too old"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
