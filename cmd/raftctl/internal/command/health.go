package command

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Tell whether each node serves",
		Long: "Asks each of --endpoints, or with --cluster each pod: a node is well if it answers, knows a leader and no alarm is up.\n" +
			"The cluster as a whole is well if a linearizable read is answered, which needs a quorum. Exit code 1 if anything is not well.",
		Example: a.examples("health", "health --cluster demo", "health --endpoints 10.0.0.1:2379,10.0.0.2:2379 -o json"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				nodes := each(ctx, c, a.nodeWait(), func(ctx context.Context, endpoint string) (client.Status, error) { return c.Status(ctx, endpoint) })
				began := time.Now()
				_, err := c.Get(ctx, "health")
				return a.printHealth(nodes, time.Since(began), err)
			})
		},
	}
}

func (a *app) printHealth(nodes []answer[client.Status], took time.Duration, err error) error {
	type node struct {
		Endpoint string `json:"endpoint"`
		Name     string `json:"name,omitempty"`
		Healthy  bool   `json:"healthy"`
		Problem  string `json:"problem,omitempty"`
	}
	type result struct {
		Healthy bool   `json:"healthy"`
		Problem string `json:"problem,omitempty"`
		// Milliseconds is how long a linearizable read took.
		Milliseconds float64 `json:"readMilliseconds"`
		Nodes        []node  `json:"nodes"`
	}
	value := result{Healthy: err == nil, Problem: errorText(err), Milliseconds: float64(took.Microseconds()) / 1000, Nodes: []node{}}
	well := err == nil
	for _, n := range nodes {
		problems := n.value.Errors
		switch {
		case n.err != nil:
			problems = []string{errorText(n.err)}
		case n.value.Leader == 0 && len(problems) == 0:
			problems = []string{"it knows no leader"}
		}
		well = well && len(problems) == 0
		value.Nodes = append(value.Nodes, node{n.endpoint, n.value.Name, len(problems) == 0, strings.Join(problems, "; ")})
	}
	err = a.printer().Print(value, func(t *output.Rows) {
		t.Row("ENDPOINT", "NAME", "HEALTHY", "PROBLEM")
		for _, n := range value.Nodes {
			t.Row(n.Endpoint, n.Name, yes(n.Healthy), n.Problem)
		}
		if value.Healthy {
			t.Text("a linearizable read took %v", took.Round(10*time.Microsecond))
		} else {
			t.Text("a linearizable read failed: %s", value.Problem)
		}
	})
	if err == nil && !well {
		return errSilent
	}
	return err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
