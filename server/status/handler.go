package status

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/raftkv/raftkv/server/admin"
)

// statusTimeout bounds how long a busy node is waited for.
const statusTimeout = 2 * time.Second

// Source tells a node's status.
type Source func(context.Context) admin.Status

// Handler serves the metrics port.
func Handler(source Source, metrics *Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		s := current(r, source)
		if s.Ready {
			plain(w, http.StatusOK, "ok")
			return
		}
		plain(w, http.StatusServiceUnavailable, "not ready: "+s.NotReady)
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(current(r, source)) // the client is gone if this fails
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics.registry, promhttp.HandlerOpts{Registry: metrics.registry}))
	return mux
}

func current(r *http.Request, source Source) admin.Status {
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	return source(ctx)
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // the client is gone if this fails
}
