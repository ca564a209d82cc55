package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) defragCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "defrag",
		Short: "Give free space back to the file system",
		Long: "Has each of --endpoints, or with --cluster each pod, copy its store to a file without gaps, one node after another. Reads and writes go on\n" +
			"meanwhile. Give a large store time: --timeout is for all of them together.",
		Example: a.examples("defrag --timeout 10m", "defrag --cluster demo --timeout 10m"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, a.defragment)
		},
	}
}

func (a *app) defragment(ctx context.Context, c *client.Client) error {
	type node struct {
		Endpoint string `json:"endpoint"`
		Before   int64  `json:"fileBytesBefore,string"`
		After    int64  `json:"fileBytesAfter,string"`
		Error    string `json:"error,omitempty"`
	}
	type result struct {
		Nodes []node `json:"nodes"`
	}
	value := result{Nodes: []node{}}
	failed := false
	// One after another, so that the cluster is never slowed on all nodes at once.
	for _, endpoint := range c.Endpoints() {
		n := node{Endpoint: endpoint}
		before, err := c.Status(ctx, endpoint)
		if err == nil {
			err = c.Defragment(ctx, endpoint)
		}
		if err == nil {
			var after client.Status
			after, err = c.Status(ctx, endpoint)
			n.Before, n.After = before.FileBytes, after.FileBytes
		}
		n.Error = errorText(err)
		failed = failed || err != nil
		value.Nodes = append(value.Nodes, n)
	}
	err := a.printer().Print(value, func(t *output.Rows) {
		t.Row("ENDPOINT", "BEFORE", "AFTER", "PROBLEM")
		for _, n := range value.Nodes {
			t.Row(n.Endpoint, megabytes(n.Before), megabytes(n.After), n.Error)
		}
	})
	if err == nil && failed {
		return errSilent
	}
	return err
}
