package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "member",
		Short:   "Look at the members",
		Long:    "Looks at the members of the group. Adding and removing them is the operator's work: change spec.replicas.",
		Example: a.examples("member list"),
		RunE:    needsCommand,
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "List the members",
		Long:    "Lists the members with their IDs, roles and the addresses by which they know each other.",
		Example: a.examples("member list", "member list --cluster demo -o json"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				members, err := c.Members(ctx)
				if err != nil {
					return err
				}
				return a.printMembers(members)
			})
		},
	})
	return cmd
}

func roleOf(m client.Member) string {
	switch {
	case m.Leader:
		return "leader"
	case m.Learner:
		return "learner"
	}
	return "follower"
}

func (a *app) printMembers(members []client.Member) error {
	type member struct {
		ID            string `json:"id"`
		Name          string `json:"name"`
		Role          string `json:"role"`
		PeerAddress   string `json:"peerAddress"`
		ClientAddress string `json:"clientAddress,omitempty"`
	}
	type result struct {
		Members []member `json:"members"`
	}
	value := result{Members: []member{}}
	for _, m := range members {
		value.Members = append(value.Members, member{m.ID.String(), m.Name, roleOf(m), m.PeerAddress, m.ClientAddress})
	}
	return a.printer().Print(value, func(t *output.Rows) {
		t.Row("ID", "NAME", "ROLE", "PEER", "CLIENT")
		for _, m := range value.Members {
			t.Row(m.ID, m.Name, m.Role, m.PeerAddress, m.ClientAddress)
		}
	})
}

// memberNamed is the member of that name or ID.
func (a *app) memberNamed(ctx context.Context, c *client.Client, named string) (client.Member, error) {
	members, err := c.Members(ctx)
	if err != nil {
		return client.Member{}, err
	}
	for _, m := range members {
		if m.Name == named || m.ID.String() == named {
			return m, nil
		}
	}
	return client.Member{}, notFound("there is no member of the name or ID " + named + ": see " + a.program() + " member list")
}
