package command

import (
	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) replaceCommand() *cobra.Command {
	var consent bool
	cmd := &cobra.Command{
		Use:   "replace MEMBER",
		Short: "Have a member of a RaftCluster begin anew with an empty volume",
		Long: "Deletes the claim and the pod of a member, given by its pod's name, for one whose machine or volume is damaged or gone. Kubernetes makes both\n" +
			"anew; the operator adds the new node under a new ID, lets it catch up, and only then takes the old member's vote away.\n" +
			"The data on that volume is given up, which --delete-volume has to say. It is refused while the other members are not all well, since the\n" +
			"data might be needed, and for a cluster of one member or two. A leader hands over first.",
		Example: a.examples("replace demo-1 --delete-volume", "% replace demo-1 -n shop --delete-volume && % status demo -n shop"),
		Args:    exactly("MEMBER"),
		RunE: func(cmd *cobra.Command, words []string) error {
			member := words[0]
			name, ok := cluster.OfPod(member)
			if !ok {
				return usage("member %q: must be the name of a pod, such as demo-1", member)
			}
			if !consent {
				return usage("the volume of %s and all data on it would be deleted, and another begins anew from the other members: say so with --delete-volume", member)
			}
			ctx, cancel := a.bounded(cmd)
			defer cancel()
			k, err := a.kubernetes()
			if err != nil {
				return err
			}
			o, err := k.Observe(ctx, name)
			if err != nil {
				return err
			}
			if err := cluster.MayReplace(o, member); err != nil {
				return err
			}
			if l := o.Leader(); l != nil && l.Name == member {
				c, err := a.connectWith(ctx, name, 1)
				if err != nil {
					return err
				}
				err = c.MoveLeader(ctx, 0)
				_ = c.Close() // it did its work
				if err != nil {
					return err
				}
			}
			if err := k.Discard(ctx, o, member); err != nil {
				return err
			}
			type result struct {
				Member string `json:"member"`
			}
			return a.printer().Print(result{member}, func(t *output.Rows) {
				t.Text("the claim and the pod of %s are deleted; the operator replaces the member: follow it with: %s status %s -n %s", member, a.program()+a.where(), name, k.Namespace)
			})
		},
	}
	cmd.Flags().BoolVar(&consent, "delete-volume", false, "yes, delete the member's volume and all data on it")
	return cmd
}
