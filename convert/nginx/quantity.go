package nginx

import (
	"strconv"
	"strings"
	"time"
)

// duration is a time as nginx has it: 60, 60s, 1m30s, 500ms, 1d.
func duration(s string) (time.Duration, bool) {
	total, rest := time.Duration(0), s
	for rest != "" {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		n, err := strconv.ParseInt(rest[:i], 10, 32)
		if err != nil {
			return 0, false
		}
		j := i
		for j < len(rest) && rest[j] >= 'a' && rest[j] <= 'z' || j < len(rest) && rest[j] == 'M' {
			j++
		}
		unit, ok := map[string]time.Duration{"": time.Second, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
			"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "M": 30 * 24 * time.Hour, "y": 365 * 24 * time.Hour}[rest[i:j]]
		if !ok {
			return 0, false
		}
		if total += time.Duration(n) * unit; total < 0 || total > 1e6*time.Hour {
			total = 1e6 * time.Hour
		}
		rest = strings.TrimLeft(rest[j:], " ")
	}
	return total, s != ""
}

// size is a number of bytes as nginx has it: 8192, 8k, 10m, 1g.
func size(s string) (int64, bool) {
	factor := int64(1)
	if s != "" {
		switch s[len(s)-1] {
		case 'k', 'K':
			factor = 1 << 10
		case 'm', 'M':
			factor = 1 << 20
		case 'g', 'G':
			factor = 1 << 30
		}
	}
	if factor > 1 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 40)
	return n * factor, err == nil && n >= 0
}
