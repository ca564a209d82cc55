package etcdclients

import (
	"os/exec"
	"strings"
	"testing"
)

// TestBenchmark runs etcd's load generator: every request must succeed. How fast that is, `make bench` tells.
func TestBenchmark(t *testing.T) {
	ctx := within(t)
	for _, arguments := range []string{
		"put --total=2000 --clients=40 --conns=10 --key-size=8 --val-size=256 --key-space-size=500",
		"range k --total=2000 --clients=40 --conns=10",
		"range k --total=2000 --clients=40 --conns=10 --consistency=s",
		"txn-put --total=500 --clients=10 --conns=5 --txn-ops=5 --key-space-size=100",
		"lease-keepalive --total=500 --clients=10 --conns=5",
	} {
		c := exec.CommandContext(ctx, programs.benchmark, append([]string{"--endpoints=" + strings.Join(shared.endpoints(), ",")}, strings.Fields(arguments)...)...)
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Requests/sec") || strings.Contains(string(out), "Error distribution") {
			t.Errorf("benchmark %s: %v\n%s", arguments, err, out)
		}
	}
}
