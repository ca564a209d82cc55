package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/txn"
)

func (a *app) txnCommand() *cobra.Command {
	var serializable bool
	cmd := &cobra.Command{
		Use:   "txn [FILE]",
		Short: "Carry out a transaction",
		Long: "Reads a transaction from FILE, or from standard input if FILE is left out or -, and carries it out as one change, at most once.\n" +
			"Exit code 0 says that it was carried out, whichever branch ran; the answer says which.\n\n" + txn.Syntax,
		Example: a.examples("txn lock.txn", "% txn -o json < lock.json",
			"printf 'if\\n missing lock\\nthen\\n put lock me\\nelse\\n get lock\\n' | % txn"),
		Args:              between(0, "FILE"),
		ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, words []string) error {
			from, name := a.In, "standard input"
			if len(words) > 0 && words[0] != "-" {
				f, err := os.Open(words[0])
				if err != nil {
					return usage("%w", err)
				}
				defer func() { _ = f.Close() }()
				from, name = io.Reader(f), words[0]
			}
			document, err := txn.Read(from)
			if err != nil {
				return usage("%s: %w", name, err)
			}
			t, err := document.Build()
			if err != nil {
				return usage("%s: %w", name, err)
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				do := c.Txn().If(t.If...).Then(t.Then...).Else(t.Else...)
				if serializable {
					do = do.Serializable()
				}
				r, err := do.Commit(ctx)
				if err != nil {
					return err
				}
				return a.printTxn(document, r)
			})
		},
	}
	cmd.Flags().BoolVar(&serializable, "serializable", false, "from one member's own state, perhaps stale; only where neither branch writes")
	return cmd
}

// txnResult is a transaction's result in JSON.
type txnResult struct {
	Revision  uint64     `json:"revision,string"`
	Succeeded bool       `json:"succeeded"`
	Results   []opResult `json:"results"`
}

// opResult has the fields of its kind of operation.
type opResult struct {
	Operation string       `json:"operation"`
	Deleted   *uint64      `json:"deleted,string,omitempty"`
	Prev      []keyValue   `json:"prev,omitempty"`
	Range     *rangeResult `json:"range,omitempty"`
	Txn       *txnResult   `json:"txn,omitempty"`
}

func branch(d *txn.Document, succeeded bool) []txn.Operation {
	if succeeded {
		return d.Then
	}
	return d.Else
}

func (a *app) txnResult(d *txn.Document, r client.TxnResult) txnResult {
	out := txnResult{Revision: r.Revision, Succeeded: r.Succeeded, Results: []opResult{}}
	ran := branch(d, r.Succeeded)
	for i, o := range r.Results {
		one := opResult{Operation: kindOf(ran[i]), Prev: a.keyValues(o.Prev, true)}
		switch one.Operation {
		case "del":
			one.Deleted = &o.Deleted
		case "get":
			if g := ran[i].Get; o.Range != nil {
				one.Range = &rangeResult{Revision: o.Range.Revision, Items: a.keyValues(o.Range.Items, !g.KeysOnly), More: o.Range.More}
				if g.CountOnly || g.Count {
					one.Range.Count = &o.Range.Count
				}
			}
		case "txn":
			if o.Txn != nil {
				inner := a.txnResult(ran[i].Txn, *o.Txn)
				one.Txn = &inner
			}
		}
		out.Results = append(out.Results, one)
	}
	return out
}

func kindOf(o txn.Operation) string {
	switch {
	case o.Put != nil:
		return "put"
	case o.Get != nil:
		return "get"
	case o.Del != nil:
		return "del"
	}
	return "txn"
}

func (a *app) printTxn(d *txn.Document, r client.TxnResult) error {
	return a.printer().Print(a.txnResult(d, r), func(t *output.Rows) { a.drawTxn(t, d, r, "") })
}

func (a *app) drawTxn(t *output.Rows, d *txn.Document, r client.TxnResult, number string) {
	which := "the conditions hold: then"
	if !r.Succeeded {
		which = "a condition does not hold: else"
	}
	if number == "" {
		t.Text("%s; revision %d", which, r.Revision)
	} else {
		t.Text("%s", which)
	}
	for i, o := range r.Results {
		op := branch(d, r.Succeeded)[i]
		number := strings.TrimPrefix(fmt.Sprintf("%s.%d", number, i+1), ".")
		switch kindOf(op) {
		case "put":
			t.Text("%s put: written", number)
			if len(o.Prev) > 0 {
				a.rows(t, o.Prev, true)
			}
		case "del":
			t.Text("%s del: deleted %s", number, plural(o.Deleted, "key"))
			if len(o.Prev) > 0 {
				a.rows(t, o.Prev, true)
			}
		case "get":
			a.drawGet(t, number, op.Get, o.Range)
		case "txn":
			t.Text("%s txn:", number)
			if o.Txn != nil {
				a.drawTxn(t, op.Txn, *o.Txn, number)
			}
		}
	}
}

func (a *app) drawGet(t *output.Rows, number string, g *txn.Get, r *client.RangeResult) {
	switch {
	case r == nil:
		t.Text("%s get:", number)
	case g.CountOnly:
		t.Text("%s get: %s", number, plural(r.Count, "key"))
	case len(r.Items) == 0:
		t.Text("%s get: nothing", number)
	default:
		t.Text("%s get:", number)
		a.rows(t, r.Items, !g.KeysOnly)
	}
}
