package router

// hosts finds the tries that apply to a request's host, the most specific first.
type hosts struct {
	slots []uint32 // open-addressed by hash of the name: index into list, 0 free
	seed  uint64
	list  []host // list[0] stands for none
	names []byte
	other uint32 // index of the entry for any host, 0 when there is none
	// Without names the request's host is not looked at, without wildcards only as a whole.
	named, wildcards bool
}

type host struct {
	name     uint32 // offset in names
	len      uint16
	wildcard bool
	root     uint32
	next     uint32 // index of the next less specific entry that matches whatever this one matches, 0 for none
}

const fold = 0x20 // set in every lower-case letter, digit, "-" and "."

// hashByte adds one more character of a host name, from right to left, so that each suffix has its hash on the way.
// Letter case does not matter.
func hashByte(h uint64, c byte) uint64 { return (h ^ uint64(c|fold)) * 0x100000001B3 }

// hashEnd makes the hash of a name, or of a wildcard for what ends in "." and this name.
func hashEnd(h uint64, wildcard bool) uint64 {
	if wildcard {
		h ^= mulB
	}
	return mix(h, mulA)
}

func newHosts(list []host, names []byte) (t hosts) {
	t.list, t.names = list, names
	t.seed = place(len(list)-1, func(size int) { t.slots = make([]uint32, size) }, func(i int, seed uint64) int {
		e := &list[i+1]
		h := seed
		for at := int(e.len) - 1; at >= 0; at-- {
			h = hashByte(h, names[int(e.name)+at])
		}
		at, probe := slotOf(hashEnd(h, e.wildcard), len(t.slots)), 0
		for ; t.slots[at] != 0; probe++ {
			if at++; at == len(t.slots) {
				at = 0
			}
		}
		t.slots[at] = uint32(i + 1)
		return probe
	})
	for i := 1; i < len(list); i++ {
		e := &list[i]
		if e.wildcard && e.len == 0 {
			t.other = uint32(i)
			continue
		}
		t.named = true
		t.wildcards = t.wildcards || e.wildcard
	}
	for i := 1; i < len(list); i++ {
		if e := &list[i]; uint32(i) != t.other {
			e.next = t.lessSpecific(names[e.name : e.name+uint32(e.len)])
		}
	}
	return t
}

// lessSpecific is the longest wildcard that matches name, or any host's entry.
func (t *hosts) lessSpecific(name []byte) uint32 {
	for i, c := range name {
		if c != '.' {
			continue
		}
		suffix := name[i+1:]
		h := t.seed
		for at := len(suffix) - 1; at >= 0; at-- {
			h = hashByte(h, suffix[at])
		}
		if at := t.entry(hashEnd(h, true), suffix, true); at != 0 {
			return at
		}
	}
	return t.other
}

// find gives the most specific entry for a request's host as it is in the field: with or without a port, in any
// letter case, perhaps with a final dot (RFC 9110 7.2, RFC 3986 3.2.2). Each byte is read once.
func (t *hosts) find(name []byte) uint32 {
	if !t.named {
		return t.other
	}
	name = trimPort(name)
	found, h := t.other, t.seed
	for at := len(name) - 1; at >= 0; at-- {
		if c := name[at]; c == '.' && at > 0 && t.wildcards {
			if i := t.entry(hashEnd(h, true), name[at+1:], true); i != 0 {
				found = i // each one is longer than the one before
			}
		}
		h = hashByte(h, name[at])
	}
	if i := t.entry(hashEnd(h, false), name, false); i != 0 {
		found = i
	}
	return found
}

// entry looks for a name by its hash.
func (t *hosts) entry(hash uint64, name []byte, wildcard bool) uint32 {
	at := slotOf(hash, len(t.slots))
	for range maxProbe + 1 {
		i := t.slots[at]
		if i == 0 {
			return 0
		}
		if e := &t.list[i]; e.wildcard == wildcard && int(e.len) == len(name) &&
			equalFold(t.names[e.name:e.name+uint32(e.len)], name) {
			return i
		}
		if at++; at == len(t.slots) {
			at = 0
		}
	}
	return 0
}

// equalFold compares with a name that is in lower case.
func equalFold(lower, name []byte) bool {
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= fold
		}
		if lower[i] != c {
			return false
		}
	}
	return true
}

// trimPort takes off ":port" and then one final dot.
func trimPort(name []byte) []byte {
	end := len(name)
	for end > 0 && name[end-1] >= '0' && name[end-1] <= '9' {
		end--
	}
	if end > 0 && name[end-1] == ':' {
		name = name[:end-1]
	}
	if n := len(name); n > 1 && name[n-1] == '.' {
		name = name[:n-1]
	}
	return name
}
