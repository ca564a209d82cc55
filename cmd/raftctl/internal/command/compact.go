package command

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) compactCommand() *cobra.Command {
	var physical bool
	cmd := &cobra.Command{
		Use:   "compact REVISION",
		Short: "Give up the history before a revision",
		Long: "Gives up the history before REVISION: older versions of keys can't be read or watched any more, the keys themselves stay.\n" +
			"The space is free for use again soon after; `defrag` gives it back to the file system.",
		Example: a.examples("compact 4200", "compact 4200 --physical --timeout 2m"),
		Args:    exactly("REVISION"),
		RunE: func(cmd *cobra.Command, words []string) error {
			revision, err := strconv.ParseUint(words[0], 10, 64)
			if err != nil || revision == 0 {
				return usage("revision %q: must be a number above zero, such as `status` shows", words[0])
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				now, err := c.Compact(ctx, revision, physical)
				if err != nil {
					return err
				}
				type result struct {
					Compacted uint64 `json:"compactedRevision,string"`
					Revision  uint64 `json:"revision,string"`
				}
				return a.printer().Print(result{revision, now}, func(t *output.Rows) {
					t.Text("the history before revision %d is given up; the store is at %d", revision, now)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&physical, "physical", false, "wait until the space is free for use again")
	return cmd
}
