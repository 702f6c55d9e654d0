package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"zproxy/e2e/hostile"
)

// class says how what a proxy did relates to the table.
type class uint8

const (
	asWanted  class = iota
	different       // another outcome, of which nobody comes to harm here
	unsafe          // an ambiguous message, one too many, a cut one passed as whole, a wrong answer
)

type verdict struct {
	label string
	class class
}

// runRequest sends a row of the table of requests. Peers are held to the
// number, method and content of what they forward; zproxy also to its fields.
func (l *lane) runRequest(row *hostile.Request, i int) verdict {
	l.origin.begin(nil)
	want := &row.Want
	var methods []string
	for _, m := range want.Got {
		methods = append(methods, m.Method)
	}
	k, err := l.open(methods...)
	if err != nil {
		return verdict{err.Error(), unsafe}
	}
	defer k.Close()
	answers := len(want.Got)
	if want.Status > 0 {
		answers++
	}
	k.send(row.Bytes, row.Then)
	k.listen(answers, want.Status > 0 && !want.GoesOn || want.Cut, l.rowLimit())
	here := ""
	if want.Status == 0 && !want.Cut || want.GoesOn {
		here = k.probeOn("/again", l.second())
	}
	got, faults, stuck := l.origin.settled(l.second())
	got = slices.DeleteFunc(slices.Clone(got), func(m hostile.Message) bool { return m.Target == "/again" })
	after := l.probe(fmt.Sprintf("/probe-%d", i))
	return judgeRequest(want, k, got, faults, stuck, here, after, !l.judge.Fair)
}

func judgeRequest(want *hostile.Outcome, k *talk, got []hostile.Message, faults []error, stuck bool, here, after string, strict bool) verdict {
	label := outcome(k, len(got))
	for i, m := range got {
		if strings.Contains(m.Target, hostile.Smuggled) && (i >= len(want.Got) || want.Got[i].Target != m.Target) {
			return verdict{label + ", smuggled request", unsafe}
		}
	}
	switch {
	case want.Alert && k.ended && len(got)+len(faults)+len(k.answers) == 0 && len(k.in) == len(hostile.Alert)+1 && strings.HasPrefix(string(k.in), hostile.Alert) && after == "":
		return verdict{label: "TLS alert"}
	case len(faults) > 0:
		return verdict{label + ", passes on " + faults[0].Error(), unsafe}
	case k.fault != nil:
		return verdict{label + ", answers with " + k.fault.Error(), unsafe}
	case want.Cut && len(got) > len(want.Got):
		return verdict{"cut, passed as whole", unsafe}
	case stuck:
		return verdict{label + ", origin is left waiting", different}
	case after != "":
		return verdict{label + ", the next client gets " + after, unsafe}
	case here != "":
		return verdict{label + ", the next request gets " + here, unsafe}
	case len(got) > len(want.Got):
		return verdict{label, different}
	case len(got) < len(want.Got):
		return verdict{label, different}
	}
	for i := range got {
		if why := differs(&want.Got[i], &got[i], strict); why != "" {
			return verdict{label + ", with " + why, different}
		}
	}
	refusals := slices.DeleteFunc(slices.Clone(k.answers[min(len(got), len(k.answers)):]), func(a hostile.Received) bool {
		return a.Body == "/again"
	})
	switch {
	case want.Cut && k.ended:
		return verdict{label: "broken off"}
	case want.Status > 0 && !want.GoesOn && !k.ended:
		return verdict{label + ", stays open", different}
	case want.Status > 0 && (len(refusals) != 1 || refusals[0].Status != want.Status):
		return verdict{label, different}
	case want.Status == 0 && len(refusals) > 0:
		return verdict{label, different}
	}
	return verdict{label: label}
}

// outcome says in short what came out: n whole requests, then the answers that
// are none of the origin's.
func outcome(k *talk, n int) string {
	var parts []string
	switch {
	case n == 1:
		parts = append(parts, "forwarded")
	case n > 1:
		parts = append(parts, fmt.Sprintf("%d forwarded", n))
	}
	for i, a := range k.answers {
		if i >= n && a.Body != "/again" || a.Status >= 300 {
			parts = append(parts, fmt.Sprint(a.Status))
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, ", ")
	}
	if k.ended {
		return "closed"
	}
	return "waits"
}

// differs says in what a message is not the one wanted.
func differs(want, got *hostile.Message, strict bool) string {
	switch {
	case got.Method != want.Method:
		return "method " + got.Method
	case got.Body != want.Body:
		return fmt.Sprintf("content %.30q", got.Body)
	case !strict && len(got.Trailers) > len(want.Trailers):
		return "trailer field " + got.Trailers[0].Name
	case !strict:
		return ""
	case got.Target != want.Target:
		return "target " + got.Target
	case want.Host != "" && got.Host != want.Host:
		return "host " + got.Host
	case !slices.Equal(got.Trailers, want.Trailers):
		return fmt.Sprintf("trailers %v", got.Trailers)
	}
	return hostile.Missing(got.Fields, want.With, want.Without)
}

// wanted is the label of a row as it should come out.
func wanted(o *hostile.Outcome) string {
	switch {
	case o.Cut:
		return "broken off"
	case o.Alert:
		return "TLS alert"
	}
	k := &talk{}
	for range o.Got {
		k.answers = append(k.answers, hostile.Received{Status: 200})
	}
	if o.Status > 0 {
		k.answers = append(k.answers, hostile.Received{Status: o.Status})
	}
	return outcome(k, len(o.Got))
}

// runResponse asks for a row of the table of responses.
func (l *lane) runResponse(row *hostile.Response, i int) verdict {
	late := l.origin.begin(row)
	request := row.Request
	if request == "" {
		request = "GET /case HTTP/1.1\r\nHost: h\r\n\r\n"
	}
	method, _, _ := strings.Cut(request, " ")
	k, err := l.open(method)
	if err != nil {
		return verdict{err.Error(), unsafe}
	}
	defer k.Close()
	k.send(request, hostile.StaysOpen)
	k.listen(1, row.Want.Cut, l.rowLimit())
	if row.Late != "" { // who notices it closes the connection that it came on
		select {
		case <-late:
		case <-time.After(l.second()):
		}
	}
	here := ""
	if len(k.answers) == 1 && !k.answers[0].Close {
		here = k.probeOn("/again", l.second())
	}
	after := l.probe(fmt.Sprintf("/probe-%d", i))
	return judgeResponse(row, k, here, after, !l.judge.Fair)
}

func judgeResponse(row *hostile.Response, k *talk, here, after string, strict bool) verdict {
	label, want := answered(k), &row.Want
	switch {
	case k.fault != nil:
		return verdict{label + ", passes on " + k.fault.Error(), unsafe}
	case after != "":
		return verdict{label + ", the next client gets " + after, unsafe}
	case here != "":
		return verdict{label + ", the next request gets " + here, unsafe}
	case len(k.answers) == 0:
		if want.Cut && k.ended {
			return verdict{label: label}
		}
		return verdict{label, different}
	}
	a := &k.answers[0]
	switch {
	case want.Cut && a.Status == 502:
		return verdict{label: label}
	case want.Cut && a.Status == 504:
		return verdict{label, different}
	case want.Cut && row.Then == hostile.StaysOpen:
		return verdict{label, different} // repaired
	case want.Cut:
		return verdict{label + ", cut, passed as whole", unsafe}
	case a.Status != want.Status:
		return verdict{label, different}
	case want.Status >= 500:
		return verdict{label: label}
	case a.Body != want.Body:
		return verdict{fmt.Sprintf("%s, with content %.30q", label, a.Body), unsafe}
	case strict && k.interims != want.Interims:
		return verdict{fmt.Sprintf("%s, with %d interim responses", label, k.interims), different}
	case strict:
		if why := hostile.Missing(a.Fields, want.With, want.Without); why != "" {
			return verdict{label + ", with " + why, different}
		}
	}
	return verdict{label: label}
}

func answered(k *talk) string {
	switch {
	case len(k.answers) > 0:
		return fmt.Sprint(k.answers[0].Status)
	case k.ended:
		return "broken off"
	}
	return "waits"
}

// wantedAnswer is the label of a response as it should come out.
func wantedAnswer(a *hostile.Answer) string {
	if a.Cut {
		return "broken off"
	}
	return fmt.Sprint(a.Status)
}
