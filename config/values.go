package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wants says what a value of f looks like: "a size from 4KiB to 64KiB".
func (f *field) wants() string {
	if f.want != "" {
		return f.want
	}
	span := func(low, high string) string {
		if f.min == 0 && f.kind != kindDuration && f.kind != kindBatchWait {
			return "up to " + high
		}
		return "from " + low + " to " + high
	}
	number := func(v int64) string { return strconv.FormatInt(v, 10) }
	switch f.kind {
	case kindEnum:
		return "one of " + strings.Join(f.enum, ", ")
	case kindBool:
		return "true or false"
	case kindCount:
		if f.numbers != nil {
			return "one of " + strings.Trim(strings.ReplaceAll(fmt.Sprint(f.numbers), " ", ", "), "[]")
		}
		return "a whole number " + span(number(f.min), number(f.max))
	case kindSize:
		return "a size " + span(Size(f.min).String(), Size(f.max).String()) + `, e.g. "16KiB", "64MiB", "1GB"`
	case kindDuration:
		text := "a duration " + span(durationText(f.min), durationText(f.max)) + `, e.g. "60s", "1m30s"`
		if f.never {
			text += ", or never"
		}
		return text
	case kindLoops:
		return `auto, a whole number from 1 to 1024, or a list of CPUs such as "0-3,8"`
	case kindBatchWait:
		return "auto, or a duration " + span(durationText(f.min), durationText(f.max)) + `, e.g. "200us"`
	case kindMode:
		return `permissions in octal, e.g. "0660"`
	case kindTexts, kindPrefixes:
		return "a list " + span(number(f.min), number(f.max)) + " long, each " + f.elem.wants()
	case kindPairs:
		return "a mapping with " + number(f.min) + " to " + number(f.max) + " entries, each " + f.name.wants() + ", a colon and " + f.elem.wants()
	case kindSections:
		return "a list of " + number(f.min) + " to " + number(f.max) + " entries, each with the keys " + strings.Join(keysOf(f.fields), ", ")
	case kindNamed:
		return "at most " + number(f.max) + " names, each with the keys " + strings.Join(keysOf(f.fields), ", ")
	case kindSection:
		return "a mapping with the keys " + strings.Join(keysOf(f.fields), ", ")
	}
	return "text"
}

// scan turns text into a value of f and stores it in target. It returns what was expected, or "" when text is good.
func (f *field) scan(text string, target any) (want, hint string) {
	var number int64
	ok := true
	switch f.kind {
	case kindEnum:
		if f.check != nil {
			break // it knows more than the list
		}
		if ok = slices.Contains(f.enum, text); !ok {
			if like := nearest(text, f.enum); like != "" {
				hint = "did you mean " + quote(like) + "?"
			}
		}
	case kindBool:
		ok = text == "true" || text == "false"
	case kindCount:
		number, ok = parseCount(text)
		ok = ok && (f.numbers == nil || slices.Contains(f.numbers, number))
	case kindSize:
		number, hint, ok = parseSize(text)
	case kindDuration:
		if f.never && text == "never" {
			*target.(*time.Duration) = Never
			return "", ""
		}
		number, hint, ok = parseDuration(text)
	case kindBatchWait:
		if text == "auto" {
			*target.(*BatchWait) = BatchWait{Auto: true}
			return "", ""
		}
		number, hint, ok = parseDuration(text)
	case kindLoops:
		return scanLoops(text, target.(*Loops), f.wants())
	case kindMode:
		mode, err := strconv.ParseUint(text, 8, 32)
		if err != nil || len(text) < 3 || len(text) > 4 || mode > 0o777 {
			return f.wants(), "as chmod has it; what is not for others ends in 0"
		}
		*target.(*uint32) = uint32(mode)
		return "", ""
	case kindPrefix:
		return scanPrefix(text, target.(*netip.Prefix))
	}
	if !ok || (f.max > f.min && (number < f.min || number > f.max)) {
		return f.wants(), hint
	}
	if f.check != nil {
		if want, hint = f.check(text, number); want != "" {
			return want, hint
		}
	}
	switch t := target.(type) {
	case *string:
		*t = text
	case *bool:
		*t = text == "true"
	case *int:
		*t = int(number)
	case *Size:
		*t = Size(number)
	case *time.Duration:
		*t = time.Duration(number)
	case *BatchWait:
		*t = BatchWait{Time: time.Duration(number)}
	}
	return "", ""
}

// parseCount reads decimal digits: no sign, no base prefix, no separators, no fraction.
func parseCount(text string) (int64, bool) {
	if text == "" || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// sizeUnits are those a size may have, largest first within each kind. They are never guessed: "64k" means 64 000 to
// some and 65 536 to others.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

func parseSize(text string) (n int64, hint string, ok bool) {
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	n, ok = parseCount(text[:digits])
	unit := strings.TrimPrefix(text[digits:], " ")
	if !ok {
		return 0, "", false
	}
	if unit == "" && digits == len(text) {
		return n, "", true
	}
	for _, u := range sizeUnits {
		if u.name == unit {
			if n > math.MaxInt64/u.bytes {
				return 0, "", false
			}
			return n * u.bytes, "", true
		}
	}
	switch strings.ToLower(unit) {
	case "k", "kb", "kib":
		hint = "write " + text[:digits] + "KiB for 1024s or " + text[:digits] + "KB for 1000s"
	case "m", "mb", "mib":
		hint = "write " + text[:digits] + "MiB for 1024s or " + text[:digits] + "MB for 1000s"
	case "g", "gb", "gib":
		hint = "write " + text[:digits] + "GiB for 1024s or " + text[:digits] + "GB for 1000s"
	default:
		if strings.HasPrefix(unit, ".") {
			hint = "whole numbers only: take the next smaller unit"
		} else {
			hint = "units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB"
		}
	}
	return 0, hint, false
}

// String is the size as it would be written in a file.
func (s Size) String() string {
	if s != 0 {
		for _, u := range sizeUnits[:4] {
			if int64(s)%u.bytes == 0 {
				return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
			}
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func parseDuration(text string) (ns int64, hint string, ok bool) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return int64(d), "", true
	}
	if n, isCount := parseCount(text); isCount {
		return 0, "add the unit: " + strconv.FormatInt(n, 10) + "s or " + strconv.FormatInt(n, 10) + "ms", false
	}
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		if n, isCount := parseCount(days); isCount && n < 1<<20 {
			return 0, "write days as hours: " + strconv.FormatInt(n*24, 10) + "h", false
		}
	}
	return 0, "units are ms, s, m, h", false
}

// durationText is a duration without the zero parts Go prints: "1h", not "1h0m0s".
func durationText(ns int64) string {
	s := time.Duration(ns).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

const (
	maxLoops = 1024
	maxCPU   = 8191 // the kernel's own limit on x86-64
)

func scanLoops(text string, l *Loops, wants string) (want, hint string) {
	if text == "auto" {
		*l = Loops{Auto: true}
		return "", ""
	}
	if n, ok := parseCount(text); ok {
		if n < 1 || n > maxLoops {
			if n == 0 {
				hint = `for CPU 0 alone write "0-0"`
			}
			return wants, hint
		}
		*l = Loops{N: int(n)}
		return "", ""
	}
	seen := make(map[int64]bool)
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		low, ok := parseCount(first)
		high := low
		if isRange && ok {
			high, ok = parseCount(last)
		}
		switch {
		case !ok:
			return wants, "a list is numbers and ranges with commas between, without spaces"
		case low > high:
			return wants, "the range " + quote(part) + " runs backwards"
		case high > maxCPU:
			return wants, "CPU numbers end at " + strconv.Itoa(maxCPU)
		}
		for cpu := low; cpu <= high; cpu++ {
			if seen[cpu] {
				return wants, "CPU " + strconv.FormatInt(cpu, 10) + " is named twice"
			}
			seen[cpu] = true
		}
	}
	if len(seen) > maxLoops {
		return wants, "at most 1024 CPUs"
	}
	*l = Loops{CPUs: text}
	return "", ""
}

const wantPrefix = "a network such as 10.0.0.0/8, or an IP address"

func scanPrefix(text string, p *netip.Prefix) (want, hint string) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		*p = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		return "", ""
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() {
		return wantPrefix, ""
	}
	if prefix != prefix.Masked() {
		return wantPrefix, "bits behind the prefix are set: did you mean " + prefix.Masked().String() + "?"
	}
	*p = prefix
	return "", ""
}

// Checks of numbers.

func checkPowerOfTwo(_ string, v int64) (want, hint string) {
	if v&(v-1) != 0 {
		return "a power of two: 4KiB, 8KiB, 16KiB, 32KiB or 64KiB", ""
	}
	return "", ""
}

func checkSeconds(_ string, v int64) (want, hint string) {
	if v%int64(time.Second) != 0 {
		return "whole seconds", "the kernel counts this one in seconds"
	}
	return "", ""
}
