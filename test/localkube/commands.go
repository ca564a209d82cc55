//go:build linux

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/test/localkube/internal/artifacts"
	"github.com/raftkv/raftkv/test/localkube/internal/cluster"
	"github.com/raftkv/raftkv/test/localkube/internal/machine"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

// lifecycle are the commands by which a cluster comes and goes.
func lifecycle(c *cluster.Cluster) []*cobra.Command {
	nodes, store := 3, string(render.StoreRaftkv)
	up := &cobra.Command{
		Use: "up", Short: "Bring the cluster up; one that is up stays as it is", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if c.Store, err = render.ParseStore(store); err != nil {
				return fmt.Errorf("%w; %w", err, errUsage)
			}
			return c.Up(cmd.Context(), nodes)
		},
	}
	up.Flags().IntVar(&nodes, "nodes", nodes, "how many nodes")
	up.Flags().StringVar(&store, "store", store, "what the control plane keeps its state in: raftkv (three members, built from this checkout) or etcd (one, from PATH)")
	return []*cobra.Command{
		up,
		{
			Use: "down", Short: "Take the cluster down and leave nothing of it", Args: exactly(0),
			RunE: func(*cobra.Command, []string) error { return c.Down() },
		},
		{
			Use: "load IMAGE.tar", Short: "Give the image in a tarball to every node", Args: exactly(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.Load(cmd.Context(), args[0]) },
		},
		{
			Use: "preflight", Short: "Say what up will change on this machine, and whether the machine can host a cluster", Args: exactly(0),
			RunE: func(*cobra.Command, []string) error { return preflight(c) },
		},
		{
			Use: "prepare", Short: "Install missing Debian packages and build what the cache lacks, but start nothing", Args: exactly(0),
			RunE: func(cmd *cobra.Command, _ []string) error { return c.Prepare(cmd.Context()) },
		},
		{
			Use: "build", Short: "Build the cluster's programs into the cache and print their folder", Args: exactly(0),
			RunE: func(cmd *cobra.Command, _ []string) error {
				set, err := artifacts.Build(cmd.Context(), cmd.ErrOrStderr())
				if err == nil {
					fmt.Fprintln(c.Out, set.Bin)
				}
				return err
			},
		},
	}
}

// faults are the commands by which tests do to a cluster what fate does.
func faults(c *cluster.Cluster) []*cobra.Command {
	return []*cobra.Command{
		{
			Use: "cut NODE", Short: "Cut a node and its pods off from everything else", Args: exactly(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.SetCut(cmd.Context(), args[0], true) },
		},
		{
			Use: "heal NODE", Short: "Join a node that was cut off", Args: exactly(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.SetCut(cmd.Context(), args[0], false) },
		},
		{
			Use: "stop NODE", Short: "End all processes of a node at once, as a power loss does", Args: exactly(1),
			RunE: func(_ *cobra.Command, args []string) error { return c.Stop(args[0]) },
		},
		{
			Use: "kill MEMBER/PROGRAM", Short: "End one program at once, as in control/store-2; it is started again half a second later", Args: exactly(1),
			RunE: func(_ *cobra.Command, args []string) error { return c.KillProgram(args[0]) },
		},
		{
			Use: "start NODE", Short: "Start a stopped node and wait until it is ready", Args: exactly(1),
			RunE: func(cmd *cobra.Command, args []string) error { return c.Start(cmd.Context(), args[0]) },
		},
	}
}

// insight are the commands that only look.
func insight(c *cluster.Cluster) []*cobra.Command {
	into := &cobra.Command{
		Use: "enter MEMBER COMMAND...", Short: "Run a command inside of a node, or of the control plane (control)",
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return enter(c, args[0], args[1:]) },
	}
	// What looks like a flag after the member's name belongs to the command that is run.
	into.Flags().SetInterspersed(false)
	return []*cobra.Command{
		into,
		{
			Use: "status", Short: "Show the members and what they do", Args: exactly(0),
			RunE: func(cmd *cobra.Command, _ []string) error { return c.Status(cmd.Context()) },
		},
		{
			Use: "kubeconfig", Short: "Print the path of the cluster's kubeconfig", Args: exactly(0),
			RunE: func(*cobra.Command, []string) error {
				path, err := c.Kubeconfig()
				if err == nil {
					fmt.Fprintln(c.Out, path)
				}
				return err
			},
		},
		{
			Use: "env", Short: `Print shell lines for kubectl and helm: eval "$(localkube env)"`, Args: exactly(0),
			RunE: func(*cobra.Command, []string) error { return c.Environment() },
		},
		{
			Use: "logs [MEMBER/PROGRAM]", Short: "Print a program's log, as in node-1/kubelet; without a name, list all",
			Args: cobra.MaximumNArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				if len(args) == 0 {
					return c.Log("")
				}
				return c.Log(args[0])
			},
		},
	}
}

// enter becomes the command, so that it has the terminal and its exit code is this program's.
func enter(c *cluster.Cluster, name string, args []string) error {
	process, err := c.Member(name)
	if err != nil {
		return err
	}
	line := cluster.EnterCommand(process, args)
	path, err := exec.LookPath(line[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, line, syscall.Environ())
}

// preflight prints the changes first: they are what a reader must agree with.
func preflight(c *cluster.Cluster) error {
	fmt.Fprintf(c.Out, "localkube up changes this machine as follows:\n")
	if missing := machine.MissingPackages(); len(missing) > 0 {
		fmt.Fprintf(c.Out, "  installs Debian packages: %v (and what they depend on; no service is started)\n", missing)
	}
	fmt.Fprintf(c.Out, "  builds Kubernetes, CoreDNS and helm into the user's cache folder (once; about 1 GB with Go's own caches beside it)\n")
	fmt.Fprintf(c.Out, "  makes the folder %s/%s\n", c.Base, c.Name)
	fmt.Fprintf(c.Out, "  runs the cluster in process, mount and network namespaces of its own, in control groups named rkv-%s\n", c.Name)
	fmt.Fprintf(c.Out, "  listens on one port of 127.0.0.1 (from 16443) for kubectl\n")
	fmt.Fprintf(c.Out, "It changes no network interface, route, firewall rule, mount or kernel setting of the machine.\n")
	fmt.Fprintf(c.Out, "localkube down undoes all but the packages and the cache.\n\nThis machine:\n")
	checks := machine.Preflight(c.Base)
	for _, check := range checks {
		verdict := "yes"
		if check.Err != nil {
			verdict = "NO "
		}
		fmt.Fprintf(c.Out, "  %s  %-20s %s\n", verdict, check.Name, check.Detail)
	}
	err := machine.Verdict(checks)
	if errors.Is(err, machine.ErrUnfit) {
		return fmt.Errorf("%w\n%s", err, alternatives)
	}
	return err
}
