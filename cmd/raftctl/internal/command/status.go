package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/picture"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [CLUSTER]",
		Short: "Show the nodes; or a RaftCluster with all that belongs to it",
		Long: "Without CLUSTER: asks each of --endpoints, or with --cluster each pod, what it says of itself. Exit code 1 if one does not answer.\n\n" +
			"With CLUSTER: the RaftCluster of that name in Kubernetes as a picture: members with roles, lag, volumes and machines; what the operator\n" +
			"says, what it waits for and why; and the last events. LAG is in log entries, as the leader knows it.",
		Example:           a.examples("status --endpoints 10.0.0.1:2379,10.0.0.2:2379", "status --cluster demo", "status demo -n shop", "status demo -o json"),
		Args:              between(0, "CLUSTER"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) == 1 {
				return a.showPicture(cmd, words[0])
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				return a.printStatuses(each(ctx, c, a.nodeWait(), c.Status))
			})
		},
	}
	return cmd
}

func (a *app) showPicture(cmd *cobra.Command, name string) error {
	if a.cluster != "" || len(a.endpoints) > 0 {
		return usage("CLUSTER shows a RaftCluster in Kubernetes; leave it out with --cluster and --endpoints, which ask nodes")
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
	p := picture.Of(o, time.Now())
	return a.printer().Print(p, p.Draw)
}

// nodeStatus is a node's status in JSON.
type nodeStatus struct {
	Endpoint          string   `json:"endpoint"`
	Error             string   `json:"error,omitempty"`
	ClusterID         string   `json:"clusterID,omitempty"`
	MemberID          string   `json:"memberID,omitempty"`
	Name              string   `json:"name,omitempty"`
	Version           string   `json:"version,omitempty"`
	Role              string   `json:"role,omitempty"`
	Leader            string   `json:"leader,omitempty"`
	Term              uint64   `json:"term,string,omitempty"`
	Revision          uint64   `json:"revision,string,omitempty"`
	CompactedRevision uint64   `json:"compactedRevision,string,omitempty"`
	CommittedIndex    uint64   `json:"committedIndex,string,omitempty"`
	AppliedIndex      uint64   `json:"appliedIndex,string,omitempty"`
	FileBytes         int64    `json:"fileBytes,string,omitempty"`
	UsedBytes         int64    `json:"usedBytes,string,omitempty"`
	QuotaBytes        int64    `json:"quotaBytes,string,omitempty"`
	Problems          []string `json:"problems,omitempty"`
}

func statusRole(s client.Status) string {
	switch {
	case s.Learner:
		return "learner"
	case s.Leader == 0:
		return "no leader"
	case s.Leader == s.MemberID:
		return "leader"
	}
	return "follower"
}

func (a *app) printStatuses(answers []answer[client.Status]) error {
	type result struct {
		Nodes []nodeStatus `json:"nodes"`
	}
	value := result{Nodes: []nodeStatus{}}
	failed := false
	for _, n := range answers {
		s := n.value
		if n.err != nil {
			failed = true
			value.Nodes = append(value.Nodes, nodeStatus{Endpoint: n.endpoint, Error: errorText(n.err)})
			continue
		}
		value.Nodes = append(value.Nodes, nodeStatus{
			Endpoint: n.endpoint, ClusterID: fmt.Sprintf("%x", s.ClusterID), MemberID: s.MemberID.String(), Name: s.Name, Version: s.Version, Role: statusRole(s),
			Leader: s.Leader.String(), Term: s.Term, Revision: s.Revision, CompactedRevision: s.CompactedRevision, CommittedIndex: s.CommittedIndex,
			AppliedIndex: s.AppliedIndex, FileBytes: s.FileBytes, UsedBytes: s.UsedBytes, QuotaBytes: s.QuotaBytes, Problems: s.Errors,
		})
	}
	err := a.printer().Print(value, func(t *output.Rows) {
		t.Row("ENDPOINT", "NAME", "ID", "ROLE", "TERM", "REVISION", "APPLIED", "FILE", "USED", "VERSION", "PROBLEMS")
		for _, n := range value.Nodes {
			if n.Error != "" {
				t.Row(n.Endpoint, "", "", "", "", "", "", "", "", "", n.Error)
				continue
			}
			t.Row(n.Endpoint, n.Name, n.MemberID, n.Role, n.Term, n.Revision, n.AppliedIndex, megabytes(n.FileBytes), megabytes(n.UsedBytes), n.Version, strings.Join(n.Problems, "; "))
		}
	})
	if err == nil && failed {
		return errSilent
	}
	return err
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1fMB", float64(bytes)/1e6) }
