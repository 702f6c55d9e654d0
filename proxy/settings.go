package proxy

import (
	"time"

	"zproxy/loop"
	"zproxy/metrics/accesslog"
)

// Settings are what a running worker is told beside the snapshot that it serves by.
type Settings struct {
	Conns   int               // clients of the loop at the most, 0: any number; those that are there stay
	Log     *accesslog.Buffer // nil: none
	Batch   *BatchWait        // nil: as it is
	Sockets []ListenerOptions // of listeners that stay
	Failed  []error           // from Sockets, once the worker has dealt with this
}

// BatchWait is as in loop.Config.
type BatchWait struct {
	Most   time.Duration
	Always bool
}

// ListenerOptions are other options for what is listened on; Listener is a number of the
// current snapshot.
type ListenerOptions struct {
	Listener int
	Options  loop.SockOpts
}

// AskSet gives s to the worker of l, which owns it until it has dealt with its mail. False
// when its mailbox is full. Any thread.
func AskSet(l *loop.Loop, s *Settings) bool { return l.Post(loop.Mail{Kind: mailSet, Ref: s}) }

// apply has w obey.
func (s *Settings) apply(w *Worker) {
	loop.LimitConns(w.l.Loop, s.Conns)
	w.journal.Switch(s.Log)
	if s.Batch != nil {
		loop.SetBatchWait(w.l.Loop, s.Batch.Most, s.Batch.Always)
	}
	for i := range s.Sockets {
		for _, a := range w.listeners {
			if a.listener != s.Sockets[i].Listener {
				continue
			}
			if err := s.Sockets[i].Options.Renew(a.fd); err != nil {
				s.Failed = append(s.Failed, err)
			}
		}
	}
}
