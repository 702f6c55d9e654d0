package handshake

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// A handshake leaves garbage behind, and the heap of a proxy is so small that Go, by its
// defaults, collects it for every hundred of them or less. With what the collector's
// threads and the loops that they stop cost each other, this took a sixth of a
// handshake's CPU time. So while there are handshakes the heap may grow by more between
// two collections, and what it has grown by is given back behind them.

// garbage is how many bytes may lie there between two collections of a heap in which as
// many are in use, or more than a quarter of it.
const garbage = 16 << 20

// What Go begins with, and the bounds of what it is set to.
const (
	usualPercent = 100
	mostPercent  = 400
)

// pace is of the process: there is one collector.
var pace struct {
	mu    sync.Mutex
	users int // Workers with handshakes
}

// hasten is called when Workers begin to have handshakes.
func hasten() {
	pace.mu.Lock()
	defer pace.mu.Unlock()
	if pace.users++; pace.users == 1 && !decided() {
		debug.SetGCPercent(percent(live()))
	}
}

// relax is called when they have none any more. behind says that they had many.
func relax(behind bool) {
	pace.mu.Lock()
	defer pace.mu.Unlock()
	if pace.users--; pace.users > 0 || decided() {
		return
	}
	if debug.SetGCPercent(usualPercent); behind {
		debug.FreeOSMemory()
	}
}

// decided says that whoever has started the process has set by Go's environment
// variables how much its heap may grow.
func decided() bool { return os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" }

// percent is how much a heap may grow in which so many bytes are in use.
func percent(live uint64) int {
	return int(min(max(garbage*100/max(live, 1), usualPercent), mostPercent))
}

// live is how many bytes the last collection has found in use.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
