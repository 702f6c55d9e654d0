package server

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"zproxy/config"
	"zproxy/proxy"
)

// NewLog makes the process log, which is not the access log: a line for each
// thing that has happened to the proxy as a whole, with time (UTC), level,
// message and subject first. A Server that was started with it changes its format
// with its configuration.
func NewLog(w io.Writer, c *config.Log) *slog.Logger {
	h := &logHandler{w: w, now: new(atomic.Pointer[slog.Handler])}
	h.use(c)
	return slog.New(h)
}

// logHandler writes as the configuration says at the time.
type logHandler struct {
	w    io.Writer
	now  *atomic.Pointer[slog.Handler] // shared with those that were derived
	with []func(slog.Handler) slog.Handler
}

func (h *logHandler) use(c *config.Log) {
	options := &slog.HandlerOptions{ReplaceAttr: utc, Level: logLevels[c.Level]}
	var next slog.Handler = slog.NewTextHandler(h.w, options)
	if c.Format == "json" {
		next = slog.NewJSONHandler(h.w, options)
	}
	h.now.Store(&next)
}

var logLevels = map[string]slog.Level{"info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func (h *logHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return (*h.now.Load()).Enabled(ctx, l)
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	to := *h.now.Load()
	for _, derive := range h.with {
		to = derive(to)
	}
	return to.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.derive(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return h.derive(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *logHandler) derive(how func(slog.Handler) slog.Handler) slog.Handler {
	return &logHandler{w: h.w, now: h.now, with: append(h.with[:len(h.with):len(h.with)], how)}
}

// utc writes the time as the access log does: RFC 3339 with milliseconds, in UTC.
func utc(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == levelAudit {
		a.Value = slog.StringValue(slog.LevelInfo.String())
	}
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
