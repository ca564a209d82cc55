package server

import (
	"net/http"
	"sync"
	"time"

	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/etcd"
	"github.com/raftkv/raftkv/server/member"
)

// readyLine is what scripts and test drivers that were written for etcd wait for.
const readyLine = "ready to serve client requests"

// newEtcd makes the front end of the etcd v3 API.
func (n *node) newEtcd() *etcd.Server {
	return etcd.New(n.service, n.cluster, etcd.Options{
		MaxRequestBytes: n.cfg.MaxRequestBytes, MaxTxnOps: n.cfg.MaxTxnOps, MaxStreams: n.cfg.MaxStreams, ElectionTimeout: n.cfg.ElectionTimeout, NoGateway: n.cfg.NoGateway, Managed: n.cfg.AdminTokenFile != "",
		Answers: n.answers, Observer: n.metrics,
	})
}

// metricsPath is where the metrics are, on their own port and, if there is none, on the clients', as etcd has them.
const metricsPath = "/metrics"

// byPath gives what etcd serves over plain HTTP its paths, and REST all else.
func byPath(gateway, rest, metrics http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case etcd.Serves(r.URL.Path):
			gateway.ServeHTTP(w, r)
		case metrics != nil && r.URL.Path == metricsPath:
			metrics.ServeHTTP(w, r)
		default:
			rest.ServeHTTP(w, r)
		}
	})
}

// withHealth serves /health and /version of etcd, which kubelets and scripts ask for on its metrics port too, before what is raftkv's own there.
func withHealth(gateway, own http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == etcd.HealthPath || r.URL.Path == etcd.VersionPath {
			gateway.ServeHTTP(w, r)
			return
		}
		own.ServeHTTP(w, r)
	})
}

// service is the whole store of this life's member, nil if there is none.
func (n *node) service() backend.Store {
	if m := n.member.Load(); m != nil {
		return m.Store()
	}
	return nil
}

func (n *node) cluster() etcd.Cluster {
	if r := n.replica.Load(); r != nil && n.member.Load() != nil {
		return n.clusterOf(r)
	}
	return nil
}

// versionPatience is how long a node that serves waits, before it says so, for the cluster version at which leases and all else are
// served. A new cluster has it in no time, one in which a member runs an older build for as long as that does not have it.
const versionPatience = 2 * time.Second

// readiness is whether it has been said that the node serves.
type readiness struct {
	mu    sync.Mutex
	since time.Time
	said  bool
}

// due tells, once, that it is to be said.
func (r *readiness) due(ready, everything bool, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ready || r.said {
		return false
	}
	if r.since.IsZero() {
		r.since = now
	}
	r.said = everything || now.Sub(r.since) >= versionPatience
	return r.said
}

func (n *node) announce(s admin.Status) {
	if s.Ready && n.member.Load() != nil {
		n.open.Store(true)
	}
	if n.ready.due(s.Ready && n.member.Load() != nil, s.ClusterVersion >= member.FeatureLevel, time.Now()) {
		n.logger.Info(readyLine, "client", n.cfg.ListenClient)
	}
}
