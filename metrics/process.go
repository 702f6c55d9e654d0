package metrics

import (
	"bytes"
	"os"
	"runtime"
	rt "runtime/metrics"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// startTime is when the process began, as near as its own code can tell.
var startTime = time.Now()

// ProcessGauges reads the numbers of the process and of the Go runtime. It
// avoids everything that stops the world, because the loops would stop with it;
// what the kernel does not tell is left out.
func ProcessGauges() []Gauge {
	gauges := []Gauge{
		{Name: "process_start_time_seconds", Help: "When the process started, seconds since 1970.", Value: float64(startTime.UnixMilli()) / 1e3},
	}
	if rss, ok := residentBytes(); ok {
		gauges = append(gauges, Gauge{Name: "process_resident_memory_bytes", Help: "Resident set of the process.", Value: rss})
	}
	if cpu, ok := cpuSeconds(); ok {
		gauges = append(gauges, Gauge{Name: "process_cpu_seconds_total", Help: "User and system time spent.", Value: cpu})
	}
	if n, ok := openFDs(); ok {
		gauges = append(gauges, Gauge{Name: "process_open_fds", Help: "File descriptors open.", Value: n})
	}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		gauges = append(gauges, Gauge{Name: "process_max_fds", Help: "File descriptors the process may have open (the soft limit, which the Go runtime has raised to the hard one).", Value: float64(files.Cur)})
	}
	return append(gauges, runtimeGauges()...)
}

func runtimeGauges() []Gauge {
	gauges := []Gauge{
		{Name: "go_info", Labels: Labels("version", runtime.Version()), Help: "Always 1: the Go release the program was built with.", Value: 1},
		{Name: "go_goroutines", Help: "Goroutines."},
		{Name: "go_heap_objects_bytes", Help: "Memory in live and unswept heap objects."},
		{Name: "go_heap_live_bytes", Help: "Memory in heap objects that were in use at the last garbage collection."},
		{Name: "go_memory_bytes", Help: "All memory mapped by the Go runtime."},
		{Name: "go_gc_cycles_total", Help: "Garbage collections completed."},
		{Name: "go_heap_allocs_total", Help: "Heap objects ever allocated."},
	}
	samples := [...]rt.Sample{
		{Name: "/sched/goroutines:goroutines"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/allocs:objects"},
	}
	rt.Read(samples[:])
	kept := gauges[:1]
	for i := range samples {
		if samples[i].Value.Kind() == rt.KindUint64 {
			g := gauges[1+i]
			g.Value = float64(samples[i].Value.Uint64())
			kept = append(kept, g)
		}
	}
	return kept
}

// residentBytes reads the second field of /proc/self/statm (proc(5)), in pages.
func residentBytes() (float64, bool) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	return float64(pages) * float64(os.Getpagesize()), err == nil
}

// cpuSeconds reads utime and stime, fields 14 and 15 of /proc/self/stat
// (proc(5)), in ticks of 1/100 s on every architecture Go runs Linux on. The
// command's name, field 2, may hold spaces and ends with the last parenthesis.
func cpuSeconds() (float64, bool) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseUint(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseUint(string(fields[12]), 10, 64)
	return float64(user+system) / 100, err1 == nil && err2 == nil
}

// openFDs counts the descriptors. Since Linux 6.2 the size of /proc/self/fd is
// their number; before it is 0 and the entries have to be counted.
func openFDs() (float64, bool) {
	if info, err := os.Stat("/proc/self/fd"); err == nil && info.Size() > 0 {
		return float64(info.Size()), true
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return float64(len(names) - 1), err == nil // without the descriptor of the directory itself
}
