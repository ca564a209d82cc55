package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

// defaultWait is how long --wait waits if --timeout is left out.
const defaultWait = 10 * time.Minute

// waitFlag is --wait.
type waitFlag bool

func (w *waitFlag) add(cmd *cobra.Command, until string) {
	cmd.Flags().BoolVar((*bool)(w), "wait", false, "wait until "+until+", and tell what the operator does; for --timeout, or "+defaultWait.String()+" if that is left out")
}

// steered tells what was asked for, and waits for it if it is to.
func (a *app) steered(cmd *cobra.Command, k *cluster.Kubernetes, c *v1.RaftCluster, what, condition string, wait waitFlag) error {
	type result struct {
		Name       string `json:"name"`
		Namespace  string `json:"namespace"`
		Generation int64  `json:"generation"`
		Asked      string `json:"asked"`
		Done       bool   `json:"done"`
	}
	if wait {
		limit := defaultWait
		if cmd.Flags().Changed("timeout") {
			limit = a.timeout
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), limit)
		defer cancel()
		if err := k.Await(ctx, c.Name, condition, c.Generation, func(doing string) { a.warn("%s", doing) }); err != nil {
			return err
		}
	}
	return a.printer().Print(result{c.Name, c.Namespace, c.Generation, what, bool(wait)}, func(t *output.Rows) {
		if wait {
			t.Text("%s: %s: done", c.Name, what)
			return
		}
		t.Text("%s: %s: the operator was asked; follow it with: %s status %s -n %s", c.Name, what, a.program()+a.where(), c.Name, c.Namespace)
	})
}

func (a *app) stepDownCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "step-down CLUSTER",
		Short: "Have a RaftCluster's leader hand over",
		Long: "Has the leader of a RaftCluster hand over to another voter, through a port-forward that this opens itself. Writes wait for some milliseconds\n" +
			"and none is lost.",
		Example:           a.examples("step-down demo", "step-down demo --to demo-1"),
		Args:              exactly("CLUSTER"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, words []string) error {
			ctx, cancel := a.bounded(cmd)
			defer cancel()
			c, err := a.connectWith(ctx, words[0], 1)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			return a.handOver(ctx, c, to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "who shall lead, by the pod's name; whoever is most caught up if left out")
	return cmd
}

func (a *app) restartCommand() *cobra.Command {
	var wait waitFlag
	cmd := &cobra.Command{
		Use:   "restart CLUSTER",
		Short: "Restart a RaftCluster's pods, one by one, the leader last",
		Long: "Asks the operator to restart all pods, as `kubectl rollout restart` does for other things: by an annotation in spec.podTemplate. The operator\n" +
			"restarts one after another, each only when the others are well, the leader last after a hand-over.",
		Example:           a.examples("restart demo", "restart demo --wait"),
		Args:              exactly("CLUSTER"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, words []string) error {
			ctx, cancel := a.bounded(cmd)
			defer cancel()
			k, err := a.kubernetes()
			if err != nil {
				return err
			}
			c, err := k.Get(ctx, words[0])
			switch {
			case err != nil:
				return err
			case c.Spec.UpdateStrategy.Paused:
				return errors.New("updateStrategy.paused holds back changes of the pods: set it to false first")
			case c.Spec.Hibernate:
				return fmt.Errorf("%s hibernates and has no pods: bring it back with: %s resume %s -n %s", c.Name, a.program()+a.where(), c.Name, c.Namespace)
			}
			if c, err = k.Restart(ctx, words[0], time.Now()); err != nil {
				return err
			}
			return a.steered(cmd, k, c, "restart of all pods", v1.ConditionReady, wait)
		},
	}
	wait.add(cmd, "all pods were restarted and the cluster is Ready")
	return cmd
}

func (a *app) hibernateCommand() *cobra.Command {
	var wait waitFlag
	cmd := &cobra.Command{
		Use:   "hibernate CLUSTER",
		Short: "Stop all pods of a RaftCluster and keep its data",
		Long: "Asks the operator to stop all pods once every voter is caught up. Membership and volumes stay; `resume` brings the same cluster back.\n" +
			"Nothing is served meanwhile.",
		Example:           a.examples("hibernate demo", "hibernate demo --wait"),
		Args:              exactly("CLUSTER"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, words []string) error {
			return a.setHibernate(cmd, words[0], true, wait)
		},
	}
	wait.add(cmd, "no pod is left")
	return cmd
}

func (a *app) resumeCommand() *cobra.Command {
	var wait waitFlag
	cmd := &cobra.Command{
		Use:               "resume CLUSTER",
		Short:             "Bring back a RaftCluster that hibernates",
		Long:              "Asks the operator to bring back the pods of a cluster that hibernates. It has all that it had.",
		Example:           a.examples("resume demo", "resume demo --wait"),
		Args:              exactly("CLUSTER"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, words []string) error {
			return a.setHibernate(cmd, words[0], false, wait)
		},
	}
	wait.add(cmd, "the cluster is Ready")
	return cmd
}

func (a *app) setHibernate(cmd *cobra.Command, name string, rest bool, wait waitFlag) error {
	ctx, cancel := a.bounded(cmd)
	defer cancel()
	k, err := a.kubernetes()
	if err != nil {
		return err
	}
	c, err := k.Hibernate(ctx, name, rest)
	if err != nil {
		return err
	}
	what, condition := "hibernation", v1.ConditionHibernated
	if !rest {
		what, condition = "return from hibernation", v1.ConditionReady
	}
	return a.steered(cmd, k, c, what, condition, wait)
}
