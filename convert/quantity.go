package convert

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Gather turns lists of names into what each name stands for.
func Gather[T comparable](lists map[T][]string) map[string]T {
	all := map[string]T{}
	for what, names := range lists {
		for _, name := range names {
			all[name] = what
		}
	}
	return all
}

// Address is where a port of a host is listened on, or reached; "" where that can not be told.
func Address(host, port string) string {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return ""
	}
	switch host {
	case "", "*":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	if net.ParseIP(host) == nil {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// Duration is d as the configuration has it, within its bounds.
func Duration(d, least, most time.Duration) string {
	d = min(max(d, least), most)
	switch {
	case d%time.Second != 0:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d%time.Hour == 0 && d > 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0 && d > 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// Size is n bytes as the configuration has them.
func Size(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n > 0 && n%unit.size == 0 {
			return fmt.Sprintf("%d%s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprint(n)
}

// Weights scales weights to what the configuration takes, 1 to 256; false: they were small enough.
func Weights(weights []int) bool {
	most := 0
	for _, w := range weights {
		most = max(most, w)
	}
	if most <= 256 {
		return false
	}
	for i, w := range weights {
		weights[i] = max(1, w*256/most)
	}
	return true
}

// Name is text as the name of an upstream: letters, digits and "_-.", at most 64 of them.
func Name(text string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			return r
		}
		return '-'
	}, text)
	if s = strings.Trim(s, "-."); s == "" {
		s = "upstream"
	}
	return s[:min(len(s), 60)]
}
