package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) moveLeaderCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "move-leader [MEMBER]",
		Short: "Hand the leadership over",
		Long: "Has the leader hand over to MEMBER, given by name or ID, or else to the voter that is most caught up. Writes wait for some milliseconds and\n" +
			"none is lost.",
		Example: a.examples("move-leader", "move-leader demo-1", "move-leader --cluster demo demo-1"),
		Args:    between(0, "MEMBER"),
		RunE: func(cmd *cobra.Command, words []string) error {
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				to := ""
				if len(words) > 0 {
					to = words[0]
				}
				return a.handOver(ctx, c, to)
			})
		},
	}
}

// handOver moves the leadership, to whoever is best if no member is named, and says who leads then.
func (a *app) handOver(ctx context.Context, c *client.Client, to string) error {
	var id client.MemberID
	if to != "" {
		m, err := a.memberNamed(ctx, c, to)
		switch {
		case err != nil:
			return err
		case m.Learner:
			return usage("%s is a learner: only a voter can lead", m.Name)
		}
		id = m.ID
	}
	if err := c.MoveLeader(ctx, id); err != nil {
		return err
	}
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	type result struct {
		Leader string `json:"leader"`
		ID     string `json:"id"`
	}
	var value result
	for _, m := range members {
		if m.Leader {
			value = result{m.Name, m.ID.String()}
		}
	}
	return a.printer().Print(value, func(t *output.Rows) {
		if value.Leader == "" {
			t.Text("the leadership was handed over")
			return
		}
		t.Text("%s (%s) leads", value.Leader, value.ID)
	})
}
