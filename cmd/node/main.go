// Command raftkv-node runs one node of a raftkv cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/server"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/etcd"
)

// version is set by the linker.
var version = "dev"

// etcdVersion begins the line by which scripts that were made for etcd tell its version.
const etcdVersion = "etcd Version: "

func main() {
	root := command()
	root.SetArgs(config.Arguments(root.Flags(), os.Args[1:]))
	if err := root.Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "raftkv-node: %v\n", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	flags := config.Flags()
	root := &cobra.Command{
		Use:   "raftkv-node",
		Short: "Run one node of a raftkv cluster",
		Long: "raftkv-node runs one node of raftkv, a strongly consistent key-value store.\n\n" +
			"A node with an empty data directory forms the cluster that --initial-cluster names, or waits until an\n" +
			"administrator bootstraps it or a running cluster adds it. Later starts go on from the data directory.",
		Example:       config.Examples,
		Args:          cobra.NoArgs,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(flags, os.Environ())
			if err != nil {
				return fmt.Errorf("the configuration is not usable (see --help):\n%w", err)
			}
			ctx, stop := stopSignals(cmd.Context())
			defer stop()
			limit, err := limitMemory(ctx)
			if err != nil {
				cfg.Warnings = append(cfg.Warnings, err.Error())
			}
			return server.Run(ctx, cfg, server.Options{Version: version, MemoryLimit: limit})
		},
	}
	root.SetVersionTemplate(fmt.Sprintf("raftkv-node {{.Version}}\n%s%s\n", etcdVersion, etcd.Version))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return config.FlagError(err) })
	root.Flags().AddFlagSet(flags)
	root.Flags().SortFlags = false
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "Usage:\n  raftkv-node [flags]\n  raftkv-node restore SNAPSHOT [flags]\n  raftkv-node version\n\nExamples:\n%s\n\n%s", cmd.Example, config.Usage(flags))
		return err
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(restoreCommand())
	root.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "raftkv-node %s %s %s/%s\n%s%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, etcdVersion, etcd.Version)
		},
	})
	return root
}

// memoryPart is the part of its container's memory that the process plans with. The rest is for what its collector does not see, and for pages of files.
const memoryPart = 0.9

// limitMemory has the collector work harder where the container's memory would not suffice otherwise, rather than the kernel end the process. It returns what may be used,
// in bytes, zero for no limit. GOMEMLIMIT in the environment comes first.
func limitMemory(ctx context.Context) (int64, error) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryPart), memlimit.WithRefreshInterval(ctx, time.Minute))
	if limit == math.MaxInt64 {
		limit = 0
	}
	if err != nil && !errors.Is(err, memlimit.ErrCgroupsNotSupported) && !errors.Is(err, memlimit.ErrNoCgroup) {
		return limit, fmt.Errorf("the memory limit of the container is not known, so the process could be ended for using more: %w. Set GOMEMLIMIT, some 90 %% of that limit", err)
	}
	return limit, nil
}

// stopSignals ends the context at the first SIGTERM or SIGINT, and the process at the second.
func stopSignals(parent context.Context) (context.Context, func()) {
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		cancel()
		<-signals
		fmt.Fprintln(os.Stderr, "raftkv-node: second signal: stopping at once")
		os.Exit(1)
	}()
	return ctx, cancel
}
