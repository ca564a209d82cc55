package status

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func leader() admin.Status {
	return admin.Status{
		Name: "a", State: admin.StateMember, MemberID: 0xab, Incarnation: 0xcd, ClusterID: 0xef, ClusterVersion: 1,
		Role: "leader", Term: 5, Leader: 0xab, Commit: 1 << 60, Applied: 9, Ready: true, Version: "1.2.3",
		Members: []admin.MemberStatus{
			{Member: raft.Member{ID: 0xab, Name: "a"}, Match: 10, Active: true},
			{Member: raft.Member{ID: 0xac, Name: "b", Learner: true}, Match: 7},
		},
	}
}

func TestStatusIsWhatANodeSays(t *testing.T) {
	h := Handler(func(context.Context) admin.Status { return leader() }, NewMetrics("x"))
	code, body := get(t, h, "/v1/status")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil || code != 200 {
		t.Fatal(code, err)
	}
	for key, want := range map[string]any{
		"name": "a", "memberID": "ab", "incarnation": "cd", "clusterID": "ef", "clusterVersion": 1.0, "role": "leader",
		"term": "5", "leader": "ab", "commit": "1152921504606846976", "applied": "9", "version": "1.2.3",
	} {
		if doc[key] != want {
			t.Errorf("%s is %v, want %v", key, doc[key], want)
		}
	}
	if m := doc["members"].([]any)[1].(map[string]any); m["match"] != "7" || m["id"] != "ac" || m["learner"] != true {
		t.Errorf("second member: %v", m)
	}
}

func TestLivezDependsOnNothingAndReadyzSaysWhy(t *testing.T) {
	s := admin.Status{State: admin.StateMember, NotReady: "no leader is known"}
	h := Handler(func(context.Context) admin.Status { return s }, NewMetrics("x"))
	if code, body := get(t, h, "/livez"); code != 200 || body != "ok\n" {
		t.Errorf("livez: %d %q", code, body)
	}
	if code, body := get(t, h, "/readyz"); code != 503 || !strings.Contains(body, "no leader is known") {
		t.Errorf("readyz: %d %q", code, body)
	}
	s.Ready = true
	if code, _ := get(t, h, "/readyz"); code != 200 {
		t.Errorf("readyz of a ready node: %d", code)
	}
}

// source is a leader with one follower that lags.
type source struct{}

func (source) RaftStatus(context.Context) (raft.Status, time.Duration, bool) {
	return raft.Status{
		Commit: 14, Applied: 9, StorageWaitTicks: 3,
		Membership: raft.Membership{Members: []raft.Member{{ID: 0xab, Name: "a"}, {ID: 0xac, Name: "b"}}},
		Progress:   map[raft.NodeID]raft.FollowerStatus{0xac: {LagEntries: 4, LagBytes: 400}},
	}, 10 * time.Millisecond, true
}

func (source) Queues() []node.QueueDepth { return []node.QueueDepth{{Name: "reads", Items: 6}} }

func (source) Stats() transport.Stats {
	calls := rpc.MethodStats{Method: "m", Successes: 2, Failures: 1}
	calls.Latency.Buckets[0], calls.Latency.Buckets[rpc.LatencyBuckets-1] = 2, 1
	return transport.Stats{
		Received: 4, Peers: []transport.PeerStats{{ID: 0xac, Connected: true, RTT: time.Millisecond, Sent: 8}},
		Kinds:     []transport.KindStats{{Type: raft.MsgAppend, Sent: 9, Dropped: 2}},
		Snapshots: []transport.SnapshotProgress{{Peer: 0xac, Bytes: 50, TotalBytes: 100, Started: time.Now()}},
		Calls:     rpc.CallStats{Methods: []rpc.MethodStats{calls}},
	}
}

func (source) StoreSize(context.Context) (StoreSize, bool) {
	return StoreSize{FileBytes: 30, UsedBytes: 10, QuotaBytes: 20}, true
}

func (source) Served() rpc.CallStats {
	return rpc.CallStats{Methods: []rpc.MethodStats{{Method: "s", Successes: 7}}}
}

// lint holds the names against Prometheus' own rules: units, suffixes, help.
func lint(t *testing.T, m *Metrics) {
	t.Helper()
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// documented holds docs/reference/metrics.md against what is served, both ways.
func documented(t *testing.T, body string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]string{}
	for _, x := range regexp.MustCompile(`(?m)^# HELP (raftkv_\S+) (.+)$`).FindAllStringSubmatch(body, -1) {
		served[x[1]] = x[2]
	}
	told := map[string]bool{}
	for _, x := range regexp.MustCompile("(?m)^\\| `(raftkv_[a-z_]+)` .*\\| (.+) \\|$").FindAllStringSubmatch(string(page), -1) {
		told[x[1]] = true
		if served[x[1]] != x[2] {
			t.Errorf("the page says of %s: %q, the node: %q", x[1], x[2], served[x[1]])
		}
	}
	for name, help := range served {
		if !told[name] {
			t.Errorf("docs/reference/metrics.md lacks the line: | `%s` | | %s |", name, help)
		}
	}
}

func TestMetrics(t *testing.T) {
	m := NewMetrics("1.2.3")
	s := leader()
	m.Watch(Sources{Status: func(context.Context) admin.Status { return s }, Raft: source{}, Peers: source{}, Store: source{}})
	m.Synced(time.Millisecond, 3)
	m.Committed(time.Millisecond)
	m.Applied(time.Millisecond, 3)
	m.Leader(1)
	m.Leader(0)
	m.Transition(raft.Transition{To: raft.RoleLeader, Trigger: "won"})
	m.SnapshotSent(errors.New("cut"))
	m.SnapshotInstalled()
	m.Proposed(ResultApplied, time.Millisecond)
	m.Barrier(time.Millisecond)
	m.Compared("agree", 8, true)
	m.Compared("differs", 9, false)
	s.Alarms = []admin.Alarm{{Member: 0xac, Type: "CORRUPT"}}
	front := m.HTTP(APIREST, func(r *http.Request) bool { return r.URL.Path == "/stream" },
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }))
	front.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("BREW", "/", nil))
	front.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/stream", nil))
	m.Called("a.B/C", "OK", time.Millisecond)
	m.Called("a.B/C", "Unavailable", time.Millisecond)
	m.Streaming("a.B/Watch", true)
	m.Streaming("a.B/Lock", false)("Canceled")
	m.Watching()
	m.Watching()()
	h := Handler(func(context.Context) admin.Status { return s }, m)
	_, body := get(t, h, "/metrics")
	for _, line := range []string{
		`raftkv_build_info{version="1.2.3"} 1`, `raftkv_raft_term 5`, `raftkv_raft_applied_index 9`, `raftkv_raft_has_leader 1`,
		`raftkv_raft_role{role="leader"} 1`, `raftkv_raft_role{role="follower"} 0`, `raftkv_raft_members{kind="learner"} 1`,
		`raftkv_raft_member_match_index{member="ac",name="b"} 7`, `raftkv_wal_sync_duration_seconds_count 1`, `raftkv_wal_synced_entries_total 3`,
		`raftkv_raft_leader_changes_total 1`, `raftkv_raft_transitions_total{role="leader",trigger="won"} 1`, `raftkv_snapshots_sent_total{result="failed"} 1`,
		`raftkv_proposals_total{result="applied"} 1`, `raftkv_http_requests_total{api="rest",code="404",method="other"} 1`,
		`raftkv_http_requests_total{api="rest",code="404",method="POST"} 1`, `raftkv_http_request_duration_seconds_count{api="rest",method="other"} 1`,
		`raftkv_http_requests_in_flight{api="rest"} 0`, `raftkv_grpc_calls_total{code="OK",method="a.B/C"} 1`,
		`raftkv_grpc_calls_total{code="Unavailable",method="a.B/C"} 1`, `raftkv_grpc_call_duration_seconds_count{method="a.B/C"} 2`,
		`raftkv_grpc_streams{method="a.B/Watch"} 1`, `raftkv_grpc_streams{method="a.B/Lock"} 0`, `raftkv_grpc_calls_total{code="Canceled",method="a.B/Lock"} 1`,
		`raftkv_watch_streams{api="grpc"} 1`, `raftkv_watch_streams{api="rest"} 1`,
		`raftkv_peer_round_trip_seconds{peer="ac"} 0.001`, `raftkv_peer_sent_messages_total{peer="ac"} 8`, `raftkv_ready 1`,
		`raftkv_raft_commit_duration_seconds_count 1`, `raftkv_raft_apply_lag_entries 5`, `raftkv_raft_storage_wait_seconds 0.03`,
		`raftkv_raft_member_lag_entries{member="ac",name="b"} 4`, `raftkv_raft_member_lag_bytes{member="ac",name="b"} 400`,
		`raftkv_queue_items{queue="reads"} 6`, `raftkv_raft_messages_total{result="dropped",type="append"} 2`,
		`raftkv_snapshot_transfer_bytes{direction="out",peer="ac"} 50`, `raftkv_snapshot_transfer_expected_bytes{direction="out",peer="ac"} 100`,
		`raftkv_rpc_calls_total{method="m",result="failure",side="client"} 1`, `raftkv_rpc_call_duration_seconds_count{method="m",side="client"} 3`,
		`raftkv_state_comparisons_total{verdict="differs"} 1`, `raftkv_state_agreed_index 8`, `raftkv_fenced 0`,
		`raftkv_alarms{type="CORRUPT"} 1`, `raftkv_alarms{type="NOSPACE"} 0`,
		`raftkv_store_file_bytes 30`, `raftkv_store_used_bytes 10`, `raftkv_store_quota_bytes 20`,
		`raftkv_rpc_calls_total{method="s",result="success",side="server"} 7`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, `duration_seconds_count{api="rest",method="POST"}`) {
		t.Error("how long a stream took is measured")
	}
	lint(t, m)
	documented(t, body)
	s = admin.Status{State: admin.StateEmpty, Fenced: "it differs"}
	if _, body := get(t, h, "/metrics"); strings.Contains(body, "raftkv_raft_term") || !strings.Contains(body, "raftkv_ready 0\n") || !strings.Contains(body, "raftkv_fenced 1\n") {
		t.Error("an empty node has a term")
	}
}
