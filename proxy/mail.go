package proxy

import (
	"slices"

	"zproxy/buf"
	"zproxy/loop"
	"zproxy/metrics"
	"zproxy/numa"
	"zproxy/proto/http2"
	"zproxy/proxy/origins"
	"zproxy/proxy/snapshot"
	"zproxy/upstream"
)

// Kinds of mail between workers, and from the control plane, behind those of leases.
const (
	mailClient   = origins.MailKinds + iota // an accepted connection handed over: FD, A listener
	mailReport                              // Ref is a ReportSink
	mailLook                                // others wait for cluster A: who holds a connection without moving?
	mailDrain                               // stop accepting, finish, end; A: whether to wait with the end
	mailAdopt                               // Ref is a Snapshot, the current one from now on
	mailListen                              // accept on FD, of listener A
	mailUnlisten                            // stop accepting on listener A
	mailResume                              // serve on after mailDrain
	mailSet                                 // Ref is a Settings
	mailAccept                              // look anew at who waits to be accepted
	mailInspect                             // Ref is an Inspection
	mailEnd                                 // Ref is an Ending
	mailTrace                               // Ref is a Trace, or nil
	mailFailures                            // Ref is a Failures
	mailFilter                              // Ref is the answer that exchange A waits for, as its passage B
)

// Report is one worker's account of itself: copies, owned by the receiver.
type Report struct {
	Index   int
	Now     int64 // the loop's clock, ns
	Arena   numa.ArenaReport
	Metrics metrics.Loop
	Loop    loop.Stats
	Buf     buf.Stats
	Pools   []PoolReport

	Clients, Origins, Exchanges int
	Short                       Shortages
	Broken                      []BrokenSessions
	UnderWay                    CutOff // what would be cut off, were the process to end now
}

// PoolReport is what a loop has of an upstream, which may be one that the configuration has
// no more.
type PoolReport struct {
	Cluster *upstream.Cluster
	upstream.Stats
	HTTP2 []Sessions // by endpoint; nil for HTTP/1
}

// Sessions are the HTTP/2 connections of a loop to an endpoint, and the streams
// open on them.
type Sessions struct{ Connections, Streams int }

// Shortages count how often something had run out, since the start.
type Shortages struct {
	Files, Ports, Memory uint64 // the kernel's
	Blocks               uint64 // of buffer memory
	Connections          uint64 // clients beyond the limit
}

// ReportSink receives reports, on the workers' threads: it must not block.
type ReportSink interface{ Deliver(*Report) }

// AskReport makes the worker of l deliver a Report to sink. False when its
// mailbox is full. Any thread.
func AskReport(l *loop.Loop, sink ReportSink) bool {
	return l.Post(loop.Mail{Kind: mailReport, Ref: sink})
}

// AskTroubles is AskReport for what has run out and what was broken off alone:
// nothing is copied that is large. Any thread.
func AskTroubles(l *loop.Loop, sink ReportSink) bool {
	return l.Post(loop.Mail{Kind: mailReport, Ref: sink, A: briefly})
}

const briefly = 1

// AskDrain makes the worker of l stop accepting, finish what is under way
// within the configured grace and end. Any thread.
func AskDrain(l *loop.Loop) bool { return l.Post(loop.Mail{Kind: mailDrain}) }

// AskStandBy is AskDrain for a worker whose clients another process serves from now on: it does
// not end, since it may have to serve again, which AskResume asks for. HasDrained says when it
// has nothing left to do. Any thread.
func AskStandBy(l *loop.Loop) bool { return l.Post(loop.Mail{Kind: mailDrain, A: standBy}) }

const standBy = 1

func AskResume(l *loop.Loop) bool { return l.Post(loop.Mail{Kind: mailResume}) }

// AskAccept has the worker of l look anew at who waits to be accepted, which another process that
// accepted from the same sockets may have been woken for. Any thread.
func AskAccept(l *loop.Loop) bool { return l.Post(loop.Mail{Kind: mailAccept}) }

func (n *Neighbour) HasDrained() bool { return n.drained.Load() }

func (w *Worker) mail(m loop.Mail) {
	if m.Kind < origins.MailKinds {
		w.leases.Mail(m)
		return
	}
	switch m.Kind {
	case mailLook:
		w.wakeBy(w.l.Now() + 1)
	case mailClient:
		if conn := w.l.AdoptAccepted(int(m.FD), m.Peer, 0); conn != 0 {
			w.clients.admit(conn, int(m.A))
		}
		w.peers[w.index].coming.Add(-1)
	case mailReport:
		w.asked++
		w.report(m.Ref.(ReportSink), m.A == briefly)
	case mailAdopt:
		w.snaps.adopt(m.Ref.(*snapshot.Snapshot))
	case mailListen:
		w.Listen(int(m.FD), int(m.A))
	case mailUnlisten:
		w.unlisten(int(m.A))
	case mailSet:
		m.Ref.(*Settings).apply(w)
	case mailDrain:
		w.drain.begin(m.A == standBy)
	case mailResume:
		w.drain.resume()
	case mailFilter:
		w.filters.resume(m)
	case mailAccept:
		loop.AcceptAgain(w.l.Loop)
	case mailInspect:
		w.inspector.inspect(m.Ref.(*Inspection))
	case mailEnd:
		w.endings.end(m.Ref.(*Ending))
	case mailTrace:
		w.watch.begin(m.Ref.(*Trace))
	case mailFailures:
		w.watch.report(m.Ref.(*Failures))
	}
}

func (w *Worker) report(sink ReportSink, brief bool) {
	r := &Report{
		Index: w.index, Now: w.l.Now(), Loop: w.l.Loop.Stats(), Buf: w.pool.Stats(),
		Clients: w.clients.Len(), Origins: w.leases.Len(), Exchanges: w.underWay(),
		UnderWay: w.drain.underWay(),
	}
	r.Loop.MailsIn -= w.asked // those that ask for figures are none of them
	lack := w.leases.Lack()
	w.m.LackFiles = r.Loop.Lack[loop.LackFiles] + lack[loop.LackFiles]
	w.m.LackPorts = r.Loop.Lack[loop.LackPorts] + lack[loop.LackPorts]
	w.m.LackMemory = r.Loop.Lack[loop.LackMemory] + lack[loop.LackMemory]
	r.Short = Shortages{
		Files: w.m.LackFiles, Ports: w.m.LackPorts, Memory: w.m.LackMemory,
		Blocks: r.Buf.Exhausted, Connections: r.Loop.Refused,
	}
	r.Broken = slices.Clone(w.origins.broken)
	if brief {
		sink.Deliver(r)
		return
	}
	w.m.RouteCacheHits, w.m.RouteCacheMisses = w.requests.lookups()
	w.m.ConnsShed = r.Loop.Refused
	w.m.TLSRefused = w.l.Handshakes().Refused
	if w.memory.arena != nil {
		r.Arena = w.memory.arena.Report()
	}
	w.m.CopyTo(&r.Metrics)
	at := make([]int, len(w.clusters)) // in r.Pools
	for id, cl := range w.clusters {
		if cl == nil {
			continue
		}
		p := PoolReport{Cluster: cl.Shared, Stats: w.leases.Pool(id).Stats()}
		if cl.H2 {
			p.HTTP2 = make([]Sessions, len(cl.Shared.Endpoints()))
		}
		at[id] = len(r.Pools)
		r.Pools = append(r.Pools, p)
	}
	for se := range w.h2.Each() {
		if se.Role == http2.Client && !se.IsClosed() {
			of := &r.Pools[at[se.Cluster]].HTTP2[se.Endpoint]
			of.Connections++
			of.Streams += se.H2.Active()
		}
	}
	sink.Deliver(r)
}
