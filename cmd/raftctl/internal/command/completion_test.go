package command

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// asked is what a shell is told when it asks for completions of the last word, without descriptions, and what it shall do with them.
func asked(t *testing.T, words ...string) (completions []string, directive string) {
	t.Helper()
	s := with{}.run(t.Context(), append([]string{cobra.ShellCompNoDescRequestCmd}, words...)...)
	lines := strings.Split(strings.TrimSpace(s.out), "\n")
	if s.code != ExitOK || !strings.HasPrefix(lines[len(lines)-1], ":") {
		t.Fatalf("%q: %+v", words, s)
	}
	return lines[:len(lines)-1], lines[len(lines)-1]
}

// Directives as they are written: to complete nothing but what was told, and to complete files.
const (
	onlyThese = ":4"
	files     = ":0"
)

func TestEveryCommandAndFlagIsCompleted(t *testing.T) {
	root := Root(Environment{Name: "raftctl", Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }})
	everyCommand(root, func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		if c.HasSubCommands() {
			got, _ := asked(t, append(path, "")...)
			for _, below := range c.Commands() {
				if !slices.Contains(got, below.Name()) {
					t.Errorf("%s: %q are offered, and not %s", c.CommandPath(), got, below.Name())
				}
			}
		}
		got, _ := asked(t, append(path, "--")...)
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !slices.Contains(got, "--"+f.Name) {
				t.Errorf("%s: %q are offered, and not --%s", c.CommandPath(), got, f.Name)
			}
		})
	})
}

func TestWordsAreCompletedByWhatTheyAre(t *testing.T) {
	for _, x := range []struct {
		line      string
		want      []string
		directive string
	}{
		{"get a --sort-by ", sortNames, onlyThese},
		{"get a -o ", []string{"table", "json"}, onlyThese},
		{"bench ", benchKinds, onlyThese},
		{"put ", nil, onlyThese},
		{"get ", nil, onlyThese},
		{"lease revoke ", nil, onlyThese},
		{"txn ", nil, files},
		{"txn a ", nil, onlyThese},
		{"snapshot save ", nil, files},
		{"snapshot status ", nil, files},
		{"list --kubeconfig ", nil, files},
	} {
		got, directive := asked(t, strings.Split(x.line, " ")...)
		if !slices.Equal(got, x.want) || directive != x.directive {
			t.Errorf("%q gives %q and %s, want %q and %s", x.line, got, directive, x.want, x.directive)
		}
	}
}

func script(t *testing.T, shell string) string {
	t.Helper()
	s := with{}.run(t.Context(), "completion", shell)
	if s.code != ExitOK || s.err != "" || len(s.out) < 1000 || !strings.Contains(s.out, "__complete") {
		t.Fatalf("%s: %d, %d bytes, %s", shell, s.code, len(s.out), s.err)
	}
	path := filepath.Join(t.TempDir(), "completion."+shell)
	if err := os.WriteFile(path, []byte(s.out), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every shell that is there takes its script. bash is there.
func TestShellsLoadTheirScripts(t *testing.T) {
	for shell, arguments := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"--no-execute"}, "powershell": {"-NoProfile", "-File"}} {
		path := script(t, shell)
		program, err := exec.LookPath(map[string]string{"powershell": "pwsh"}[shell] + strings.TrimPrefix(shell, "powershell"))
		if err != nil && shell != "bash" {
			continue
		}
		if out, err := exec.CommandContext(t.Context(), program, append(arguments, path)...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v, %s", shell, err, out)
		}
	}
}

// bash completes as a person would have it, with the script loaded and the program asked.
func TestBashCompletes(t *testing.T) {
	const ask = `
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
compopt() { :; }
source "$1"
shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
__start_raftctl
printf '%s\n' "${COMPREPLY[@]}"
`
	path := script(t, "bash")
	for _, x := range []struct{ line, want string }{
		{"raftctl sna", "snapshot"}, {"raftctl snapshot sa", "save"}, {"raftctl get a --sort-by ver", "version"}, {"raftctl put a b --ignore-v", "--ignore-value"},
	} {
		cmd := exec.CommandContext(t.Context(), "bash", append([]string{"-c", ask, "bash", path}, strings.Fields(x.line)...)...)
		cmd.Env = asRaftctl(t)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != x.want {
			t.Errorf("%s<TAB> gives %q, %v; want %s", x.line, got, err, x.want)
		}
	}
}
