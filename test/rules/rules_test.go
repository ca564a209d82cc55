package rules

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

func groups(t *testing.T) *rulefmt.RuleGroups {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "charts", "raftkv", "files", "monitoring", "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return parsed
}

// cluster is what is measured of one cluster, each metric as the values of an hour in steps of a minute.
func cluster(name string, healthy int, conditions ...string) string {
	var b strings.Builder
	of := fmt.Sprintf(`cluster_namespace="shop",cluster=%q`, name)
	fmt.Fprintf(&b, "  raftkv_cluster_desired_members{%s} 5x60\n", of)
	fmt.Fprintf(&b, "  raftkv_cluster_healthy_members{%s} %dx60\n", of, healthy)
	for _, c := range []string{"Ready", "Reconciling", "Stalled", "Available", "Degraded", "Hibernated"} {
		value := 0
		if slices.Contains(conditions, c) {
			value = 1
		}
		fmt.Fprintf(&b, "  raftkv_cluster_condition{%s,condition=%q} %dx60\n", of, c, value)
	}
	return b.String()
}

// TestAlertsFireOnWhatTheyAreFor gives each alert a cluster, an operator or a pod that is ill in its way, beside one that is
// well, and asks the engine which of them the expression finds.
func TestAlertsFireOnWhatTheyAreFor(t *testing.T) {
	well := cluster("well", 5, "Ready", "Available")
	disk := func(pod string, fast, slow int) string {
		of := fmt.Sprintf(`namespace="shop",pod=%q`, pod)
		return fmt.Sprintf("  raftkv_wal_sync_duration_seconds_bucket{%s,le=\"0.0008\"} 0+%dx60\n  raftkv_wal_sync_duration_seconds_bucket{%s,le=\"0.2\"} 0+%dx60\n  raftkv_wal_sync_duration_seconds_bucket{%s,le=\"+Inf\"} 0+%dx60\n",
			of, fast, of, fast+slow, of, fast+slow)
	}
	ill := map[string]struct{ series, finds string }{
		"RaftkvClusterUnavailable":   {cluster("ill", 2, "Degraded", "Reconciling") + cluster("resting", 0, "Ready", "Hibernated"), `cluster="ill"`},
		"RaftkvClusterStalled":       {cluster("ill", 2, "Stalled", "Degraded"), `cluster="ill"`},
		"RaftkvClusterDegraded":      {cluster("ill", 4, "Available", "Degraded"), `cluster="ill"`},
		"RaftkvClusterNoRedundancy":  {cluster("ill", 3, "Available", "Degraded") + cluster("fair", 4, "Available", "Degraded"), `cluster="ill"`},
		"RaftkvClusterNotConverging": {cluster("ill", 5, "Available", "Reconciling"), `cluster="ill"`},
		"RaftkvLeaderUnstable": {`  raftkv_cluster_leader_changes_total{cluster_namespace="shop",cluster="ill"} 0+1x60
  raftkv_cluster_leader_changes_total{cluster_namespace="shop",cluster="well"} 1x60
`, `cluster="ill"`},
		"RaftkvOperatorAway": {`  raftkv_operator_leading{namespace="ill",job="raftkv",pod="a"} 0x60
  raftkv_operator_leading{namespace="ill",job="raftkv",pod="b"} 0x60
  raftkv_operator_leading{namespace="well",job="raftkv",pod="a"} 0x60
  raftkv_operator_leading{namespace="well",job="raftkv",pod="b"} 1x60
`, `namespace="ill"`},
		"RaftkvOperatorStepsFail": {`  raftkv_operator_steps_total{cluster_namespace="shop",cluster="ill",step="scale",result="failed"} 0+1x60
  raftkv_operator_steps_total{cluster_namespace="shop",cluster="well",step="scale",result="taken"} 0+1x60
`, `cluster="ill"`},
		"RaftkvOperatorReconcileErrors": {`  controller_runtime_reconcile_errors_total{controller="raftcluster"} 0+1x60
`, `{}`},
		"RaftkvStatesDiffer": {`  raftkv_alarms{namespace="shop",pod="ill-0",type="CORRUPT"} 1x60
  raftkv_alarms{namespace="shop",pod="well-0",type="NOSPACE"} 1x60
  raftkv_fenced{namespace="shop",pod="well-0"} 0x60
`, `pod="ill-0"`},
		"RaftkvStoreFull": {`  raftkv_alarms{namespace="shop",pod="ill-0",type="NOSPACE"} 1x60
  raftkv_alarms{namespace="shop",pod="ill-0",type="CORRUPT"} 0x60
  raftkv_alarms{namespace="shop",pod="well-0",type="NOSPACE"} 0x60
  raftkv_alarms{namespace="shop",pod="well-0",type="CORRUPT"} 1x60
`, `pod="ill-0"`},
		"RaftkvStoreNearlyFull": {`  raftkv_store_used_bytes{namespace="shop",pod="ill-0"} 81x60
  raftkv_store_quota_bytes{namespace="shop",pod="ill-0"} 100x60
  raftkv_store_used_bytes{namespace="shop",pod="well-0"} 160x60
  raftkv_store_quota_bytes{namespace="shop",pod="well-0"} 200x60
`, `pod="ill-0"`},
		"RaftkvSlowDisk": {disk("ill-0", 100, 10) + disk("well-0", 1000, 1), `pod="ill-0"`},
		"RaftkvWritesFail": {`  raftkv_proposals_total{namespace="shop",pod="ill-0",result="applied"} 0+100x60
  raftkv_proposals_total{namespace="shop",pod="ill-0",result="busy"} 0+50x60
  raftkv_proposals_total{namespace="shop",pod="well-0",result="applied"} 0+100x60
  raftkv_proposals_total{namespace="shop",pod="well-0",result="busy"} 0+1x60
`, `pod="ill-0"`},
	}
	for _, g := range groups(t).Groups {
		for _, r := range g.Rules {
			t.Run(r.Alert, func(t *testing.T) {
				c, ok := ill[r.Alert]
				if !ok {
					t.Fatal("this alert has no case that it is for")
				}
				got := find(t, "load 1m\n"+c.series+onlyFor(c.series, well), r.Expr)
				if len(got) != 1 || (c.finds != "{}" && !strings.Contains(got[0], c.finds)) {
					t.Errorf("found %v, want only what has %s", got, c.finds)
				}
			})
		}
	}
}

// An operator that is gone measures nothing any more, and what it measured last does not keep the alert from firing.
func TestAnOperatorThatIsGoneRaisesItsAlert(t *testing.T) {
	for _, g := range groups(t).Groups {
		for _, r := range g.Rules {
			if r.Alert != "RaftkvOperatorAway" {
				continue
			}
			for name, c := range map[string]struct {
				series string
				want   int
			}{
				"there never was one": {"", 1},
				"it has ended":        {"  raftkv_operator_leading{namespace=\"well\",job=\"raftkv\"} 1x20 stale\n", 1},
				"it works":            {"  raftkv_operator_leading{namespace=\"well\",job=\"raftkv\"} 1x60\n", 0},
			} {
				if got := find(t, "load 1m\n  up{job=\"other\"} 1x60\n"+c.series, r.Expr); len(got) != c.want {
					t.Errorf("%s: found %v", name, got)
				}
			}
			return
		}
	}
	t.Fatal("there is no such alert")
}

// onlyFor adds the cluster that is well where clusters are measured.
func onlyFor(series, well string) string {
	if strings.Contains(series, "raftkv_cluster_condition") {
		return well
	}
	return ""
}

func find(t *testing.T, load, expression string) []string {
	t.Helper()
	storage := promqltest.LoadedStorage(t, load)
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	query, err := engine.NewInstantQuery(t.Context(), storage, nil, expression, time.Unix(0, 0).Add(50*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	vector, err := result.Vector()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range vector {
		out = append(out, s.Metric.String())
	}
	return out
}
