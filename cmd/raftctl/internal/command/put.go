package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

// maxStdinBytes bounds a value that is read from standard input; the store's own limit is lower.
const maxStdinBytes = 64 << 20

func (a *app) putCommand() *cobra.Command {
	var lease string
	var keepValue, keepLease, previous bool
	cmd := &cobra.Command{
		Use:   "put KEY [VALUE]",
		Short: "Write a key",
		Long: "Writes a key. Without VALUE, or with -, the value is what comes on standard input, byte for byte.\n" +
			"The answer is the revision of the write: it is on the disks of a majority then. Give a large value on a slow line a longer --timeout.",
		Example: a.examples("put greeting hello", "% put photo < photo.jpg", "put lock me --lease 5f3a", "put --hex 00ff 6869", "put greeting --ignore-value --lease 5f3a"),
		Args:    between(1, "KEY", "VALUE"),
		RunE: func(cmd *cobra.Command, words []string) error {
			key, err := a.bytes("key", words[0])
			if err != nil {
				return err
			}
			var value []byte
			switch {
			case keepValue && len(words) > 1:
				return usage("--ignore-value keeps the value that the key has, and %q was given", words[1])
			case keepValue:
			case len(words) == 1 || words[1] == "-":
				if value, err = a.standardInput(); err != nil {
					return err
				}
			default:
				if value, err = a.bytes("value", words[1]); err != nil {
					return err
				}
			}
			var options []client.PutOption
			if lease != "" {
				id, err := parseLease(lease)
				if err != nil {
					return err
				}
				options = append(options, client.WithLease(id))
			}
			if keepValue {
				options = append(options, client.WithIgnoreValue())
			}
			if keepLease {
				options = append(options, client.WithIgnoreLease())
			}
			if previous {
				options = append(options, client.WithPrevKV())
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				r, err := c.Put(ctx, string(key), value, options...)
				if err != nil {
					return err
				}
				return a.printPut(r)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&lease, "lease", "", "attach the key to this lease (hexadecimal): it is deleted when the lease ends")
	f.BoolVar(&keepValue, "ignore-value", false, "keep the value that the key has; VALUE is left out")
	f.BoolVar(&keepLease, "ignore-lease", false, "keep the lease that the key has")
	f.BoolVar(&previous, "prev", false, "show what was replaced")
	cmd.MarkFlagsMutuallyExclusive("lease", "ignore-lease")
	return cmd
}

func (a *app) printPut(r client.PutResult) error {
	type result struct {
		Revision uint64    `json:"revision,string"`
		Prev     *keyValue `json:"prev,omitempty"`
	}
	value := result{Revision: r.Revision}
	if r.Prev != nil {
		prev := a.keyValue(*r.Prev, true)
		value.Prev = &prev
	}
	return a.printer().Print(value, func(t *output.Rows) {
		t.Text("written at revision %d", r.Revision)
		if r.Prev != nil {
			t.Text("before:")
			a.rows(t, []client.KeyValue{*r.Prev}, true)
		}
	})
}

// standardInput reads a value; in hexadecimal if --hex says so.
func (a *app) standardInput() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(a.In, maxStdinBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the value from standard input: %w", err)
	case len(b) > maxStdinBytes:
		return nil, usage("the value on standard input has more than %d MiB", maxStdinBytes>>20)
	case !a.hex:
		return b, nil
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return a.bytes("value", string(b))
}
