package command

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

// sortNames are what items can be sorted by.
var sortNames = []string{"key", "version", "create", "mod", "value"}

var sorts = map[string]client.SortBy{
	"key": client.SortByKey, "version": client.SortByVersion, "create": client.SortByCreateRevision, "mod": client.SortByModRevision, "value": client.SortByValue,
}

func (a *app) getCommand() *cobra.Command {
	var ranges rangeFlags
	var revision uint64
	var limit int
	var sortBy string
	var descending, keysOnly, countOnly, serializable, raw bool
	cmd := &cobra.Command{
		Use:   "get KEY [END]",
		Short: "Read a key, or a range of keys",
		Long: "Reads a key, or all keys from KEY up to but not including END. A read sees every write that was acknowledged before it began,\n" +
			"unless --serializable asks one member for what it has.\n" +
			"A single key that does not exist gives exit code 4; a range without keys gives an empty list.",
		Example: a.examples("get greeting", "% get photo --raw > photo.jpg", "get --prefix jobs/ --limit 10 --keys-only", "get jobs/a jobs/n", "get --all --count-only",
			"get greeting --revision 42", "get --prefix jobs/ --sort-by mod --descending -o json"),
		Args: between(0, "KEY", "END"),
		RunE: func(cmd *cobra.Command, words []string) error {
			keys, single, err := ranges.keys(a, words)
			if err != nil {
				return err
			}
			by, ok := sorts[sortBy]
			switch {
			case !ok:
				return usage("--sort-by %q: must be one of %s", sortBy, strings.Join(sortNames, ", "))
			case limit < 0:
				return usage("--limit %d: must not be below zero", limit)
			case raw && !single:
				return usage("--raw writes the value of one key")
			case raw && (keysOnly || countOnly):
				return usage("--raw writes a value, and --keys-only and --count-only leave it out")
			}
			options := []client.ReadOption{client.WithRevision(revision), client.WithLimit(limit)}
			if descending || by != client.SortByKey {
				order := client.Ascending
				if descending {
					order = client.Descending
				}
				options = append(options, client.WithSort(by, order))
			}
			if keysOnly {
				options = append(options, client.WithKeysOnly())
			}
			if countOnly {
				options = append(options, client.WithCountOnly())
			}
			if serializable {
				options = append(options, client.WithSerializable())
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				r, err := c.Range(ctx, keys, options...)
				if err != nil {
					return err
				}
				if single && !countOnly && len(r.Items) == 0 {
					return notFound("there is no key " + a.shown().Cell([]byte(keyOf(a, words))))
				}
				if raw {
					_, err := a.Out.Write(r.Items[0].Value)
					return err
				}
				if countOnly {
					return a.printCount(r)
				}
				return a.printRange(r, !keysOnly)
			})
		},
	}
	ranges.add(cmd)
	f := cmd.Flags()
	f.Uint64Var(&revision, "revision", 0, "read as it was at this revision")
	f.IntVar(&limit, "limit", 0, "at most so many keys; 0 for all")
	f.StringVar(&sortBy, "sort-by", "key", "sort by: "+strings.Join(sortNames, ", "))
	f.BoolVar(&descending, "descending", false, "sort from the greatest down")
	f.BoolVar(&keysOnly, "keys-only", false, "leave the values out")
	f.BoolVar(&countOnly, "count-only", false, "only how many keys there are")
	f.BoolVar(&serializable, "serializable", false, "from one member's own state: works without a quorum, perhaps stale")
	f.BoolVar(&raw, "raw", false, "write the value's bytes and nothing else")
	_ = cmd.RegisterFlagCompletionFunc("sort-by", cobra.FixedCompletions(slices.Clone(sortNames), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

// keyOf is the one key that was given, which was read once already.
func keyOf(a *app, words []string) string {
	b, _ := a.bytes("key", words[0])
	return string(b)
}

func (a *app) printCount(r client.RangeResult) error {
	type result struct {
		Revision uint64 `json:"revision,string"`
		Count    uint64 `json:"count,string"`
	}
	return a.printer().Print(result{r.Revision, r.Count}, func(t *output.Rows) { t.Text("%d", r.Count) })
}

// rangeResult is a range in JSON.
type rangeResult struct {
	Revision uint64     `json:"revision,string"`
	Items    []keyValue `json:"items"`
	More     bool       `json:"more"`
	// Count is there if it was asked for.
	Count *uint64 `json:"count,string,omitempty"`
}

func (a *app) printRange(r client.RangeResult, valuesToo bool) error {
	return a.printer().Print(rangeResult{Revision: r.Revision, Items: a.keyValues(r.Items, valuesToo), More: r.More}, func(t *output.Rows) {
		a.rows(t, r.Items, valuesToo)
		if r.More {
			t.Text("there are more: raise --limit, or go on behind the last key with --from")
		}
	})
}
