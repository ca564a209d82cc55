package etcd

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// patient is a store that is well or not.
type patient struct {
	still
	alarms      []kv.Alarm
	quorum, own error // of what needs a quorum, and of this node's own state
}

func (p *patient) Alarm(_ context.Context, r backend.AlarmRequest) ([]kv.Alarm, error) {
	if r.Action != backend.AlarmGet {
		panic("who asks for health changes an alarm")
	}
	return p.alarms, p.quorum
}

func (p *patient) Range(_ context.Context, r backend.RangeRequest) (kv.RangeResult, error) {
	if !r.Serializable {
		return kv.RangeResult{}, p.quorum
	}
	return kv.RangeResult{}, p.own
}

func TestHealthIsToldInWordsOfEtcd(t *testing.T) {
	full := []kv.Alarm{{Member: 2, Type: kv.AlarmNoSpace}}
	leads := still{leader: 1}
	for _, x := range []struct {
		what, path string
		store      backend.Store
		reason     string
	}{
		{"all is well", "/health", &patient{still: leads}, ""},
		{"no member yet", "/health", nil, "ETCDSERVER STOPPED"},
		{"no leader", "/health", &patient{}, "RAFT NO LEADER"},
		{"no leader, and nobody asks for one", "/health?serializable=true", &patient{quorum: backend.ErrUnavailable}, ""},
		{"no quorum", "/health", &patient{still: leads, quorum: backend.ErrUnavailable}, "RANGE ERROR:etcdserver: no leader"},
		{"nothing can be read", "/health?serializable=true", &patient{still: leads, own: kv.ErrClosed}, "RANGE ERROR:etcdserver: server stopped"},
		{"full", "/health", &patient{still: leads, alarms: full}, "ALARM NOSPACE"},
		{"full, and that is known", "/health?exclude=NOSPACE", &patient{still: leads, alarms: full}, ""},
	} {
		code, got := ask(t, x.store, http.MethodGet, x.path)
		want := http.StatusOK
		if x.reason != "" {
			want = http.StatusServiceUnavailable
		}
		if code != want || got["reason"] != x.reason || (got["health"] == "true") != (x.reason == "") {
			t.Errorf("%s: %d %v, want %d with reason %q", x.what, code, got, want, x.reason)
		}
	}
}

func TestTheVersionIsThatOfTheAPI(t *testing.T) {
	if code, got := ask(t, nil, http.MethodGet, "/version"); code != http.StatusOK || got["etcdserver"] != Version || got["etcdcluster"] != ClusterVersion {
		t.Errorf("%d %v", code, got)
	}
}

func TestHealthAndVersionAreOnlyRead(t *testing.T) {
	for _, path := range []string{"/health", "/version"} {
		if code, _ := ask(t, &patient{still: still{leader: raft.NodeID(1)}}, http.MethodPost, path); code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, code)
		}
	}
}

func TestPathsOfPlainHTTP(t *testing.T) {
	for path, ours := range map[string]bool{"/health": true, "/version": true, "/v3/kv/put": true, "/v1/kv/health": false, "/healthy": false, "/": false} {
		if Serves(path) != ours {
			t.Errorf("%s: %t", path, !ours)
		}
	}
}

// ask is answered, with the fields of a JSON answer.
func ask(t *testing.T, store backend.Store, method, path string) (int, map[string]string) {
	t.Helper()
	code, body := answered(t, store, method, path)
	got := map[string]string{}
	if code != http.StatusMethodNotAllowed {
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
	}
	return code, got
}
