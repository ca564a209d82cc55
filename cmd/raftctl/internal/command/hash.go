package command

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) hashCommand() *cobra.Command {
	var revision uint64
	cmd := &cobra.Command{
		Use:   "hash",
		Short: "Compare the nodes' keys by a checksum",
		Long: "Asks each of --endpoints, or with --cluster each pod, for a checksum of its keys with their history, up to --revision or else up to the lowest\n" +
			"revision that all have come to. Nodes that have given up the same history must agree: exit code 1 if they do not, or one does not answer.",
		Example: a.examples("hash --cluster demo", "hash --endpoints 10.0.0.1:2379,10.0.0.2:2379 --revision 4200"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				at := revision
				if at == 0 {
					for _, n := range each(ctx, c, a.nodeWait(), c.Status) {
						if n.err == nil && (at == 0 || n.value.Revision < at) {
							at = n.value.Revision
						}
					}
				}
				return a.printHashes(each(ctx, c, a.timeout, func(ctx context.Context, endpoint string) (client.Hash, error) { return c.Hash(ctx, endpoint, at) }))
			})
		},
	}
	cmd.Flags().Uint64Var(&revision, "revision", 0, "up to this revision")
	return cmd
}

// disagreement says which of the answers, with the same revisions, differ; empty if none do.
func disagreement(answers []answer[client.Hash]) string {
	type place struct{ revision, compacted uint64 }
	first := map[place]answer[client.Hash]{}
	for _, n := range answers {
		if n.err != nil {
			continue
		}
		at := place{n.value.Revision, n.value.CompactedRevision}
		other, ok := first[at]
		if !ok {
			first[at] = n
			continue
		}
		if other.value.Hash != n.value.Hash {
			return fmt.Sprintf("%s and %s differ at revision %d: one of them is damaged. Save a snapshot of each, then see the alarms", other.endpoint, n.endpoint, at.revision)
		}
	}
	return ""
}

func (a *app) printHashes(answers []answer[client.Hash]) error {
	type node struct {
		Endpoint          string `json:"endpoint"`
		MemberID          string `json:"memberID,omitempty"`
		Hash              string `json:"hash,omitempty"`
		Revision          uint64 `json:"revision,string,omitempty"`
		CompactedRevision uint64 `json:"compactedRevision,string,omitempty"`
		Error             string `json:"error,omitempty"`
	}
	type result struct {
		Agree bool   `json:"agree"`
		Nodes []node `json:"nodes"`
	}
	differ := disagreement(answers)
	value := result{Agree: differ == "", Nodes: []node{}}
	failed := false
	for _, n := range answers {
		if n.err != nil {
			failed = true
			value.Nodes = append(value.Nodes, node{Endpoint: n.endpoint, Error: errorText(n.err)})
			continue
		}
		value.Nodes = append(value.Nodes, node{
			Endpoint: n.endpoint, MemberID: n.value.MemberID.String(), Hash: fmt.Sprintf("%08x", n.value.Hash), Revision: n.value.Revision, CompactedRevision: n.value.CompactedRevision,
		})
	}
	err := a.printer().Print(value, func(t *output.Rows) {
		t.Row("ENDPOINT", "ID", "HASH", "REVISION", "COMPACTED", "PROBLEM")
		for _, n := range value.Nodes {
			if n.Error != "" {
				t.Row(n.Endpoint, "", "", "", "", n.Error)
				continue
			}
			t.Row(n.Endpoint, n.MemberID, n.Hash, strconv.FormatUint(n.Revision, 10), n.CompactedRevision, "")
		}
		if differ != "" {
			t.Text("%s", differ)
		}
	})
	if err == nil && (failed || differ != "") {
		return errSilent
	}
	return err
}
