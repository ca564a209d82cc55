package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// named answers with its name.
type named string

func (n named) ServeHTTP(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, string(n)) }

// TestPathsOfEtcd are where scripts, kubelets and scrapers that were made for etcd look for them.
func TestPathsOfEtcd(t *testing.T) {
	clients, alone, metrics := byPath(named("etcd"), named("rest"), nil), byPath(named("etcd"), named("rest"), named("metrics")), withHealth(named("etcd"), named("metrics"))
	for _, x := range []struct {
		what, path string
		handler    http.Handler
		want       string
	}{
		{"clients", "/health", clients, "etcd"}, {"clients", "/readyz", clients, "etcd"}, {"clients", "/v3/kv/put", clients, "etcd"},
		{"clients", "/v1/kv/k", clients, "rest"}, {"clients, beside a metrics port", "/metrics", clients, "rest"},
		{"clients, without a metrics port", "/metrics", alone, "metrics"}, {"clients, without a metrics port", "/v1/kv/metrics", alone, "rest"},
		{"metrics", "/health", metrics, "etcd"}, {"metrics", "/version", metrics, "etcd"},
		// Readiness is the operator's there: it knows nodes that wait to be added.
		{"metrics", "/readyz", metrics, "metrics"}, {"metrics", "/metrics", metrics, "metrics"}, {"metrics", "/v3/kv/put", metrics, "metrics"},
	} {
		w := httptest.NewRecorder()
		x.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, x.path, nil))
		if got := w.Body.String(); got != x.want {
			t.Errorf("%s: %s is answered by %s, want %s", x.what, x.path, got, x.want)
		}
	}
}
