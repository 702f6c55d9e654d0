package server

import (
	"io"
	"log/slog"
	"time"

	"zproxy/proxy"
)

// NewLog makes the process log, which is not the access log: a line for each
// thing that has happened to the proxy as a whole, with time (UTC), level,
// message and subject first. format is "text" (logfmt) or "json".
func NewLog(w io.Writer, format string) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: utc}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// utc writes the time as the access log does: RFC 3339 with milliseconds, in UTC.
func utc(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		a.Value = slog.StringValue(a.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return a
}

// about is the log of one subject, of those that docs/deploy.md lists.
func (s *Server) about(subject string) *slog.Logger { return s.log.With("subject", subject) }

// ended writes the last line: what has been cut off.
func (s *Server) ended(cut proxy.CutOff, err error) {
	attrs := []any{
		"cut_connections", cut.Connections, "cut_streams", cut.Streams, "cut_requests", cut.Requests,
		"uptime_s", time.Since(s.started).Round(time.Millisecond).Seconds(),
	}
	if err != nil {
		s.about("process").Error("ended", append(attrs, "error", err.Error())...)
		return
	}
	s.about("process").Info("ended", attrs...)
}
