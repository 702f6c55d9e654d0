package metrics

import "strconv"

// Sizes of what WebSocket counts. ViolationCount is how many kinds of
// violations can be told apart.
const (
	ViolationCount = 16
	opcodeCount    = 16
	closeCount     = 1015 - 1000 + 1 + 3
)

// Places of close codes that are counted together.
const (
	closeOfLibraries    = closeCount - 3 + iota // 3000 to 3999
	closeOfApplications                         // 4000 to 4999
	closeOther
)

// WebSocket counts frames. The first index of each is a direction: 0 what
// clients send, 1 what origins send.
type WebSocket struct {
	Frames     [2][opcodeCount]uint64    // by opcode
	Bytes      [2][opcodeCount]uint64    // their payloads
	Violations [2][ViolationCount]uint64 // by the code of the fault
	// Closes counts ends by who ended it first, client, origin or the proxy,
	// and by the code of its Close frame; 1006 without one.
	Closes [3][closeCount]uint64
}

// CountFrame counts a frame with an opcode below 16 and a payload of n bytes.
func (s *WebSocket) CountFrame(direction int, opcode uint8, n uint64) {
	s.Frames[direction][opcode&(opcodeCount-1)]++
	s.Bytes[direction][opcode&(opcodeCount-1)] += n
}

// CountClose counts an end: by 0 of the client, 1 of the origin, 2 of the proxy.
func (s *WebSocket) CountClose(by uint8, code uint16) {
	place := closeOther
	switch {
	case code >= 1000 && code <= 1015:
		place = int(code - 1000)
	case code >= 3000 && code <= 3999:
		place = closeOfLibraries
	case code >= 4000 && code <= 4999:
		place = closeOfApplications
	}
	s.Closes[by][place]++
}

func (s *WebSocket) add(other *WebSocket) {
	for d := range 2 {
		for op := range opcodeCount {
			s.Frames[d][op] += other.Frames[d][op]
			s.Bytes[d][op] += other.Bytes[d][op]
		}
		for code := range ViolationCount {
			s.Violations[d][code] += other.Violations[d][code]
		}
	}
	for by := range s.Closes {
		for place := range closeCount {
			s.Closes[by][place] += other.Closes[by][place]
		}
	}
}

var (
	sides       = [3]string{"client", "origin", "proxy"}
	opcodeNames = [opcodeCount]string{0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
)

func opcodeName(op int) string {
	if opcodeNames[op] != "" {
		return opcodeNames[op]
	}
	return "opcode_" + strconv.Itoa(op)
}

func closeName(place int) string {
	switch place {
	case closeOfLibraries:
		return "3xxx"
	case closeOfApplications:
		return "4xxx"
	case closeOther:
		return "other"
	}
	return strconv.Itoa(1000 + place)
}

// webSockets shows what never occurred only where a rate is likely to be asked
// for: of the opcodes there are.
func (e *exposition) webSockets(s *Snapshot) {
	frames := func(name, help string, of func(*WebSocket) *[2][opcodeCount]uint64) {
		e.family(name, counter, help)
		for n, l := range s.Loops {
			for d, counts := range of(&l.WebSocket) {
				for op, v := range counts {
					if v > 0 || opcodeNames[op] != "" {
						e.sample(name, v, loopLabel(n), Label{"from", sides[d]}, Label{"opcode", opcodeName(op)})
					}
				}
			}
		}
	}
	frames("zproxy_websocket_frames_total", "WebSocket frames, by who sent them and by opcode.",
		func(s *WebSocket) *[2][opcodeCount]uint64 { return &s.Frames })
	frames("zproxy_websocket_payload_bytes_total", "Payload bytes of WebSocket frames.",
		func(s *WebSocket) *[2][opcodeCount]uint64 { return &s.Bytes })
	const closes, violations = "zproxy_websocket_closes_total", "zproxy_websocket_violations_total"
	e.family(closes, counter, "WebSockets that have ended, by who ended them first and by close code.")
	for n, l := range s.Loops {
		for by, places := range l.WebSocket.Closes {
			for place, v := range places {
				if v > 0 {
					e.sample(closes, v, loopLabel(n), Label{"by", sides[by]}, Label{"code", closeName(place)})
				}
			}
		}
	}
	e.family(violations, counter, "WebSockets failed for a frame that breaks a rule, by who sent it and by kind.")
	for n, l := range s.Loops {
		for d, kinds := range l.WebSocket.Violations {
			for kind, v := range kinds {
				if v > 0 {
					e.sample(violations, v, loopLabel(n), Label{"from", sides[d]}, Label{"kind", s.violation(kind)})
				}
			}
		}
	}
}

func (s *Snapshot) violation(kind int) string {
	if kind < len(s.Violations) && s.Violations[kind] != "" {
		return s.Violations[kind]
	}
	return "kind_" + strconv.Itoa(kind)
}
