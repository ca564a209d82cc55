//go:build linux && scale

package scale

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// metricsAddress is where the operator tells its metrics.
const metricsAddress = "127.0.0.1:8080"

// metrics are the operator's, summed up over their labels; none while it does not answer.
func metrics(t *testing.T) map[string]float64 {
	t.Helper()
	response, err := http.Get("http://" + metricsAddress + "/metrics")
	if err != nil {
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	sums := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), "{")
		name, _, _ = strings.Cut(name, " ")
		text := lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:]
		if value, err := strconv.ParseFloat(text, 64); err == nil && name != "#" {
			sums[name] += value
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("read the operator's metrics: %v", err)
	}
	return sums
}

// awaitReconciled waits until the operator has looked at that many clusters, and none waits for its turn.
func (p *process) awaitReconciled(t *testing.T, count int) {
	t.Helper()
	until(t, p.name+" has looked at all clusters", patience, func() bool {
		m := metrics(t)
		return m["controller_runtime_reconcile_total"] >= float64(count) && m["workqueue_depth"] == 0
	})
}
