package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"zproxy/admin"
	"zproxy/proxy"
)

// Trace gives what becomes of requests until ctx ends.
func (src source) Trace(ctx context.Context, t admin.TraceOrder) (out admin.TraceResult, err error) {
	s := src.s
	if !s.tracing.TryLock() {
		return out, admin.ErrBusy
	}
	defer s.tracing.Unlock()
	done := make(finished, len(s.peers))
	traces := make([]*proxy.Trace, len(s.peers))
	for i := range traces {
		traces[i] = &proxy.Trace{Client: t.Prefix(), Route: t.Route, Rows: make([]proxy.Ended, 0, t.Limit), Finished: done}
	}
	if !s.post(func(i int) bool { return proxy.AskTrace(s.peers[i].Loop, traces[i]) }) {
		return out, errEnding
	}
	select {
	case <-ctx.Done():
	case <-s.stopping:
	}
	if !s.post(func(i int) bool { return proxy.AskTrace(s.peers[i].Loop, nil) }) {
		return out, errEnding
	}
	limit := time.NewTimer(reportTimeout)
	defer limit.Stop()
	out.Items = []admin.Outcome{}
	for range s.peers {
		select {
		case <-done:
		case <-limit.C:
			return out, errors.New("a loop has not answered")
		}
	}
	for _, of := range traces {
		out.Lost += of.Lost
		for i := range of.Rows {
			out.Items = append(out.Items, outcomeOfRequest(&of.Rows[i]))
		}
	}
	slices.SortStableFunc(out.Items, func(a, b admin.Outcome) int { return a.Time.Compare(b.Time) })
	if more := len(out.Items) - t.Limit; more > 0 {
		out.Items, out.Lost = out.Items[:t.Limit], out.Lost+more
	}
	return out, nil
}
