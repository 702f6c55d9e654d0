package metrics

// Filter counts what a filter has decided on one route.
type Filter struct {
	Passed   uint64
	Rejected uint64 // requests that the proxy responded to for it
	Waited   uint64 // requests that waited for it

	WouldReject uint64 // of those that passed: were it not a dry run

	// Some runs are measured, and stand for all of them.
	Timed, TimedNs uint64
}

// FilterName is the labels of a Filter.
type FilterName struct{ Route, Filter string }

// TimedEvery is how many requests of a loop there are to one whose filters are measured.
const TimedEvery = 64

// addFilters adds from to sum, which may be shorter.
func addFilters(sum, from []Filter) []Filter {
	for len(sum) < len(from) {
		sum = append(sum, Filter{})
	}
	for i, f := range from {
		sum[i].Passed += f.Passed
		sum[i].Rejected += f.Rejected
		sum[i].Waited += f.Waited
		sum[i].WouldReject += f.WouldReject
		sum[i].Timed += f.Timed
		sum[i].TimedNs += f.TimedNs
	}
	return sum
}

// filters writes what filters have decided, over all loops together.
func (e *exposition) filters(names []FilterName, all []Filter) {
	all = all[:min(len(all), len(names))]
	if len(all) == 0 {
		return
	}
	const decisions = "zproxy_filter_requests_total"
	e.family(decisions, counter, "Requests that a filter of the route has decided about.")
	for i := range all {
		for _, v := range [...]struct {
			verdict string
			n       uint64
		}{{"passed", all[i].Passed - all[i].WouldReject}, {"rejected", all[i].Rejected}, {"dry_run", all[i].WouldReject}} {
			e.sample(decisions, v.n, Label{"route", names[i].Route}, Label{"filter", names[i].Filter}, Label{"verdict", v.verdict})
		}
	}
	const waits = "zproxy_filter_waits_total"
	e.family(waits, counter, "Requests that waited for a filter of the route.")
	for i := range all {
		e.sample(waits, all[i].Waited, Label{"route", names[i].Route}, Label{"filter", names[i].Filter})
	}
	const seconds = "zproxy_filter_seconds_total"
	e.family(seconds, counter, "Time that a filter of the route has taken on loops, estimated from one request in 64.")
	for i := range all {
		e.sampleFloat(seconds, float64(all[i].TimedNs)/1e9*TimedEvery, Label{"route", names[i].Route}, Label{"filter", names[i].Filter})
	}
}
