package demo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const mark = "raftkv.io/made-by=demo"

// answer is what a program says to words that match a pattern of the shell, the first that does.
type answer struct {
	words string
	says  string
	code  int
	// until is a pattern of the call after which it says nothing any more.
	until string
}

// demo runs the script with programs that give these answers, and nothing with code 0 to all else. calls is what was called, each with
// its program's name; input is what the calls had on their standard input.
func demo(t *testing.T, verb string, answers []answer) (calls []string, input, said string, ok bool) {
	t.Helper()
	folder := t.TempDir()
	program := `#!/usr/bin/env bash
call="${0##*/} $*"
echo "$call" >>` + folder + `/calls
[[ $call != *' -f -'* ]] || cat >>` + folder + `/input
`
	for _, a := range answers {
		program += fmt.Sprintf("if [[ $call == %s ]]", pattern(a.words))
		if a.until != "" {
			program += fmt.Sprintf(" && [[ $(<%s/calls) != *%s* ]]", folder, pattern(a.until))
		}
		program += fmt.Sprintf("; then printf '%%s' '%s'; exit %d; fi\n", a.says, a.code)
	}
	for _, name := range []string{"kubectl", "helm", "curl"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(program), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(folder, "kubeconfig")
	if err := os.WriteFile(kubeconfig, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "bash", "../../hack/demo.sh", verb)
	c.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "DEMO_KUBECONFIG="+kubeconfig, "VERSION=0.1.0", "REGISTRY=")
	out, err := c.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(folder, "input"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), string(got), string(out), failed == nil
}

// pattern quotes all of the words but their asterisks.
func pattern(words string) string {
	parts := strings.Split(words, "*")
	for i, p := range parts {
		parts[i] = "'" + p + "'"
	}
	return strings.Join(parts, "*")
}

// removes are those of the calls that take something away.
func removes(calls []string) []string {
	var out []string
	for _, c := range calls {
		if strings.Contains(c, " delete ") || strings.HasPrefix(c, "helm uninstall ") {
			out = append(out, c)
		}
	}
	return out
}

// made is a cluster on which the demo made everything.
func made() []answer {
	return []answer{
		{words: "helm get values raftkv *", says: `{"podLabels":{"raftkv.io/made-by":"demo"}}`},
		{words: "kubectl get crd raftclusters.raftkv.io *", says: "crd"},
		{words: "kubectl get crd -l " + mark + " *", says: "crd"},
		{words: "kubectl get raftclusters.raftkv.io --all-namespaces -l " + mark + " *", says: "shop demo", until: "kubectl -n shop delete *"},
		{words: "kubectl get pvc -n shop -l *instance=demo *", says: "persistentvolumeclaim/data-demo-0"},
		{words: "kubectl get pvc --all-namespaces -l " + mark + " *", says: "shop data-demo-0 demo"},
		{words: "kubectl get namespace -l " + mark + " *", says: "namespace/raftkv-system"},
		{words: "kubectl get namespace raftkv-system *", says: "namespace/raftkv-system"},
	}
}

// instead is what the demo made, but for some answers that differ.
func instead(a ...answer) []answer { return append(a, made()...) }

const (
	store     = "kubectl -n shop delete raftclusters.raftkv.io demo --ignore-not-found --wait"
	claim     = "kubectl -n shop delete pvc data-demo-0 --ignore-not-found"
	operator  = "helm uninstall raftkv --namespace raftkv-system --ignore-not-found --wait"
	crd       = "kubectl delete crd raftclusters.raftkv.io --ignore-not-found"
	namespace = "kubectl delete namespace raftkv-system --ignore-not-found"
)

func TestDownRemovesWhatTheDemoMadeAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		answers []answer
		removed []string
		told    string
	}{
		"all of it": {made(), []string{store, claim, operator, crd, namespace}, ""},
		"another RaftCluster": {
			instead(answer{words: "kubectl get raftclusters.raftkv.io --all-namespaces --no-headers *", says: "shop orders"}),
			[]string{store, claim}, "shop orders\nThey stay",
		},
		"a RaftCluster demo of somebody else, on the demo's claims": {
			instead(
				answer{words: "kubectl get raftclusters.raftkv.io --all-namespaces -l *"},
				answer{words: "kubectl get raftclusters.raftkv.io --all-namespaces --no-headers *", says: "shop demo"},
				answer{words: "kubectl get raftclusters.raftkv.io -n shop demo *", says: "raftcluster/demo"},
			),
			nil, "claim data-demo-0 in namespace shop stays",
		},
		"a CRD that was there": {
			instead(answer{words: "kubectl get crd -l *"}), []string{store, claim, operator, namespace}, "the CRD raftclusters.raftkv.io stays",
		},
		"a release of somebody else": {
			instead(answer{words: "helm get values *", says: "null"}), []string{store, claim}, "release raftkv in namespace raftkv-system stays",
		},
		"no release": {
			instead(answer{words: "helm get values *", says: "Error: release: not found", code: 1}), []string{store, claim, crd, namespace}, "",
		},
		"a namespace that was there": {
			instead(answer{words: "kubectl get namespace -l *"}), []string{store, claim, operator, crd}, "namespace raftkv-system stays",
		},
		"somebody's volume in the demo's namespace": {
			instead(answer{words: "kubectl get pvc -n raftkv-system *", says: "pvc/data-orders-0"}), []string{store, claim, operator, crd}, "pvc/data-orders-0",
		},
		"nothing left": {
			[]answer{{words: "helm get values *", says: "Error: release: not found", code: 1}}, nil, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			calls, _, said, ok := demo(t, "down", c.answers)
			if got := removes(calls); !ok || !slices.Equal(got, c.removed) {
				t.Errorf("it ended well: %v; removed\n%s\nwant\n%s\n\n%s", ok, strings.Join(got, "\n"), strings.Join(c.removed, "\n"), said)
			}
			if !strings.Contains(said, c.told) {
				t.Errorf("it does not tell %q: %s", c.told, said)
			}
		})
	}
}

// An API server that does not answer once, at any point, ends the removal there: the CRD would take every RaftCluster along.
func TestDownRemovesNothingAfterAQuestionWithoutAnAnswer(t *testing.T) {
	calls, _, _, _ := demo(t, "down", made())
	questions := 0
	for i, call := range calls {
		if !strings.Contains(call, " get ") {
			continue
		}
		questions++
		// A question that is asked twice gets no answer from the first time on.
		first := slices.Index(calls, call)
		got, _, said, ok := demo(t, "down", instead(answer{words: call, code: 1}))
		if ok || !strings.Contains(said, "The demo stops here") || !slices.Equal(removes(got), removes(calls[:first])) {
			t.Errorf("without an answer to call %d, %s: it ended well: %v; removed\n%s\n\n%s", i, call, ok, strings.Join(removes(got), "\n"), said)
		}
	}
	if questions < 9 {
		t.Errorf("only %d questions were asked", questions)
	}
}

// empty is a cluster that has nothing of the demo's names, and does what the demo asks for.
func empty() []answer {
	return []answer{
		{words: "helm get values *", says: "Error: release: not found", code: 1},
		{words: "kubectl config current-context", says: "mine"},
		{words: "kubectl config view *", says: "shop"},
		{words: "kubectl get storageclass *", says: "true"},
		{words: "kubectl -n raftkv-system get pod *", says: "Succeeded"},
		{words: "kubectl kustomize *", says: "sample"},
		{words: "kubectl patch --local *", says: "patched"},
		{words: "kubectl port-forward *", says: "Forwarding from 127.0.0.1:1 -> 2379\n"},
		{words: "curl * -X PUT *"},
		{words: "curl *", says: "hello from raftkv 0.1.0"},
	}
}

func TestUpMarksWhatItMakes(t *testing.T) {
	calls, input, said, ok := demo(t, "up", empty())
	if !ok {
		t.Fatal(said)
	}
	all := strings.Join(calls, "\n")
	for _, want := range []string{
		`--set-string podLabels.raftkv\.io/made-by=demo`,
		"kubectl label crd raftclusters.raftkv.io " + mark,
		`{"metadata":{"labels":{"raftkv.io/made-by":"demo"}},`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no call has %s:\n%s", want, all)
		}
	}
	if !strings.Contains(input, `"kind":"Namespace","metadata":{"name":"raftkv-system","labels":{"raftkv.io/made-by":"demo"}}`) {
		t.Errorf("the namespace is made of\n%s", input)
	}
	calls, input, said, ok = demo(t, "up", append([]answer{
		{words: "kubectl get crd raftclusters.raftkv.io *", says: "crd"}, {words: "kubectl get namespace raftkv-system *", says: "namespace"},
	}, empty()...))
	if !ok || strings.Contains(input, "Namespace") || slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "kubectl label ") }) {
		t.Errorf("what was there before has got the demo's mark: %v\n%s\n%s", ok, strings.Join(calls, "\n"), said)
	}
}

func TestUpTakesNothingOver(t *testing.T) {
	there := answer{words: "kubectl get crd raftclusters.raftkv.io *", says: "crd"}
	for name, c := range map[string]struct {
		answers []answer
		told    string
	}{
		"a release":       {[]answer{{words: "helm get values *", says: "null"}}, "that the demo did not make"},
		"a RaftCluster":   {[]answer{there, {words: "kubectl -n shop get raftclusters.raftkv.io demo *", says: "raftcluster"}}, "Choose another namespace"},
		"claims":          {[]answer{{words: "kubectl -n shop get pvc *", says: "data-demo-0"}}, "data-demo-0"},
		"no answer":       {[]answer{{words: "kubectl -n shop get pvc *", code: 1}}, "cannot list its claims"},
		"no word of it":   {[]answer{there, {words: "kubectl -n shop get raftclusters.raftkv.io *", code: 1}}, "cannot list its RaftClusters"},
		"no word of helm": {[]answer{{words: "helm get values *", says: "Error: Kubernetes cluster unreachable", code: 1}}, "cluster unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			calls, _, said, ok := demo(t, "up", append(c.answers, empty()...))
			if ok || !strings.Contains(said, c.told) {
				t.Errorf("it ended well: %v\n%s", ok, said)
			}
			for _, call := range calls {
				if strings.HasPrefix(call, "helm upgrade ") || strings.Contains(call, " create ") || strings.Contains(call, " apply ") {
					t.Errorf("it called %s", call)
				}
			}
		})
	}
	// It goes on from what it has made.
	if _, _, said, ok := demo(t, "up", append([]answer{
		there, {words: "helm get values *", says: `{"podLabels":{"raftkv.io/made-by":"demo"}}`},
		{words: "kubectl -n shop get raftclusters.raftkv.io -l *", says: "raftcluster"}, {words: "kubectl -n shop get pvc *", says: "data-demo-0"},
	}, empty()...)); !ok {
		t.Error(said)
	}
}
