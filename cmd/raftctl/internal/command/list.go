package command

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) listCommand() *cobra.Command {
	var everywhere bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the RaftClusters",
		Long:    "Lists the RaftClusters of the namespace, or of all, and what the operator says of each.",
		Example: a.examples("list", "list --all-namespaces", "list -n shop -o json"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.bounded(cmd)
			defer cancel()
			k, err := a.kubernetes()
			if err != nil {
				return err
			}
			clusters, err := k.List(ctx, everywhere)
			if err != nil {
				return err
			}
			return a.printClusters(clusters, time.Now())
		},
	}
	cmd.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "those of all namespaces")
	return cmd
}

// listed is a RaftCluster in a list.
type listed struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Desired   int    `json:"desired"`
	Ready     int32  `json:"ready"`
	Leader    string `json:"leader,omitempty"`
	Available bool   `json:"available"`
	Version   string `json:"version,omitempty"`
	State     string `json:"state"`
	Age       string `json:"age"`
}

// stateOf is the one word that says most: the reason of Stalled, else of Reconciling, else Ready or why not.
func stateOf(c *v1.RaftCluster) string {
	for _, t := range []string{v1.ConditionStalled, v1.ConditionHibernated, v1.ConditionReconciling} {
		k := meta.FindStatusCondition(c.Status.Conditions, t)
		switch {
		case k == nil || k.Status != "True":
		case t == v1.ConditionStalled:
			return "Stalled: " + k.Reason
		case t == v1.ConditionHibernated:
			return "Hibernated"
		default:
			return k.Reason
		}
	}
	switch r := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionReady); {
	case r == nil:
		return "Unknown"
	case r.Status == "True":
		return "Ready"
	default:
		return r.Reason
	}
}

func (a *app) printClusters(clusters []v1.RaftCluster, now time.Time) error {
	type result struct {
		Clusters []listed `json:"clusters"`
	}
	value := result{Clusters: []listed{}}
	for i := range clusters {
		c := &clusters[i]
		one := listed{
			Namespace: c.Namespace, Name: c.Name, Desired: cluster.Desired(c), Ready: c.Status.ReadyReplicas, Version: c.Status.Version, State: stateOf(c),
			Available: meta.IsStatusConditionTrue(c.Status.Conditions, v1.ConditionAvailable), Age: duration.HumanDuration(now.Sub(c.CreationTimestamp.Time)),
		}
		if c.Status.Leader != nil {
			one.Leader = c.Status.Leader.Name
		}
		value.Clusters = append(value.Clusters, one)
	}
	return a.printer().Print(value, func(t *output.Rows) {
		t.Row("NAMESPACE", "NAME", "DESIRED", "READY", "LEADER", "AVAILABLE", "VERSION", "STATE", "AGE")
		for _, c := range value.Clusters {
			t.Row(c.Namespace, c.Name, c.Desired, c.Ready, c.Leader, yes(c.Available), c.Version, c.State, c.Age)
		}
	})
}

// completeClusters offers the names of RaftClusters; no more than one is taken.
func (a *app) completeClusters(cmd *cobra.Command, words []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(words) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := a.bounded(cmd)
	defer cancel()
	k, err := a.kubernetes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	clusters, err := k.List(ctx, false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for i := range clusters {
		if strings.HasPrefix(clusters[i].Name, begun) {
			out = append(out, clusters[i].Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
