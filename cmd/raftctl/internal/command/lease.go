package command

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/txn"
)

// leaseResult is a lease in JSON; times are in whole seconds.
type leaseResult struct {
	ID        string `json:"id"`
	TTL       int64  `json:"ttlSeconds"`
	Remaining *int64 `json:"remainingSeconds,omitempty"`
	Keys      []any  `json:"keys,omitempty"`
}

func formatLease(id client.LeaseID) string { return txn.FormatLease(id) }

func parseLease(s string) (client.LeaseID, error) {
	id, err := txn.ParseLease(s)
	if err != nil {
		return 0, &usageError{err}
	}
	return id, nil
}

func wholeSeconds(d time.Duration) int64 { return int64(d / time.Second) }

// parseTTL reads a duration, or a number of seconds.
func parseTTL(s string) (time.Duration, error) {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil && n > 0 {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usage("time to live %q: must be seconds, or a duration such as 90s or 5m", s)
	}
	return d, nil
}

func (a *app) leaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lease",
		Short: "Grant, renew, end and look at leases",
		Long: "A lease ends when it is not renewed within its time to live, and the keys that were put with it are deleted.\n" +
			"IDs of leases are hexadecimal.",
		Example: a.examples("lease grant 60s --id 5f3a", "put lock me --lease 5f3a", "lease keep-alive 5f3a", "lease list"),
		RunE:    needsCommand,
	}
	cmd.AddCommand(a.leaseGrantCommand(), a.leaseRevokeCommand(), a.leaseKeepAliveCommand(), a.leaseTimeToLiveCommand(), a.leaseListCommand())
	return cmd
}

// needsCommand is run by a command that only has others.
func needsCommand(cmd *cobra.Command, words []string) error {
	if len(words) > 0 {
		return usage("%q is no command of %s; see %s --help", words[0], cmd.CommandPath(), cmd.CommandPath())
	}
	return cmd.Help()
}

func (a *app) leaseGrantCommand() *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:     "grant TTL",
		Short:   "Make a lease",
		Long:    "Makes a lease with that time to live: seconds, or a duration such as 5m.",
		Example: a.examples("lease grant 60", "lease grant 5m --id 5f3a"),
		Args:    exactly("TTL"),
		RunE: func(cmd *cobra.Command, words []string) error {
			ttl, err := parseTTL(words[0])
			if err != nil {
				return err
			}
			var chosen client.LeaseID
			if id != "" {
				if chosen, err = parseLease(id); err != nil {
					return err
				}
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				var l client.Lease
				if chosen != 0 {
					l, err = c.GrantID(ctx, chosen, ttl)
				} else {
					l, err = c.Grant(ctx, ttl)
				}
				if err != nil {
					return err
				}
				return a.printer().Print(leaseResult{ID: formatLease(l.ID), TTL: wholeSeconds(l.TTL)}, func(t *output.Rows) {
					t.Text("lease %s granted for %v", formatLease(l.ID), l.TTL)
				})
			})
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "the lease's ID (hexadecimal); drawn if left out")
	return cmd
}

func (a *app) leaseRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a lease and delete its keys",
		Long:    "Ends a lease at once. Its keys are deleted with it, in one revision.",
		Example: a.examples("lease revoke 5f3a"),
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, words []string) error {
			id, err := parseLease(words[0])
			if err != nil {
				return err
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				if _, err := c.Revoke(ctx, id); err != nil {
					return err
				}
				type result struct {
					ID string `json:"id"`
				}
				return a.printer().Print(result{formatLease(id)}, func(t *output.Rows) { t.Text("lease %s revoked", formatLease(id)) })
			})
		},
	}
}

func (a *app) leaseKeepAliveCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "keep-alive ID",
		Short: "Renew a lease, again and again",
		Long: "Renews a lease at a third of its time to live until it is stopped; exit code 4 says that the lease is no more.\n" +
			"--once renews it one time.",
		Example: a.examples("lease keep-alive 5f3a", "lease keep-alive 5f3a --once"),
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, words []string) error {
			id, err := parseLease(words[0])
			if err != nil {
				return err
			}
			ctx, cancel := a.bounded(cmd)
			defer cancel()
			c, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			// The first renewal tells at once whether there is such a lease.
			l, err := c.KeepAliveOnce(ctx, id)
			if err != nil {
				return err
			}
			err = a.printer().Line(leaseResult{ID: formatLease(l.ID), TTL: wholeSeconds(l.TTL)}, func(t *output.Rows) {
				t.Text("lease %s renewed for %v", formatLease(l.ID), l.TTL)
			})
			if err != nil || once {
				return err
			}
			k := c.KeepAlive(id)
			defer k.Close()
			select {
			case <-k.Done():
				return k.Err()
			case <-cmd.Context().Done():
				return nil
			}
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "renew one time")
	return cmd
}

func (a *app) leaseTimeToLiveCommand() *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use:     "timetolive ID",
		Short:   "Tell what is left of a lease",
		Long:    "Tells the time to live of a lease, what is left of it, and with --keys the keys that are deleted with it.",
		Example: a.examples("lease timetolive 5f3a --keys"),
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, words []string) error {
			id, err := parseLease(words[0])
			if err != nil {
				return err
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				s, err := c.TimeToLive(ctx, id, keys)
				if err != nil {
					return err
				}
				remaining := wholeSeconds(s.Remaining)
				value := leaseResult{ID: formatLease(s.ID), TTL: wholeSeconds(s.TTL), Remaining: &remaining}
				for _, k := range s.Keys {
					text, raw := a.shown().JSON(k)
					if text != nil {
						value.Keys = append(value.Keys, *text)
					} else {
						value.Keys = append(value.Keys, map[string][]byte{"base64": raw})
					}
				}
				return a.printer().Print(value, func(t *output.Rows) {
					t.Text("lease %s: %v left of %v", value.ID, s.Remaining, s.TTL)
					for _, k := range s.Keys {
						t.Text("%s", a.shown().Cell(k))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&keys, "keys", false, "the keys too")
	return cmd
}

func (a *app) leaseListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the leases",
		Long:    "Lists the IDs of all leases.",
		Example: a.examples("lease list"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				ids, err := c.Leases(ctx)
				if err != nil {
					return err
				}
				type result struct {
					Leases []string `json:"leases"`
				}
				value := result{Leases: []string{}}
				for _, id := range ids {
					value.Leases = append(value.Leases, formatLease(id))
				}
				return a.printer().Print(value, func(t *output.Rows) {
					t.Row("LEASE")
					for _, id := range value.Leases {
						t.Row(id)
					}
				})
			})
		},
	}
}
