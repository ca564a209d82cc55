package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) delCommand() *cobra.Command {
	var ranges rangeFlags
	var previous bool
	cmd := &cobra.Command{
		Use:     "del KEY [END]",
		Short:   "Delete a key, or a range of keys",
		Long:    "Deletes a key, or all keys from KEY up to but not including END, in one revision. It is no error if there is none.",
		Example: a.examples("del greeting", "del --prefix jobs/ --prev", "del jobs/a jobs/n"),
		Args:    between(0, "KEY", "END"),
		RunE: func(cmd *cobra.Command, words []string) error {
			keys, _, err := ranges.keys(a, words)
			if err != nil {
				return err
			}
			var options []client.DeleteOption
			if previous {
				options = append(options, client.WithPrevKV())
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				r, err := c.Delete(ctx, keys, options...)
				if err != nil {
					return err
				}
				type result struct {
					Revision uint64     `json:"revision,string"`
					Deleted  uint64     `json:"deleted,string"`
					Prev     []keyValue `json:"prev,omitempty"`
				}
				return a.printer().Print(result{r.Revision, r.Deleted, a.keyValues(r.Prev, true)}, func(t *output.Rows) {
					t.Text("deleted %s", plural(r.Deleted, "key"))
					if len(r.Prev) > 0 {
						a.rows(t, r.Prev, true)
					}
				})
			})
		},
	}
	ranges.add(cmd)
	cmd.Flags().BoolVar(&previous, "prev", false, "show what was deleted")
	return cmd
}
