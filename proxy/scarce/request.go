package scarce

import "time"

const (
	// StallNs is for how long a client may hold a connection that others wait for
	// without sending anything to speak of.
	StallNs = int64(500 * time.Millisecond)
	// TalkNs is that time where the origin may be the one that is to speak, where the
	// client is to take its response, and for a stream of a connection on which others
	// have their turn.
	TalkNs = 4 * StallNs
	// MuteNs is for how long a request that brings nothing leaves the last connections
	// to others: so long that those of a client that takes all it can have been lost.
	MuteNs = TalkNs + StallNs
	// LookEveryNs is how often stalled requests are looked for while others wait.
	LookEveryNs = int64(100 * time.Millisecond)
	// WholeBytes is how much of a request counts as all of it where its client is
	// known to stall: more may not come before an origin takes some. A stream's window
	// may be 16 KiB and is not opened meanwhile: WholeStreamBytes is half of that.
	WholeBytes       = 64 << 10
	WholeStreamBytes = 8 << 10
)

// Request is what has come of one.
type Request struct {
	Whole   bool // all of it, or it has no content
	Began   bool // some of its content
	Expects bool // its client waits for a 100
	Talks   bool // its origin may speak before any of its content has come
}

// BringsNothing says that r would have to wait for its client if it had a connection.
func (r *Request) BringsNothing() bool {
	return !r.Whole && !r.Began && !r.Expects && !r.Talks
}

// IsMute says that nothing of r's content has come although its origin may be the one to
// speak first.
func (r *Request) IsMute() bool {
	return !r.Whole && !r.Began && (r.Expects || r.Talks)
}

// Enough is how much has to have come of a request whose client was seen to hold a connection
// without moving: all of it, or whole, or as much as half of what may wait at all.
func Enough(whole, high int) int { return min(whole, high/2) }

// MuteUntil is until when a mute request leaves the last connections to others, which has
// looked for one since sought, and may for queueNs. It may be in earnest: it need not wait for
// more than half of that.
func MuteUntil(sought, queueNs int64) int64 { return sought + min(MuteNs, queueNs/2) }

// Patience is how long r may hold a connection without moving, which it got at got. Who was
// let in for its patience alone has been patient; but a 100 takes as long as its origin.
func (r *Request) Patience(got, muteUntil int64) int64 {
	if !r.Expects && (!r.Talks || got >= muteUntil) {
		return StallNs
	}
	return TalkNs
}
