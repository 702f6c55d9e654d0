package numa

import (
	"maps"
	"strings"
	"testing"
)

func TestTransparentHugePages(t *testing.T) {
	const dir = "sys/kernel/mm/transparent_hugepage/"
	for _, c := range []struct {
		files map[string]string
		want  bool
	}{
		{nil, false},
		{map[string]string{dir + "enabled": "always [madvise] never"}, true},
		{map[string]string{dir + "enabled": "[always] madvise never"}, true},
		{map[string]string{dir + "enabled": "always madvise [never]"}, false},
		{map[string]string{dir + "enabled": "always [madvise] never", dir + "hugepages-2048kB/enabled": "always [inherit] madvise never"}, true},
		{map[string]string{dir + "enabled": "always madvise [never]", dir + "hugepages-2048kB/enabled": "always [inherit] madvise never"}, false},
		{map[string]string{dir + "enabled": "always madvise [never]", dir + "hugepages-2048kB/enabled": "always inherit [madvise] never"}, true},
		{map[string]string{dir + "enabled": "always [madvise] never", dir + "hugepages-2048kB/enabled": "always inherit madvise [never]"}, false},
	} {
		if got := transparentHugePages(machine(c.files)); got != c.want {
			t.Errorf("%v: %v", c.files, got)
		}
	}
}

func TestExplainNoneFree(t *testing.T) {
	const dir = "sys/kernel/mm/hugepages/hugepages-2048kB/"
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{nil, "vm.nr_hugepages is 0"},
		{map[string]string{dir + "nr_hugepages": "64", dir + "free_hugepages": "1"}, "too few are free (1 of 64)"},
		{map[string]string{dir + "nr_hugepages": "many"}, dir + `nr_hugepages: "many" is not a count`},
	} {
		if got := explainNoneFree(machine(c.files)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestPlacementParsing(t *testing.T) {
	in := func(address uint64) bool { return address >= 0x1000 && address < 0x9000 }
	var p Placement
	err := p.addSmaps(strings.NewReader(`00000f00-00001000 rw-p 00000000 00:00 0 
Rss:                1000 kB
AnonHugePages:      1000 kB
00001000-00003000 rw-p 00000000 00:00 0    [anon: x: y]
Size:                  8 kB
Rss:                   8 kB
AnonHugePages:      4 kB
Private_Hugetlb:       0 kB
THPeligible:           1
VmFlags: rd wr mr mw me nr sd nh 
00003000-00009000 rw-p 00000000 00:0f 1234   /anon_hugepage (deleted)
Rss:                   0 kB
Shared_Hugetlb:     2048 kB
Private_Hugetlb:    4096 kB
00009000-0000a000 rw-p 00000000 00:00 0 
Rss:                1000 kB
`), in)
	if err != nil {
		t.Fatal(err)
	}
	if p.ResidentBytes != (8+6144)<<10 || p.THPBytes != 4<<10 || p.HugeBytes != 6144<<10 {
		t.Errorf("%+v", p)
	}
	p.NodeBytes = map[int]int{}
	err = p.addNumaMaps(strings.NewReader(`00000f00 default anon=9 N0=9 kernelpagesize_kB=4
00001000 prefer:1 anon=3 dirty=3 N0=1 N1=2 kernelpagesize_kB=4
00003000 bind:1 file=/anon_hugepage\040(deleted) huge anon=2 dirty=2 N1=2 kernelpagesize_kB=2048
00008000 default
00009000 default anon=9 N3=9 kernelpagesize_kB=4
`), in)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[int]int{0: 4 << 10, 1: 8<<10 + 4096<<10}; !maps.Equal(p.NodeBytes, want) {
		t.Errorf("%v, want %v", p.NodeBytes, want)
	}
	if err := p.addSmaps(strings.NewReader("1000-2000 rw-p\nRss: x kB\n"), in); err == nil {
		t.Error("a size that is none was accepted")
	}
	if err := p.addNumaMaps(strings.NewReader("zzz default\n"), in); err == nil {
		t.Error("an address that is none was accepted")
	}
}
