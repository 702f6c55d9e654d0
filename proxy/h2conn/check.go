package h2conn

import (
	"strconv"

	"zproxy/internal/assert"
)

// Check holds what must be true of sessions and streams between any two turns. It looks at
// all of them, with assertions alone.
func (ss *Sessions) Check() {
	if !assert.Enabled {
		return
	}
	open := 0
	for i, se := range ss.all {
		if se == nil {
			continue
		}
		if int(se.Self) != i {
			broken("a session believes to be another one", i)
		}
		for id := se.H2.First(); id != 0; id = se.H2.After(id) {
			open++
			user := ss.open.At(id).User
			if user == 0 && se.IsOver() {
				continue
			}
			if user == 0 || !ss.streams.Live(user) {
				broken("a session has a stream of nobody", i)
			}
			if st := ss.streams.At(user); st.id != id || int(st.session) != i {
				broken("a session has a stream that has another one", i)
			}
		}
		if n := ss.l.Queued(se.Conn); n > sessionMark+controlBytes {
			broken("too many bytes wait on a session", i)
		}
	}
	if open != ss.open.Len() {
		broken("the table of streams does not have those of the sessions", open)
	}
	for i, left := uint32(1), ss.streams.Len(); left > 0; i++ {
		if !ss.streams.Live(i) {
			continue
		}
		left--
		st := ss.streams.At(i)
		if st.id != 0 && (!ss.open.Live(st.id) || ss.open.At(st.id).User != i) {
			broken("a stream is not the one that has its place", int(i))
		}
		if st.owed > 0 && st.flags&streamPaused == 0 {
			broken("a stream is owed credit, and nothing stops it", int(i))
		}
	}
}

// controlBytes is how much a session may have waiting beyond its mark: heads, which are
// sent at once, control frames, and one frame of each stream.
const controlBytes = 1 << 20

func broken(what string, i int) { panic("HTTP/2: " + what + ": " + strconv.Itoa(i)) }
