package loop

// Trim gives memory back that a loop without traffic does not need: the blocks
// that io_uring keeps at hand, wherever in the memory they are, empty pipes, and
// then the pool's highest steps, and the room for what happened at once. It looks
// at every block; once a second is plenty.
func (l *Loop) Trim() {
	if k, ok := l.be.(interface{ trim() }); ok {
		k.trim()
	}
	l.trimPipes()
	l.pool.Trim()
	l.events = trimmed(l.events, &l.eventsMost)
	l.dials = trimmed(l.dials, &l.dialsMost)
}

// listKeep is how much room a list keeps whatever happens: what is given back is
// garbage first, and below this there may be no collection for long.
const listKeep = 1024

// trimmed is list, with less room when that is much more than was needed since
// the last call. most is what was needed.
func trimmed[T any](list []T, most *int) []T {
	room := max(listKeep, *most, len(list))
	*most = 0
	if cap(list) <= 4*room {
		return list
	}
	return append(make([]T, 0, 2*room), list...)
}
