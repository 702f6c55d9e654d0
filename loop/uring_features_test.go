package loop

import "testing"

func TestFeatures(t *testing.T) {
	f := Probe()
	if f.Kernel == "" {
		t.Error("no kernel release")
	}
	if f.Usable == (f.Reason != "") {
		t.Errorf("usable %v, reason %q", f.Usable, f.Reason)
	}
	if f.Usable && !f.CompiledIn {
		t.Error("usable though not compiled in")
	}
	f = Features{Kernel: "6.1.0", Usable: true, BufferRing: true}
	want := "Linux 6.1.0: usable: -defer_taskrun buffer_ring -multishot_accept -multishot_recv" +
		" -registered_fd -bundles -incremental_buffers -min_timeout"
	if got := f.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f = Features{Kernel: "5.4.0", Reason: "too old"}
	if got, want := f.String(), "Linux 5.4.0: not usable: too old"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
