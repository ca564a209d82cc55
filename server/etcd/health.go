package etcd

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	// HealthPath and VersionPath are what scripts and test drivers that were written for etcd ask over plain HTTP.
	HealthPath  = "/health"
	VersionPath = "/version"

	// healthTimeout bounds the read by which health is found out.
	healthTimeout = 5 * time.Second
	// healthKey is the key that is read; nobody needs to have written it.
	healthKey = "health"
)

// condition is etcd's answer: the truth as a string.
type condition struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

// serveHealth answers 200 if this node surely knows the latest state and no alarm is up, and else 503 with what is wrong, in
// etcd's words where it has any. With ?serializable=true it is enough that this node reads its own state; ?exclude=NOSPACE leaves that alarm out.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	query := r.URL.Query()
	ailment := ""
	switch store := s.store(); {
	case store == nil:
		ailment = "ETCDSERVER STOPPED"
	case query.Get("serializable") == "true":
		ailment = ailmentAlone(ctx, store)
	default:
		ailment = ailmentTogether(ctx, store, query["exclude"])
	}
	if ailment != "" {
		answer(w, http.StatusServiceUnavailable, condition{Health: "false", Reason: ailment})
		return
	}
	answer(w, http.StatusOK, condition{Health: "true"})
}

// ailmentAlone is what keeps this node from reading its own state, "" if nothing does.
func ailmentAlone(ctx context.Context, store backend.Store) string {
	_, err := store.Range(ctx, backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.One([]byte(healthKey)), Limit: 1}, Serializable: true})
	if err != nil {
		return "RANGE ERROR:" + rpctypes.ErrorDesc(refusal(err))
	}
	return ""
}

// ailmentTogether is what is wrong with this node as a member, "" if nothing is. The alarms are listed after a round with a quorum.
func ailmentTogether(ctx context.Context, store backend.Store, excluded []string) string {
	if now, err := store.Status(ctx); err == nil && now.Leader == 0 {
		return "RAFT NO LEADER"
	}
	alarms, err := store.Alarm(ctx, backend.AlarmRequest{Action: backend.AlarmGet})
	if err != nil {
		return "RANGE ERROR:" + rpctypes.ErrorDesc(refusal(err))
	}
	for _, a := range alarms {
		if name := pb.AlarmType(a.Type).String(); !slices.Contains(excluded, name) {
			return "ALARM " + name
		}
	}
	return ""
}

// serveVersion tells the version of etcd whose API is spoken here.
func serveVersion(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"etcdserver": Version, "etcdcluster": ClusterVersion, "storage": ClusterVersion})
}

// reading takes requests that read, each for so long as its answer may take.
func reading(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		// An earlier request on the connection may have left a deadline.
		if http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowestRequest)) != nil {
			return // the connection is gone
		}
		serve(w, r)
	}
}

func answer(w http.ResponseWriter, code int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(what) // the client is gone if this fails
}

// Serves tells whether a path belongs to Gateway's handler.
func Serves(path string) bool {
	return path == HealthPath || path == VersionPath || path == LivePath || path == ReadyPath ||
		strings.HasPrefix(path, GatewayPath) || strings.HasPrefix(path, LivePath+"/") || strings.HasPrefix(path, ReadyPath+"/")
}
