package http2

// Abuse is an act that is part of ordinary traffic only in small numbers.
type Abuse uint8

const (
	AbuseNone         Abuse = iota
	AbuseRapidReset         // RST_STREAM for a request whose response had not begun
	AbuseForcedReset        // something that made this side reset a stream
	AbuseRefused            // a stream over the limit, or behind a GOAWAY
	AbuseContinuation       // CONTINUATION frames, short ones above all
	AbuseSettings           // SETTINGS after the first
	AbusePing               // PING
	AbuseEmptyData          // DATA without data and without an end
	AbuseEmptyHeaders       // HEADERS or CONTINUATION without content
	AbuseWindowUpdate       // WINDOW_UPDATE by little, more often than frames were sent
	AbusePriority           // PRIORITY, PRIORITY_UPDATE
	AbuseClosedStream       // frames for streams that are no more
	AbuseUnknown            // frames of unknown types
	AbuseHeadTooLarge       // field sections over the limits
	AbuseTable              // table size updates
	AbuseOutput             // makes this side answer, and does not read the answers
	AbuseCount        int   = iota
)

// Name is the stable name for metrics.
func (a Abuse) Name() string { return "" }
