package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// states are what the operator's tests have written down of its conditions in each state of a cluster, by the files' names, which begin with how kstatus has to read them.
func states(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "controllers", "testdata", "kstatus", "*.yaml"))
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	out := map[string]*unstructured.Unstructured{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			t.Fatal(err)
		}
		// Numbers are integers in what an API server sends.
		for _, field := range [][]string{{"metadata", "generation"}, {"status", "observedGeneration"}} {
			if n, ok, _ := unstructured.NestedFloat64(u.Object, field...); ok {
				if err := unstructured.SetNestedField(u.Object, int64(n), field...); err != nil {
					t.Fatal(err)
				}
			}
		}
		out[strings.TrimSuffix(filepath.Base(path), ".yaml")] = u
	}
	return out
}

// Here the library by which Helm and Flux read a status reads them.
func TestToolsReadTheStatusAsItIsMeant(t *testing.T) {
	for name, u := range states(t) {
		want, state, _ := strings.Cut(name, "-")
		got, err := status.Compute(u)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Status.String() != want {
			t.Errorf("%s is read as %s (%s), want %s", state, got.Status, got.Message, want)
		}
	}
}

// Argo CD runs a script of docs/reference/conditions.md, with nothing but Lua's basic functions here. What is being deleted it knows by itself.
func TestArgoCDReadsTheStatusAsItIsMeant(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "conditions.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## Argo CD")
	_, block, _ := strings.Cut(section, "```yaml\n")
	block, _, found := strings.Cut(block, "```")
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(block), &config); !found || err != nil {
		t.Fatalf("there is no ConfigMap on the page: %v", err)
	}
	script := config.Data["resource.customizations.health.raftkv.io_RaftCluster"]
	want := map[string]string{"Current": "Healthy", "InProgress": "Progressing", "Failed": "Degraded"}
	read := func(u *unstructured.Unstructured) (string, string) {
		l := lua.NewState(lua.Options{SkipOpenLibs: true})
		defer l.Close()
		l.Push(l.NewFunction(lua.OpenBase))
		l.Push(lua.LString(lua.BaseLibName))
		l.Call(1, 0)
		l.SetGlobal("obj", luaValue(t, l, u.Object))
		if err := l.DoString(script); err != nil {
			t.Fatal(err)
		}
		health, ok := l.Get(-1).(*lua.LTable)
		if !ok {
			t.Fatalf("it gives %v", l.Get(-1))
		}
		return lua.LVAsString(health.RawGetString("status")), lua.LVAsString(health.RawGetString("message"))
	}
	seen := map[string]bool{}
	for name, u := range states(t) {
		kind, _, _ := strings.Cut(name, "-")
		if kind == "Terminating" {
			continue
		}
		seen[kind] = true
		if got, _ := read(u); got != want[kind] {
			t.Errorf("%s is read as %s, want %s", name, got, want[kind])
		}
	}
	if len(seen) != len(want) {
		t.Errorf("only %v were read", seen)
	}
	if got, message := read(&unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"generation": int64(1)}}}); got != "Progressing" || message == "" {
		t.Errorf("what nobody has looked at is read as %s: %q", got, message)
	}
	stalled := map[string]any{"type": "Stalled", "status": "True", "message": "restore the volume"}
	for order, conditions := range map[string][]any{"before": {stalled, map[string]any{"type": "Ready", "status": "True"}}, "after": {map[string]any{"type": "Ready", "status": "True"}, stalled}} {
		u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"generation": int64(2)}, "status": map[string]any{"observedGeneration": int64(2), "conditions": conditions}}}
		if got, message := read(u); got != "Degraded" || message != "restore the volume" {
			t.Errorf("Stalled %s Ready is read as %s: %q", order, got, message)
		}
	}
}

// luaValue is a decoded object as Lua knows it.
func luaValue(t *testing.T, l *lua.LState, v any) lua.LValue {
	t.Helper()
	switch x := v.(type) {
	case map[string]any:
		table := l.NewTable()
		for k, v := range x {
			table.RawSetString(k, luaValue(t, l, v))
		}
		return table
	case []any:
		table := l.NewTable()
		for _, v := range x {
			table.Append(luaValue(t, l, v))
		}
		return table
	case string:
		return lua.LString(x)
	case bool:
		return lua.LBool(x)
	case int64:
		return lua.LNumber(x)
	case float64:
		return lua.LNumber(x)
	case nil:
		return lua.LNil
	}
	t.Fatalf("%T cannot be given to Lua", v)
	return nil
}
