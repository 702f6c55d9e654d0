package e2e

import (
	"fmt"
	"strings"

	"zproxy/e2e/hostile"
)

const conformanceIntro = `# Conformance to RFC 9110 and 9112 under hostile bytes

What becomes of messages that somebody sends on purpose: attempts at request smuggling and response splitting, framing
that can be read in two ways, bytes that the grammar forbids, messages that never end or end too soon. The tables are in
` + "`e2e/hostile`" + `; every row goes over a socket through the real binary to an origin that records what it receives,
and a strict parser of the tables' own judges the bytes on both sides. ` + "`make e2e`" + ` holds zproxy to every row, on
each backend; this page is written by ` + "`ZPROXY_LONG=1 go test ./e2e -run HostileBytesSideBySide -update`" + `.

nginx and HAProxy, as Debian has them, with their defaults but for time limits of a second and kept-alive origin
connections, run through the same tables. They are held to less: to the number, the methods and the content of the
messages that they pass on, not to fields, and may pass on what is valid in more than one form (HTTP/1.0, absolute-form).
**Unsafe** is: a message passed on that the grammar forbids or that can be read in two ways, a request made out of bytes
that are none in the strict reading (also where the RFCs allow the lax one, as with a bare LF: who stands in front may
read strictly), a message cut short passed on as whole, an answer given to the wrong request. *Different* is any other
outcome than the one wanted here, often one that the RFCs allow: to repair an obs-fold, to take an LF for a line's end,
to answer with another status, to leave the connection open.

Where zproxy is stricter than the RFCs ask, it is on purpose: a request with both Content-Length and Transfer-Encoding,
with a list of equal lengths, with a bare LF or with an obs-fold is refused instead of repaired, because a peer in
front may have read it the other way. Where it is laxer, too: a field meant for every recipient, such as Cookie, stays
although Connection names it, because who names it wants to strip what the origin relies on.

In the tables "forwarded" means whole and unambiguous, a number is the status of an answer of the proxy's own (of the
answer given, for responses), "broken off" that the receiver can tell that the message is not all there.

`

// conformance renders the comparison.
func conformance(columns []contestant) string {
	requests, responses := hostile.Requests(), hostile.Responses()
	var b strings.Builder
	b.WriteString(conformanceIntro)
	fmt.Fprintf(&b, "## Summary\n\n| | requests: as wanted | different | unsafe or invalid | responses: as wanted | different | unsafe or invalid |\n|---|---|---|---|---|---|---|\n")
	for _, c := range columns {
		fmt.Fprintf(&b, "| %s", c.name)
		for _, vs := range [][]verdict{c.requests, c.responses} {
			fmt.Fprintf(&b, " | %d of %d | %d | %d", count(vs, asWanted), len(vs), count(vs, different), count(vs, unsafe))
		}
		b.WriteString(" |\n")
	}
	heading := func(title string) {
		fmt.Fprintf(&b, "\n## %s\n\n| case | RFC | wanted", title)
		for _, c := range columns {
			fmt.Fprintf(&b, " | %s", c.name)
		}
		b.WriteString(" |\n|---|---|---" + strings.Repeat("|---", len(columns)) + "|\n")
	}
	heading("Requests")
	for i, r := range requests {
		fmt.Fprintf(&b, "| %s | %s | %s", r.Name, r.Section, wanted(&r.Want))
		for _, c := range columns {
			b.WriteString(" | " + cell(c.requests[i]))
		}
		b.WriteString(" |\n")
	}
	heading("Responses")
	for i, r := range responses {
		fmt.Fprintf(&b, "| response %s | %s | %s", r.Name, r.Section, wantedAnswer(&r.Want))
		for _, c := range columns {
			b.WriteString(" | " + cell(c.responses[i]))
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

func cell(v verdict) string {
	text := strings.NewReplacer("|", "\\|", "<", "&lt;").Replace(v.label)
	if len(text) > 90 {
		text = text[:90] + "..."
	}
	switch v.class {
	case different:
		return "*" + text + "*"
	case unsafe:
		return "**" + text + "**"
	}
	return text
}
