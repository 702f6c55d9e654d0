package longtest

import "testing"

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		value string
		runs  bool
	}{{"", false}, {"0", false}, {"1", true}} {
		ran := false
		t.Run("ZPROXY_LONG="+c.value, func(t *testing.T) {
			defer func() {
				if ran != c.runs {
					t.Errorf("ran: %v, want %v", ran, c.runs)
				}
			}()
			t.Setenv(variable, c.value)
			Need(t)
			ran = true
		})
	}
}
