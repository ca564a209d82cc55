package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
)

// PluginName is the program's name as a plugin of kubectl; called so, it calls itself "kubectl raftkv".
const PluginName = "kubectl-raftkv"

// Environment is what raftctl is given by whoever calls it.
type Environment struct {
	// Name is how the program was called, without its folder.
	Name, Version string
	In            io.Reader
	Out, Err      io.Writer
	// Getenv reads the environment.
	Getenv func(string) string
}

// program is how the program names itself.
func (e Environment) program() string {
	name, _ := strings.CutSuffix(e.Name, ".exe")
	if name == PluginName || name == "kubectl_complete-raftkv" {
		return "kubectl raftkv"
	}
	return "raftctl"
}

// Run runs one command and returns its exit code. The context ends commands that go on until they are stopped.
func Run(ctx context.Context, e Environment, arguments []string) int {
	root := Root(e)
	root.SetArgs(arguments)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if text := explain(err, e.program()); text != "" {
		fmt.Fprintf(e.Err, "%s: %s\n", e.program(), text)
	}
	return codeOf(err)
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(format string, arguments ...any) error {
	return &usageError{fmt.Errorf(format, arguments...)}
}

// notFound is the error of a command that did not find what was named.
type notFound string

func (e notFound) Error() string { return string(e) }

// errSilent is the error of a command that has said all that there is to say.
var errSilent = errors.New("")

// codeOf is the exit code for an error.
func codeOf(err error) int {
	var mistake *usageError
	var absent notFound
	switch {
	case errors.As(err, &mistake):
		return ExitUsage
	case errors.Is(err, client.ErrUnknown), errors.Is(err, client.ErrResultLost):
		return ExitUnknown
	case errors.As(err, &absent), errors.Is(err, cluster.ErrNotFound), errors.Is(err, client.ErrLeaseNotFound), errors.Is(err, client.ErrKeyNotFound):
		return ExitNotFound
	}
	return ExitFailed
}

// advice is what to do about errors of the client.
var advice = []struct {
	err  error
	text string
}{
	{client.ErrUnknown, "it was carried out at most once: read before you try again, with a longer --timeout if much goes over a slow line"},
	{client.ErrResultLost, "it was carried out: do not repeat it, read what it did"},
	{client.ErrUnavailable, "nothing was done. See whether the addresses are right (--endpoints, --cluster) and enough members run: %[1]s status"},
	{client.ErrBusy, "nothing was done: try again, or with a longer --timeout"},
	{client.ErrNoSpace, "delete what is not needed, then %[1]s compact REVISION and %[1]s defrag; the alarm clears by itself"},
	{client.ErrCompacted, "take a later revision: %[1]s status -o json shows where the history begins and what is the latest"},
	{client.ErrFutureRevision, "take an earlier revision: %[1]s status shows the latest"},
	{client.ErrTooLarge, "ask for less with --limit or --keys-only, or write less at once"},
	{client.ErrLeaseNotFound, "it has ended or was revoked, and its keys are deleted: see %[1]s lease list"},
	{client.ErrUnsupported, "wait until all members run the new version: %[1]s status"},
}

// explain is the text of an error with what to do about it; empty if all was said.
func explain(err error, program string) string {
	if errors.Is(err, errSilent) {
		return ""
	}
	text := withoutPrefix(err)
	var mistake *usageError
	if errors.As(err, &mistake) {
		return text
	}
	for _, a := range advice {
		if errors.Is(err, a.err) {
			next := a.text
			if strings.Contains(next, "%[1]s") {
				next = fmt.Sprintf(next, program)
			}
			return text + "\n" + next
		}
	}
	return text
}

// withoutPrefix is the text of an error. Whoever runs raftctl knows whose errors these are.
func withoutPrefix(err error) string { return strings.TrimPrefix(err.Error(), "raftkv: ") }

// exactly is cobra's check of the number of words, as a usageError that names them.
func exactly(words ...string) cobra.PositionalArgs {
	return between(len(words), words...)
}

// between takes at least the first so many of the words.
func between(least int, words ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < least:
			return usage("%s is missing; see %s --help", words[len(given)], cmd.CommandPath())
		case len(given) > len(words):
			return usage("%q is one word too many; see %s --help", given[len(words)], cmd.CommandPath())
		}
		return nil
	}
}

// completeFile completes the one word of a command that is the name of a file.
func completeFile(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}
