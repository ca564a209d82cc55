package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// LivePath and ReadyPath are what kubelets ask etcd for.
const (
	LivePath  = "/livez"
	ReadyPath = "/readyz"
)

// probe is one thing that is looked at, by etcd's name for it, which is also that of a path below.
type probe struct {
	name  string
	fault func(context.Context, backend.Store) error
}

// probes are what is looked at for each path.
var probes = map[string][]probe{
	LivePath: {{"serializable_read", readsAlone}},
	ReadyPath: {
		{"data_corruption", isSound}, {"serializable_read", readsAlone}, {"linearizable_read", readsTogether}, {"non_learner", votes},
	},
}

func readsAlone(ctx context.Context, store backend.Store) error { return readable(ctx, store, true) }

func readsTogether(ctx context.Context, store backend.Store) error {
	return readable(ctx, store, false)
}

func readable(ctx context.Context, store backend.Store, serializable bool) error {
	_, err := store.Range(ctx, backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.One([]byte(healthKey)), Limit: 1}, Serializable: serializable})
	return err
}

// isSound is about this member alone, or all where nobody can tell which: one that differs from the others is rebuilt, and they go on.
func isSound(ctx context.Context, store backend.Store) error {
	now, err := store.Status(ctx)
	if err != nil {
		return err
	}
	for _, a := range now.Alarms {
		if a.Type == kv.AlarmCorrupt && (a.Member == 0 || a.Member == now.MemberID) {
			return errAlarmed
		}
	}
	return nil
}

func votes(ctx context.Context, store backend.Store) error {
	now, err := store.Status(ctx)
	if err == nil && now.Learner {
		return errLearns
	}
	return err
}

var (
	errAlarmed = errors.New("alarm activated: CORRUPT")
	errLearns  = errors.New("not supported for learner")
)

// probed looks at all but what ?exclude= names, and answers as etcd does: 200 and "ok", with ?verbose what was looked at before it, or 503
// with what was looked at. A node that has opened no state yet, since it works through its log or waits to be added, is alive, but not ready.
func (s *Server) probed(all []probe) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		query, store := r.URL.Query(), s.store()
		var seen strings.Builder
		code := http.StatusOK
		for _, p := range all {
			if slices.Contains(query["exclude"], p.name) {
				continue
			}
			var fault error
			switch {
			case store != nil:
				fault = p.fault(ctx, store)
			case !strings.HasPrefix(r.URL.Path, LivePath):
				fault = rpctypes.ErrGRPCStopped
			}
			if fault == nil {
				fmt.Fprintf(&seen, "[+]%s ok\n", p.name)
				continue
			}
			if !errors.Is(fault, errAlarmed) && !errors.Is(fault, errLearns) {
				fault = errors.New(rpctypes.ErrorDesc(refusal(fault)))
			}
			fmt.Fprintf(&seen, "[-]%s failed: %v\n", p.name, fault)
			code = http.StatusServiceUnavailable
		}
		text := seen.String()
		if code == http.StatusOK {
			if !query.Has("verbose") {
				text = ""
			}
			text += "ok\n"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(text)) // the client is gone if this fails
	}
}
