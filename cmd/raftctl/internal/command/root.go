package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

// Groups of commands in the help text.
const (
	groupKeys       = "keys"
	groupNodes      = "nodes"
	groupKubernetes = "kubernetes"
	groupOther      = "other"
)

const (
	defaultEndpoint = "127.0.0.1:2379"
	defaultTimeout  = 10 * time.Second
	// EnvEndpoints is the environment variable that --endpoints falls back to.
	EnvEndpoints = "RAFTCTL_ENDPOINTS"
)

// app is what all commands share: the environment and the flags that every command has.
type app struct {
	Environment

	endpoints []string
	trust     trust
	cluster   string
	timeout   time.Duration
	output    string
	hex       bool

	namespace, kubeconfig, kubeContext string
}

// Root is the whole command line.
func Root(e Environment) *cobra.Command {
	a := &app{Environment: e}
	program := e.program()
	root := &cobra.Command{
		Use:   "raftctl",
		Short: "Work with raftkv: its keys, its nodes, and its clusters in Kubernetes",
		Long: "raftctl reads and writes keys, looks after the nodes of a cluster, and shows and steers RaftClusters in Kubernetes.\n" +
			"Installed under the name " + PluginName + " it is also `kubectl raftkv`.\n\n" +
			"Commands about keys and nodes talk to --endpoints, or, with --cluster NAME, to the pods of that RaftCluster through\n" +
			"port-forwards that raftctl opens itself: it needs a kubeconfig and the rights to get RaftClusters, list pods and create\n" +
			"pods/portforward, and it follows the leader from pod to pod.\n\n" + exitCodes,
		Example:       examples(program, "put greeting hello", "get greeting", "get --prefix jobs/ --output json", "--cluster demo -n shop put greeting hello", "status demo", "doctor demo"),
		Version:       e.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil {
				return usage("%w; see %s --help", err, cmd.CommandPath())
			}
			if _, err := output.ParseFormat(a.output); err != nil {
				return &usageError{err}
			}
			if a.timeout <= 0 {
				return usage("--timeout %v: must be above zero", a.timeout)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) > 0 {
				return usage("%q is no command; see %s --help", words[0], program)
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	if program != "raftctl" {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: program}
	}
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	root.SetVersionTemplate("{{.DisplayName}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see %s --help", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringSliceVar(&a.endpoints, "endpoints", nil, "client addresses (host:port, with https:// before it by TLS) of one or more members, with commas between; "+EnvEndpoints+" if left out, else "+defaultEndpoint)
	a.trust.add(f)
	f.StringVar(&a.cluster, "cluster", "", "reach the pods of this RaftCluster through port-forwards, instead of --endpoints")
	f.StringVarP(&a.namespace, "namespace", "n", "", "namespace of the RaftCluster; that of the kubeconfig if left out")
	f.StringVar(&a.kubeconfig, "kubeconfig", "", "path of the kubeconfig; KUBECONFIG or ~/.kube/config if left out")
	f.StringVar(&a.kubeContext, "context", "", "context of the kubeconfig")
	f.DurationVar(&a.timeout, "timeout", defaultTimeout, "how long the command may take, if it does not go on until it is stopped")
	f.StringVarP(&a.output, "output", "o", string(output.Table), "how results are written: "+strings.Join(output.Formats(), " or "))
	f.BoolVar(&a.hex, "hex", false, "keys and values are given and written in hexadecimal")
	root.MarkFlagsMutuallyExclusive("endpoints", "cluster")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(output.Formats(), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	_ = root.RegisterFlagCompletionFunc("cluster", a.completeClusters)
	for _, file := range []string{"kubeconfig", "cacert", "cert", "key"} {
		_ = root.RegisterFlagCompletionFunc(file, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		})
	}
	// Keys, leases and members are no files; commands that take one say so.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)

	root.AddGroup(&cobra.Group{ID: groupKeys, Title: "Keys:"}, &cobra.Group{ID: groupNodes, Title: "Nodes:"},
		&cobra.Group{ID: groupKubernetes, Title: "Clusters in Kubernetes:"}, &cobra.Group{ID: groupOther, Title: "Other:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupKeys, a.putCommand(), a.getCommand(), a.delCommand(), a.txnCommand(), a.watchCommand(), a.leaseCommand(), a.compactCommand(), a.benchCommand())
	add(groupNodes, a.memberCommand(), a.statusCommand(), a.healthCommand(), a.moveLeaderCommand(), a.snapshotCommand(), a.alarmCommand(), a.defragCommand(), a.hashCommand())
	add(groupKubernetes, a.listCommand(), a.doctorCommand(), a.logsCommand(), a.stepDownCommand(), a.restartCommand(), a.replaceCommand(), a.hibernateCommand(), a.resumeCommand())
	add(groupOther, a.versionCommand())
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	return root
}

// examples writes command lines of this program, one a line.
func examples(program string, lines ...string) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		// A line that begins with a pipe or a shell word is given whole, with % for the program.
		if strings.Contains(l, "%") {
			b.WriteString("  " + strings.ReplaceAll(l, "%", program))
		} else {
			b.WriteString("  " + program + " " + l)
		}
	}
	return b.String()
}

func (a *app) examples(lines ...string) string { return examples(a.program(), lines...) }

// printer writes results as --output says.
func (a *app) printer() output.Printer {
	return output.Printer{Out: a.Out, Format: output.Format(a.output)}
}

// bounded gives the command's time.
func (a *app) bounded(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), a.timeout)
}

// stopped tells an error that comes of the user's stopping a command which goes on until then.
func stopped(cmd *cobra.Command, err error) bool {
	return cmd.Context().Err() != nil && errors.Is(err, context.Canceled)
}

// warn tells something beside the result.
func (a *app) warn(format string, arguments ...any) {
	fmt.Fprintf(a.Err, format+"\n", arguments...)
}
