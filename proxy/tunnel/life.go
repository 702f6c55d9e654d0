package tunnel

import "zproxy/proto/ws"

// violations are why a WebSocket was failed: who broke which rule.
var violations = func() (t [2][ws.FaultCount]string) {
	for code := range ws.FaultCount {
		reason := ws.FaultOf(ws.FaultCode(code)).Reason
		t[Client][code] = "websocket client: " + reason
		t[Origin][code] = "websocket origin: " + reason
	}
	return t
}()

// ViolationNames lists the names of all kinds of violations that are counted, by
// code.
func ViolationNames() []string {
	names := make([]string, ws.FaultCount)
	for code := range names {
		names[code] = ws.FaultOf(ws.FaultCode(code)).Name
	}
	return names
}

// Reasons of a side that answers no pings.
var silent = [2]string{"websocket client answered no ping", "websocket origin answered no ping"}

// speaks says that the sides can be sent Close frames: frames are followed, and more than
// the end of the connections is to come.
func (t *tunnel) speaks() bool { return t.flags&(isFollowed|isClosing) == isFollowed }

// Speaks says that the proxy can tell the sides of a tunnel that it ends.
func (ts *Tunnels) Speaks(i uint32) bool { return ts.all.At(i).speaks() }

// NextPing is when the next pings are due, 0: there are none.
func (ts *Tunnels) NextPing(i uint32, env Env) int64 {
	if !ts.all.At(i).follows() || env.Rules.PingNs == 0 {
		return 0
	}
	return env.Now + env.Rules.PingNs
}

// PingDue pings both sides, and ends the WebSocket of one that has not let itself be
// heard since the last time, although it had the chance: listening says of each side
// that all has left for it, and that nothing of what it sends is on its way. False: no more
// pings are due.
func (ts *Tunnels) PingDue(i uint32, listening [2]bool, env Env) bool {
	t := ts.begin(i, env)
	if !t.speaks() || t.flags&isAway != 0 {
		return false
	}
	for side := Client; side <= Origin; side++ {
		if t.flags&(isAwaited<<side) != 0 && t.flags&(isPaused<<side) == 0 && listening[side] {
			ts.fail(silent[side])
			return false
		}
	}
	for dir := Client; dir <= Origin; dir++ {
		t.flags |= pingDue << dir
		if _, now := t.speakable(dir); now {
			ts.inject(dir)
		}
	}
	return true
}

// Away tells the client of a WebSocket that the proxy is going away. It answers with a
// Close frame that reaches the origin, so that both sides can finish in order. False:
// it was told before, or is no WebSocket whose frames are followed.
func (ts *Tunnels) Away(i uint32, env Env) bool {
	t := ts.begin(i, env)
	if !t.follows() || t.flags&isAway != 0 {
		return false
	}
	t.flags |= isAway | awayDue<<Origin
	if _, now := t.speakable(Origin); now {
		ts.inject(Origin)
	}
	return true
}

// whyAway is what Close frames say of why the proxy goes away.
func (ts *Tunnels) whyAway() string {
	if ts.at.env.Draining {
		return "proxy is shutting down"
	}
	return "removed from the proxy"
}

// fail ends a WebSocket with a Close frame to the sides that can take one.
func (ts *Tunnels) fail(why string) {
	t := ts.at.t
	t.note(endedByProxy, ws.CloseAbnormal)
	for dir := Client; dir <= Origin; dir++ {
		if _, now := t.speakable(dir); now {
			ts.close(dir, ws.CloseGoingAway, why)
		}
	}
	ts.endsBy(Flushed, why)
}

// failed is the end of a WebSocket of which one side has broken a rule and
// the other has finished: the former gets its Close frame.
func (ts *Tunnels) failed() {
	t, side := ts.at.t, Client
	if t.flags&(hasFailed<<Client) == 0 {
		side = Origin
	}
	why := violations[side][t.fault]
	if dir := side.Other(); t.flags&(isMuted<<dir) == 0 && !t.scan[dir].Inside() {
		ts.close(dir, ws.FaultOf(t.fault).Close, why)
	}
	ts.endsBy(Flushed, why)
}

// late ends a WebSocket of which only the end of its connections was to
// come: how they end tells nobody anything.
func (ts *Tunnels) late() {
	if ts.at.t.flags&(hasFailed<<Client|hasFailed<<Origin) != 0 {
		ts.failed()
		return
	}
	ts.endsBy(Flushed, "")
}

// note keeps who said first that it ends, and with which code.
func (t *tunnel) note(by uint8, code uint16) {
	if t.by == endedByNobody {
		t.by, t.code = by, code
	}
}

// CountEnd counts the end of a WebSocket whose frames were followed, and gives what the
// log says of it: the code of its first Close frame, and who sent that.
func (ts *Tunnels) CountEnd(i uint32) (code uint16, by string) {
	t := ts.all.At(i)
	if !t.follows() {
		return 0, ""
	}
	t.note(endedByProxy, ws.CloseAbnormal)
	ts.m.WebSocket.CountClose(t.by-endedByClient, t.code)
	return t.code, endedBy[t.by]
}
