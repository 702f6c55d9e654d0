package origins

// Look is what there is to see of a lease.
type Look struct {
	State             string // of one that is held its holder knows more
	Cluster, Endpoint int
	Uses              uint32 // how often it was handed out
	IsHeld            bool
	IsStream          bool // or waits to be one
}

var stateNames = [...]string{
	dialling: "connecting", awaiting: "connecting", idle: "idle", held: "request", exporting: "moves to another loop", closing: "closing",
}

// Look looks at a lease. False: there is none with this number, or it is over.
func (ls *Leases) Look(n uint32) (Look, bool) {
	if !ls.all.Live(n) || ls.all.At(n).state == closing {
		return Look{}, false
	}
	l := ls.all.At(n)
	return Look{stateNames[l.state], int(l.cluster), int(l.endpoint), uint32(l.uses), l.state == held, l.stream != 0}, true
}
