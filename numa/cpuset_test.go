package numa

import (
	"slices"
	"testing"
)

func TestParseCPUList(t *testing.T) {
	for _, c := range []struct {
		list, want string
		count      int
	}{
		{"", "", 0},
		{"\n", "", 0},
		{"0", "0", 1},
		{"0-3,8\n", "0-3,8", 5},
		{"8,0-3", "0-3,8", 5},
		{"1,2,3", "1-3", 3},
		{"0-1, 4-5", "0-1,4-5", 4},
		{"63-64,127-128", "63-64,127-128", 4},
		{"0-15:2/4", "0-1,4-5,8-9,12-13", 8},
		{"0-6:1/2", "0,2,4,6", 4},
		{"3-3", "3", 1},
		{"65535", "65535", 1},
	} {
		s, err := ParseCPUList(c.list)
		if err != nil {
			t.Errorf("%q: %v", c.list, err)
			continue
		}
		if s.String() != c.want || s.Count() != c.count || len(s.List()) != c.count {
			t.Errorf("%q: got %q with %d, want %q with %d", c.list, s, s.Count(), c.want, c.count)
		}
		for _, cpu := range s.List() {
			if !s.Has(cpu) {
				t.Errorf("%q lists %d and does not have it", c.list, cpu)
			}
		}
	}
	for _, list := range []string{"x", "1-", "-1", "3-1", "1,,2", "65536", "0-99999999999", "0-3:2", "0-3:0/2", "0-3:3/2", "0:1/2", "0-3:a/2", "0-3:1/b", "+1", "1 2"} {
		if s, err := ParseCPUList(list); err == nil {
			t.Errorf("%q was read as %q", list, s)
		}
	}
}

func TestCPUSet(t *testing.T) {
	var none CPUSet
	if none.Count() != 0 || none.Has(0) || none.Has(-1) || none.String() != "" || len(none.List()) != 0 {
		t.Errorf("the zero set is not empty: %q", none)
	}
	a, b := NewCPUSet(0, 1, 70, 500), NewCPUSet(1, 2, 70, -5, maxCPUs)
	for _, got := range []CPUSet{a.And(b), b.And(a)} {
		if !slices.Equal(got.List(), []int{1, 70}) {
			t.Errorf("intersection is %q", got)
		}
	}
	if got := a.And(none); got.Count() != 0 {
		t.Errorf("intersection with nothing is %q", got)
	}
	if a.String() != "0-1,70,500" || b.String() != "1-2,70" {
		t.Errorf("And changed its operands: %q, %q", a, b)
	}
	if a.Has(501) || a.Has(100000) || !a.Has(500) {
		t.Error("Has is wrong near the end")
	}
}

// FuzzParseCPUList: what is read is written in a form that reads the same.
func FuzzParseCPUList(f *testing.F) {
	for _, list := range []string{"", "0-3,8\n", "0-15:2/4", "63-64, 127", "65536", "3-1", "0-0:1/99999999999", "-"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		s, err := ParseCPUList(list)
		if err != nil {
			return
		}
		again, err := ParseCPUList(s.String())
		if err != nil || again.String() != s.String() || !slices.Equal(again.List(), s.List()) || s.Count() != len(s.List()) {
			t.Fatalf("%q is %q, which is read as %q (%v)", list, s, again, err)
		}
	})
}
