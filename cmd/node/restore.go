package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/member"
)

// restoreCommand makes a data directory from a snapshot file. It takes the flags that the node is then started with.
func restoreCommand() *cobra.Command {
	flags := config.Flags()
	var how kv.RestoreOptions
	c := &cobra.Command{
		Use:   "restore SNAPSHOT [the node's flags]",
		Short: "Make the data directory of a new cluster's first member from a snapshot",
		Long: "restore makes a new data directory from a file that `etcdctl snapshot save` or a client has saved. It is that of the only\n" +
			"member of a new cluster, with an ID of its own. Start the node with the same flags, and add further, empty nodes to it.\n\n" +
			"Nothing may be in the directory. Keys, history and leases are taken over; leases have all of their time again once\n" +
			"the cluster has a leader. What was written after the snapshot is lost, so revisions are raised above what clients may\n" +
			"have seen and marked as compacted: watches and caches of the old cluster are told so, and read everything anew.",
		Example: "  etcdctl snapshot save backup.db --endpoints http://127.0.0.1:2379\n" +
			"  raftkv-node restore backup.db --name a --data-dir /var/lib/raftkv --listen-client-urls http://127.0.0.1:2379 \\\n" +
			"    --listen-peer-urls http://127.0.0.1:2380",
		Args:          cobra.ExactArgs(1),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.Load(flags, os.Environ())
			if err != nil {
				return fmt.Errorf("the configuration is not usable (see --help):\n%w", err)
			}
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }()
			got, err := member.Restore(member.Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}, file, how)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored %s (of cluster %s, index %d, revision %d, checksum of the file: %s)\ninto %s: "+
				"member %s of the new cluster %s, revision %d, compacted up to %d\n",
				args[0], got.State.Cluster, got.State.Meta.Index, got.State.Before, checked(got.State.Checked), cfg.DataDir,
				got.Identity.MemberID, got.Identity.ClusterID, got.State.Revision, got.State.Compacted)
			return err
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return config.FlagError(err) })
	own := pflag.NewFlagSet("restore", pflag.ContinueOnError)
	own.SortFlags = false
	own.Uint64Var(&how.BumpRevision, "bump-revision", kv.DefaultBumpRevision, "`number` that the store's revision is raised by; more than was written since the snapshot")
	own.BoolVar(&how.MarkCompacted, "mark-compacted", true, "mark all revisions up to the raised one as compacted")
	c.Flags().AddFlagSet(own)
	c.Flags().AddFlagSet(flags)
	c.Flags().SortFlags = false
	c.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "Usage:\n  raftkv-node %s\n\nExamples:\n%s\n\nRestoring:\n%s\n%s", cmd.Use, cmd.Example,
			own.FlagUsages(), config.Usage(flags))
		return err
	})
	return c
}

func checked(is bool) string {
	if is {
		return "right"
	}
	return "none"
}
