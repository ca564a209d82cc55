package server

import (
	"context"
	"io"
	"log/slog"

	"github.com/raftkv/raftkv/server/config"
)

// The fields that every line has.
const (
	fieldNode = "node"
	fieldTerm = "term"
	fieldRole = "role"
)

// standing is a node's term and role at the moment; role is empty while it is no member.
type standing func() (term uint64, role string)

// newLogger writes lines with the node's name, and its term and role at the time.
func newLogger(w io.Writer, cfg config.Config, now standing) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	var h slog.Handler = slog.NewTextHandler(w, options)
	if cfg.LogFormat == config.LogJSON {
		h = slog.NewJSONHandler(w, options)
	}
	return slog.New(&standingHandler{Handler: h.WithAttrs([]slog.Attr{slog.String(fieldNode, cfg.Name)}), now: now})
}

// standingHandler adds term and role to lines that do not have them.
type standingHandler struct {
	slog.Handler
	now standing
}

func (h *standingHandler) Handle(ctx context.Context, r slog.Record) error {
	term, role := h.now()
	if role == "" {
		return h.Handler.Handle(ctx, r)
	}
	has := map[string]bool{}
	r.Attrs(func(a slog.Attr) bool { has[a.Key] = true; return true })
	if !has[fieldTerm] {
		r.AddAttrs(slog.Uint64(fieldTerm, term))
	}
	if !has[fieldRole] {
		r.AddAttrs(slog.String(fieldRole, role))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs leaves the node's name out: it is there already.
func (h *standingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	kept := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		if a.Key != fieldNode {
			kept = append(kept, a)
		}
	}
	return &standingHandler{Handler: h.Handler.WithAttrs(kept), now: h.now}
}

func (h *standingHandler) WithGroup(name string) slog.Handler {
	return &standingHandler{Handler: h.Handler.WithGroup(name), now: h.now}
}
