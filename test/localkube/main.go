//go:build linux

// Command localkube runs a real Kubernetes of several nodes on one Linux machine, for the demo and the end-to-end tests.
// It needs no container engine, no image registry and no network but the Go module proxy and Debian's packages: it builds
// Kubernetes from source, once. All of a cluster lives in namespaces and in one folder, and `down` leaves nothing of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/test/localkube/internal/cluster"
	"github.com/raftkv/raftkv/test/localkube/internal/machine"
	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	exitUnfit  = 3 // this machine cannot host a cluster
	exitNotUp  = 4 // the command needs a running cluster
)

const (
	defaultName  = "local"
	defaultBase  = "/var/lib/raftkv-localkube"
	nameVariable = "RAFTKV_LOCALKUBE_NAME"
	baseVariable = "RAFTKV_LOCALKUBE_WORK"
	// initCommand is the hidden command that a member's init process is.
	initCommand = "member-init"
)

func main() {
	if err := completeEnvironment(); err != nil {
		fmt.Fprintln(os.Stderr, "localkube:", err)
		os.Exit(exitFailed)
	}
	// Init processes hear nothing of this: they are in sessions and process namespaces of their own.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "localkube:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

// completeEnvironment makes up for callers that give little: root's PATH lacks the system folders after a plain `su`, and
// a CI runner may set nothing at all, whereas the go command insists on a home folder.
func completeEnvironment() error {
	const system = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	path := system
	if set := os.Getenv("PATH"); set != "" {
		path = set + ":" + system
	}
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	if os.Getenv("HOME") != "" {
		return nil
	}
	return os.Setenv("HOME", "/root")
}

// errUsage marks errors of the command line.
var errUsage = errors.New("see localkube --help")

func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, machine.ErrUnfit):
		return exitUnfit
	case errors.Is(err, cluster.ErrNotUp):
		return exitNotUp
	default:
		return exitFailed
	}
}

func root() *cobra.Command {
	c := &cluster.Cluster{Out: os.Stdout, Store: render.StoreRaftkv, InitCommand: func(work, member string) []string {
		return []string{initCommand, work, member}
	}}
	cmd := &cobra.Command{
		Use:               "localkube",
		Short:             "A real Kubernetes of several nodes on this machine",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; %w", err, errUsage) })
	cmd.PersistentFlags().StringVar(&c.Name, "name", fallback(nameVariable, defaultName), "the cluster's name; clusters of different names do not touch each other ($"+nameVariable+")")
	cmd.PersistentFlags().StringVar(&c.Base, "work", fallback(baseVariable, defaultBase), "the folder that holds the clusters' folders ($"+baseVariable+")")
	cmd.AddCommand(lifecycle(c)...)
	cmd.AddCommand(faults(c)...)
	cmd.AddCommand(insight(c)...)
	cmd.AddCommand(&cobra.Command{
		Use: initCommand + " FOLDER MEMBER", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return member.Init(args[0], args[1]) },
	})
	return cmd
}

func fallback(variable, value string) string {
	if set := os.Getenv(variable); set != "" {
		return set
	}
	return value
}

// exactly is cobra.ExactArgs with an error that counts as one of the command line.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("use: %s; %w", cmd.UseLine(), errUsage)
		}
		return nil
	}
}
