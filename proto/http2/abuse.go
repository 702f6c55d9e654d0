package http2

import "zproxy/proto"

// Abuse is an act that is part of ordinary traffic only in small numbers.
//
// There is one score. Every such act adds the points below; ScoreDecay points
// go away in a second; over ScoreLimit the connection ends with
// ENHANCE_YOUR_CALM before its next frame. With the defaults, 2000 and 200, a
// browser may cancel all of its 512 streams at once, a client may ping 100 times a
// second for ever, and somebody who opens and resets streams as fast as it
// can has a thousand of them before the end. Acts are also counted, each kind
// by itself, in Session.Abuse.
//
// The cost of one frame is small; what the points are for is work that a frame
// causes elsewhere: requests at an origin, answers queued, fields decoded.
type Abuse uint8

const (
	AbuseNone         Abuse = iota
	AbuseRapidReset         // RST_STREAM soon after a request whose response had not begun
	AbuseForcedReset        // something that made this side reset a stream
	AbuseRefused            // a stream over the limit, or behind a GOAWAY
	AbuseContinuation       // CONTINUATION frames, short ones above all
	AbuseSettings           // SETTINGS after the first
	AbusePing               // PING, more often than frames were sent
	AbuseEmptyData          // DATA without data and without an end
	AbuseEmptyHeaders       // HEADERS or CONTINUATION without content
	AbuseWindowUpdate       // WINDOW_UPDATE by little, more often than frames were sent
	AbusePriority           // PRIORITY, PRIORITY_UPDATE
	AbuseClosedStream       // frames for streams that are no more
	AbuseUnknown            // frames of unknown types
	AbuseHeadTooLarge       // field sections over the limits
	AbuseTable              // table size updates
	AbuseChurn              // field blocks that fill the table again and again
	AbuseOutput             // makes this side answer, and does not read the answers
	AbuseCount        int   = iota
)

// abuses has each act's points, stable name and phrase for the log.
var abuses = [AbuseCount]struct {
	points uint32
	name   string
	fault  proto.Fault
}{
	AbuseNone:         {0, "none", calm("no abuse")},
	AbuseRapidReset:   {2, "rapid_reset", calm("too many streams reset before their response")},
	AbuseForcedReset:  {10, "forced_reset", calm("too many stream errors")},
	AbuseRefused:      {1, "refused", calm("too many streams beyond the limit")},
	AbuseContinuation: {5, "continuation", calm("too many continuation frames")},
	AbuseSettings:     {10, "settings", calm("too many settings")},
	AbusePing:         {2, "ping", calm("too many pings")},
	AbuseEmptyData:    {4, "empty_data", calm("too many empty data frames")},
	AbuseEmptyHeaders: {20, "empty_headers", calm("too many empty field blocks")},
	AbuseWindowUpdate: {2, "window_update", calm("too many small window updates")},
	AbusePriority:     {1, "priority", calm("too many priorities")},
	AbuseClosedStream: {1, "closed_stream", calm("too many frames for closed streams")},
	AbuseUnknown:      {1, "unknown_frame", calm("too many frames of unknown types")},
	AbuseHeadTooLarge: {10, "head_too_large", calm("too many field sections over the limit")},
	AbuseTable:        {2, "table_update", calm("too many table size updates")},
	AbuseChurn:        {4, "table_churn", calm("too many fields put into the table")},
	AbuseOutput:       {0, "output", calm("answers are not read")},
}

func calm(reason string) proto.Fault {
	return proto.Fault{Reason: reason, Status: 400, Code: proto.FaultFlood}
}

const (
	// outMax bounds the control frames that wait for a peer that does not read.
	outMax = 64 << 10

	// A WINDOW_UPDATE by smallUpdate or more limits itself, by the largest
	// window. Smaller ones are free as often as frames are sent, of which each
	// earns two, one for each level, but not the short ones that a small window
	// made short.
	smallUpdate = 4096
	smallData   = 256
	earnedStart = 100
	earnedMax   = 4096

	// shortFragment: a CONTINUATION that is shorter, and not the last one, was
	// not cut because a frame was full.
	shortFragment = 1024
	shortPoints   = 20

	// Who estimates bandwidth, as gRPC does, pings once in a round trip while data
	// flows. So each DATA or HEADERS sent allows for one PING, up to so many.
	pingsMax = 100

	// A request that is taken back when its time is over has had one of the streams
	// there may be at once for so long, and costs no more than one that is answered.
	// What is taken back sooner is free as often as others are answered, up to so
	// many.
	rapidMs = 10
	cutsMax = 100

	// madePoints is for frames that nobody sends by mistake, or has to be told of twice.
	madePoints = 100

	// unwantedFree is how many fields behind a limit cost a point more: each may be a
	// byte, but has to be read for the table's sake.
	unwantedFree = 32

	longPastNs = 1e12 // every score is gone by then
)

// Name is the stable name for metrics, such as "rapid_reset".
func (a Abuse) Name() string {
	if int(a) < AbuseCount {
		return abuses[a].name
	}
	return "unknown"
}

// Score is what the acts of the peer have come to, as of the last of them.
func (s *Session) Score() uint32 { return s.score }

// suspect counts an act. The connection goes on to the end of its frame.
func (s *Session) suspect(a Abuse) { s.suspectOf(a, abuses[a].points) }

func (s *Session) suspectOf(a Abuse, points uint32) {
	s.Abuse[a]++
	if past := min(s.now-s.scoreAt, longPastNs); past > 0 {
		// The time is only moved by what it was worth, or frequent acts would
		// stop the decay.
		gone := min(past*int64(s.cfg.ScoreDecay)/1e9, int64(s.score))
		if gone == int64(s.score) {
			s.scoreAt = s.now
		} else if gone > 0 {
			s.scoreAt += gone * 1e9 / int64(s.cfg.ScoreDecay)
		}
		s.score -= uint32(gone)
	}
	s.score += points
	if s.score > s.cfg.ScoreLimit && s.doomed == AbuseNone {
		s.doomed = a
	}
}

// endCalmly ends a connection that did too much of something.
func (s *Session) endCalmly(ev *Event) {
	if s.doomed == AbuseNone {
		s.doomed = AbuseOutput
	}
	s.fail(ev, ErrEnhanceYourCalm, &abuses[s.doomed].fault)
}

// forced counts a stream that a peer makes this side reset. From an origin it is
// never taken for intent: others' requests are on its connection.
func (s *Session) forced(fault *proto.Fault) {
	points := abuses[AbuseForcedReset].points
	switch fault {
	case &faultWindowZero, &faultWindowMax, &faultSelf, &faultStreamClosed:
		if s.role == Server {
			points = madePoints
		}
	}
	s.suspectOf(AbuseForcedReset, points)
}

// earn allows for the WINDOW_UPDATEs that a frame sent will cause.
func (s *Session) earn() { s.earned = min(s.earned+2, earnedMax) }

// allowPing allows for the PING that a frame sent may cause.
func (s *Session) allowPing() { s.pings = min(s.pings+1, pingsMax) }

// cut judges the reset of a request whose response had not begun.
func (s *Session) cut(st *Stream) {
	switch {
	case s.nowMs()-st.creditedMs >= rapidMs:
	case s.cuts > 0:
		s.cuts--
	default:
		s.suspect(AbuseRapidReset)
	}
}
