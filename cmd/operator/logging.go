package main

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
)

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// newLogger logs as the nodes do, through log/slog, with logr's interface, which controller-runtime wants.
func newLogger(level, format string, w io.Writer) logr.Logger {
	o := &slog.HandlerOptions{Level: logLevels[level]}
	var h slog.Handler = slog.NewJSONHandler(w, o)
	if format == "text" {
		h = slog.NewTextHandler(w, o)
	}
	return logr.FromSlogHandler(h)
}
