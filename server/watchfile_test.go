package server

import (
	"testing"
	"time"
)

func TestFileWatch(t *testing.T) {
	var w fileWatch
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	look := func(second int, looks, inForce string, due, patient bool) {
		t.Helper()
		if got := w.due(looks, inForce, at(second)); got != due {
			t.Errorf("second %d: due is %v", second, got)
		}
		if got := w.patient(at(second)); due && got != patient {
			t.Errorf("second %d: patient is %v", second, got)
		}
	}
	look(0, "a", "a", false, false)
	look(1, "a", "a", false, false)
	look(2, "b", "a", false, false) // it changes
	look(3, "c", "a", false, false) // and goes on
	look(4, "c", "a", true, true)
	look(7, "c", "a", true, true)
	look(8, "c", "a", true, false)
	w.refused = "c"
	look(9, "c", "a", false, false)
	look(10, "d", "a", false, false)
	look(11, "d", "a", true, true)
	look(12, "d", "d", false, false)
	look(13, "c", "d", false, false)
	w.refused = ""
	look(14, "c", "d", true, true)
}
