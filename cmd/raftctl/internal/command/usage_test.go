package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/test/loopback"
)

func TestMistakesAreToldBeforeAnythingIsDone(t *testing.T) {
	for line, want := range map[string]string{
		"frobnicate":                        `"frobnicate" is no command; see raftctl --help`,
		"put":                               "KEY is missing; see raftctl put --help",
		"put a b c":                         `"c" is one word too many`,
		"put --hex zz 00":                   `key "zz" is not hexadecimal`,
		"put a --lease xyz":                 `lease "xyz": must be up to 16 hexadecimal digits`,
		"put a b --ignore-value":            "--ignore-value keeps the value",
		"get":                               "KEY is missing; --all means all keys",
		"get --all a":                       "--all takes no key",
		"get --prefix a b":                  "--prefix and --from take one key",
		"get --prefix --from a":             "[from prefix]",
		"get a --sort-by size":              "must be one of key, version, create, mod, value",
		"get --prefix a --raw":              "--raw writes the value of one key",
		"get a --raw --keys-only":           "--raw writes a value",
		"get a --limit -1":                  "--limit -1",
		"get a --no-such":                   "unknown flag: --no-such",
		"get a -o yaml":                     "must be table or json",
		"get a --timeout 0s":                "must be above zero",
		"get a --endpoints here":            `endpoint "here" is not of the form host:port`,
		"get a --endpoints x:1 --cluster y": "[cluster endpoints]",
		"compact now":                       `revision "now"`,
		"compact 0":                         `revision "0"`,
		"lease frob":                        `"frob" is no command of raftctl lease`,
		"lease grant soon":                  `time to live "soon"`,
		"lease grant 0":                     `time to live "0"`,
		"lease revoke zz":                   `lease "zz"`,
		"txn /no/such/file":                 "no such file",
		"watch a --events -1":               "--events -1",
		"bench load":                        "must be one of put, get, mix",
		"bench put --callers 0":             "--callers 0: must be from 1 to 10000",
		"bench put --duration 2h":           "at most 1h0m0s together",
		"bench put --keys 0":                "--keys 0",
		"bench put --value-bytes -1":        "--value-bytes -1",
		"bench mix --reads 101":             "--reads 101",
		"bench put --connections 65":        "--connections 65",
		"bench put --calls -1":              "--calls -1",
		"snapshot status /no/such/file":     "no such file",
		"status a --endpoints x:1":          "CLUSTER shows a RaftCluster in Kubernetes",
		"replace demo":                      "must be the name of a pod",
		"replace demo-1":                    "say so with --delete-volume",
		"logs":                              "CLUSTER is missing",
		"logs demo --since -1s":             "--since -1s",
		"logs demo --follow --previous":     "[follow previous]",
	} {
		s := with{in: "x"}.run(t.Context(), strings.Fields(line)...)
		if s.code != ExitUsage || s.out != "" || !strings.HasPrefix(s.err, "raftctl: ") || !strings.Contains(s.err, want) {
			t.Errorf("raftctl %s: %d, %s%s; want %q", line, s.code, s.out, s.err, want)
		}
	}
}

func TestExitCodesAndAdvice(t *testing.T) {
	for _, x := range []struct {
		err  error
		code int
		text string
	}{
		{usage("no"), ExitUsage, "no"},
		{fmt.Errorf("put: %w", client.ErrUnknown), ExitUnknown, "read before you try again"},
		{client.ErrResultLost, ExitUnknown, "do not repeat it"},
		{client.ErrUnavailable, ExitFailed, "kubectl raftkv status"},
		{client.ErrBusy, ExitFailed, "try again"},
		{client.ErrNoSpace, ExitFailed, "kubectl raftkv defrag"},
		{client.ErrLeaseNotFound, ExitNotFound, "kubectl raftkv lease list"},
		{client.ErrKeyNotFound, ExitNotFound, "does not exist"},
		{fmt.Errorf("x: %w", cluster.ErrNotFound), ExitNotFound, "not found"},
		{notFound("nowhere"), ExitNotFound, "nowhere"},
		{&client.CompactedError{Revision: 7}, ExitFailed, "take a later revision"},
		{errors.New("disk"), ExitFailed, "disk"},
		{errSilent, ExitFailed, ""},
	} {
		if code, text := codeOf(x.err), explain(x.err, "kubectl raftkv"); code != x.code || !strings.Contains(text, x.text) || strings.Contains(text, "%") || strings.HasPrefix(text, "raftkv:") {
			t.Errorf("%v: %d, %q", x.err, code, text)
		}
	}
}

// everyCommand goes through the whole tree.
func everyCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, below := range c.Commands() {
		everyCommand(below, do)
	}
}

func TestEveryCommandHasHelpWithExamplesOfItself(t *testing.T) {
	for _, name := range []string{"raftctl", PluginName} {
		program := Environment{Name: name}.program()
		root := Root(Environment{Name: name, Out: io.Discard, Err: io.Discard, Getenv: os.Getenv})
		seen := 0
		everyCommand(root, func(c *cobra.Command) {
			seen++
			if c.Short == "" || c.Long == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("%s: short %q, long %q", c.CommandPath(), c.Short, c.Long)
			}
			if !strings.HasPrefix(c.CommandPath(), program) || !strings.Contains(c.Example, program+" ") {
				t.Errorf("%s has the examples %q", c.CommandPath(), c.Example)
			}
			for line := range strings.Lines(c.Example) {
				checkExample(t, root, program, line)
			}
		})
		if seen < 30 {
			t.Errorf("only %d commands were seen", seen)
		}
	}
}

// commandsOf are the commands of an example that are this program's, without the redirections of the shell. All others but printf are mistakes.
func commandsOf(t *testing.T, program, line string) (commands []string) {
	t.Helper()
	for part := range strings.SplitSeq(strings.ReplaceAll(line, "&&", "|"), "|") {
		part = strings.TrimSpace(part)
		words, mine := strings.CutPrefix(part, program+" ")
		if !mine {
			if !strings.HasPrefix(part, "printf ") {
				t.Errorf("example %q calls something else than %s", line, program)
			}
			continue
		}
		words, _, _ = strings.Cut(words, ">")
		words, _, _ = strings.Cut(words, "<")
		commands = append(commands, words)
	}
	if len(commands) == 0 {
		t.Errorf("example %q does not name %s", line, program)
	}
	return commands
}

// checkExample finds the commands of an example, and parses their flags.
func checkExample(t *testing.T, root *cobra.Command, program, line string) {
	t.Helper()
	for _, words := range commandsOf(t, program, line) {
		c, rest, err := root.Find(strings.Fields(words))
		if err != nil || c == root {
			t.Errorf("example %q names no command: %v", line, err)
			continue
		}
		if err := c.ParseFlags(rest); err != nil {
			t.Errorf("example %q: %v", line, err)
		}
		if c.Args != nil {
			if err := c.Args(c, c.Flags().Args()); err != nil && !strings.Contains(line, "--cluster") {
				t.Errorf("example %q: %v", line, err)
			}
		}
	}
}

func TestTheNameDecidesHowItNamesItself(t *testing.T) {
	for name, want := range map[string]string{"raftctl": "raftctl", PluginName: "kubectl raftkv", PluginName + ".exe": "kubectl raftkv", "kubectl_complete-raftkv": "kubectl raftkv", "rk": "raftctl"} {
		s := with{name: name}.run(t.Context(), "lease", "--help")
		if s.code != ExitOK || !strings.Contains(s.out, "\n  "+want+" lease grant 60s --id 5f3a\n") || !strings.Contains(s.out, "Usage:\n  "+want+" lease") {
			t.Errorf("%s: %d\n%s%s", name, s.code, s.out, s.err)
		}
		if s := (with{name: name}).run(t.Context(), "version"); s.code != ExitOK || !strings.HasPrefix(s.out, want+" test go") {
			t.Errorf("%s version: %+v", name, s)
		}
		if s := (with{name: name}).run(t.Context(), "get"); !strings.HasPrefix(s.err, want+": ") {
			t.Errorf("%s get: %+v", name, s)
		}
	}
}

func TestTheReferenceIsThatOfTheCommands(t *testing.T) {
	var b strings.Builder
	if err := WriteReference(&b); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "reference", "raftctl.md"))
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(page) {
		t.Error("docs/reference/raftctl.md is not what the commands say: run make generate")
	}
	everyCommand(Root(Environment{Name: "raftctl", Getenv: os.Getenv}), func(c *cobra.Command) {
		if c.HasParent() && !strings.Contains(string(page), "\n### "+c.CommandPath()+"\n") {
			t.Errorf("%s is not on the page", c.CommandPath())
		}
	})
}

func TestAnInterruptedCommandEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := loopback.MustAddress(t)
	if s := (with{}).run(ctx, "--endpoints", gone, "get", "a"); s.code != ExitFailed {
		t.Errorf("%+v", s)
	}
}

func TestProposedCommandsNameTheKubernetesThatWasGiven(t *testing.T) {
	for want, a := range map[string]app{
		"": {},
		" --kubeconfig /home/me/k.yaml --context arn:aws:eks:eu-1:1:cluster/a": {kubeconfig: "/home/me/k.yaml", kubeContext: "arn:aws:eks:eu-1:1:cluster/a"},
		` --context 'the other'\''s; rm'`:                                      {kubeContext: "the other's; rm"},
	} {
		if got := a.where(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
