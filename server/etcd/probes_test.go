package etcd

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// ward is a patient that tells of alarms and learners too.
type ward struct {
	patient
	up      []kv.Alarm
	learner bool
}

func (w *ward) Status(context.Context) (backend.Status, error) {
	return backend.Status{Header: backend.Header{MemberID: 2}, Leader: 1, Alarms: w.up, Learner: w.learner}, nil
}

func TestProbesAreAnsweredAsByEtcd(t *testing.T) {
	corrupt := func(member uint64) []kv.Alarm {
		return []kv.Alarm{{Member: raft.NodeID(member), Type: kv.AlarmCorrupt}}
	}
	for _, x := range []struct {
		what, path string
		store      backend.Store
		code       int
		body       string
	}{
		{"all is well", "/livez", &ward{}, 200, "ok\n"},
		{"all is well", "/livez?verbose", &ward{}, 200, "[+]serializable_read ok\nok\n"},
		{"all is well", "/readyz", &ward{}, 200, "ok\n"},
		{"all is well", "/readyz?verbose=true", &ward{}, 200, "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"},
		{"one of them", "/readyz/non_learner?verbose", &ward{}, 200, "[+]non_learner ok\nok\n"},
		{"no quorum", "/livez", &ward{patient: patient{quorum: backend.ErrUnavailable}}, 200, "ok\n"},
		{"no quorum", "/readyz", &ward{patient: patient{quorum: backend.ErrUnavailable}}, 503,
			"[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n[+]non_learner ok\n"},
		{"no quorum, and nobody asks", "/readyz?exclude=linearizable_read&exclude=data_corruption", &ward{patient: patient{quorum: backend.ErrUnavailable}}, 200, "ok\n"},
		{"a state that cannot be read", "/livez", &ward{patient: patient{own: kv.ErrClosed}}, 503, "[-]serializable_read failed: etcdserver: server stopped\n"},
		{"a learner", "/readyz/non_learner", &ward{learner: true}, 503, "[-]non_learner failed: not supported for learner\n"},
		{"this member differs", "/readyz/data_corruption", &ward{up: corrupt(2)}, 503, "[-]data_corruption failed: alarm activated: CORRUPT\n"},
		{"some member differs", "/readyz/data_corruption", &ward{up: corrupt(0)}, 503, "[-]data_corruption failed: alarm activated: CORRUPT\n"},
		{"another member differs", "/readyz/data_corruption", &ward{up: corrupt(3)}, 200, "ok\n"},
		{"a full store", "/readyz", &ward{up: []kv.Alarm{{Member: 2, Type: kv.AlarmNoSpace}}}, 200, "ok\n"},
		{"nothing opened yet", "/livez", nil, 200, "ok\n"},
		{"nothing opened yet", "/readyz/non_learner", nil, 503, "[-]non_learner failed: etcdserver: server stopped\n"},
	} {
		if code, body := answered(t, x.store, http.MethodGet, x.path); code != x.code || body != x.body {
			t.Errorf("%s: %s: %d %q, want %d %q", x.what, x.path, code, body, x.code, x.body)
		}
	}
	if code, _ := answered(t, &ward{}, http.MethodPost, "/livez"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	if code, _ := answered(t, &ward{}, http.MethodGet, "/livez/nothing"); code != http.StatusNotFound {
		t.Errorf("an unknown probe: %d", code)
	}
	for _, path := range []string{"/livez", "/readyz", "/readyz/non_learner"} {
		if !Serves(path) {
			t.Errorf("%s is not served", path)
		}
	}
	if Serves("/livezz") {
		t.Error("another path is served")
	}
}

// answered sends a request to a server over the store, over a real connection, and returns the code and the body of the answer.
func answered(t *testing.T, store backend.Store, method, path string) (int, string) {
	t.Helper()
	s := New(func() backend.Store { return store }, func() Cluster { return nil }, Options{MaxRequestBytes: 1 << 20})
	handler, err := s.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer s.Stop(t.Context())
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
