package controllers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/server/admin"
)

// failpoint is one effect in the operator's code: the call that makes it.
type failpoint struct {
	name, file  string
	first, last int // lines
	// before and after count the operators that died before it and after it.
	before, after int
}

// failpoints are all effects, read from the source: whoever adds one adds its failpoint, and has to add the story that comes by.
type failpoints struct {
	all []*failpoint
	mu  sync.Mutex // of the steps, and of what is counted
	// steps are those in which operators died.
	steps map[string]bool
}

// goesOn tells that the operator is to die after the effect, and counts one that dies before it.
func (p *failpoints) goesOn(x *failpoint) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.before > 0 && x.after%3 != 2 || x.before > x.after {
		return true
	}
	x.before++
	return false
}

func (p *failpoints) diedAfter(x *failpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x.after++
}

// effects are the names of calls that change something in Kubernetes or at a node.
func effects() []string {
	names := []string{"Create", "Delete", "DeleteAllOf", "Update", "Patch", "Apply"}
	service := reflect.TypeFor[admin.Service]()
	for i := range service.NumField() {
		if name := service.Field(i).Name; !reading[name] {
			names = append(names, name)
		}
	}
	return names
}

func newFailpoints(t *testing.T) *failpoints {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	points := &failpoints{steps: map[string]bool{}}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				points.read(set, path, f)
			}
		}
	}
	return points
}

func (p *failpoints) read(set *token.FileSet, path string, f *ast.FuncDecl) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(effects(), s.Sel.Name) {
			first, last := set.Position(call.Pos()).Line, set.Position(call.End()).Line
			p.all = append(p.all, &failpoint{name: fmt.Sprintf("%s in %s (%s:%d)", s.Sel.Name, f.Name.Name, path, first), file: path, first: first, last: last})
		}
		return true
	})
}

// caller is the effect that the operator's code is just making.
func (p *failpoints) caller(t *testing.T) *failpoint {
	var counters [100]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(1, counters[:])])
	for {
		frame, more := frames.Next()
		name := filepath.Base(frame.File)
		if strings.Contains(frame.Function, "raftkv/controllers.") && !strings.HasSuffix(name, "_test.go") {
			for _, x := range p.all {
				if x.file == name && x.first <= frame.Line && frame.Line <= x.last {
					return x
				}
			}
			t.Fatalf("%s:%d makes an effect that is none of those in the source", name, frame.Line)
		}
		if !more {
			t.Fatal("an effect that is not the operator's")
		}
	}
}

// addSteps takes the steps that a cluster's metrics tell of.
func (p *failpoints) addSteps(measured map[string]float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range measured {
		if rest, ok := strings.CutPrefix(name, "raftkv_operator_steps_total:"); ok {
			_, step, _ := strings.Cut(rest, ":")
			p.steps[step] = true
		}
	}
}

func (p *failpoints) allDied(t *testing.T) {
	t.Helper()
	for _, x := range p.all {
		if x.before == 0 || x.after == 0 {
			t.Errorf("%s: %d operators died before it and %d after it; a story must come by", x.name, x.before, x.after)
		}
		t.Logf("%s: died %d times before, %d times after", x.name, x.before, x.after)
	}
	if len(p.all) < 20 {
		t.Errorf("only %d effects were found in the source", len(p.all))
	}
	for kind, name := range stepNames {
		if !p.steps[name] {
			t.Errorf("no operator died in a %s: of the steps there were only %v", kind, p.steps)
		}
	}
}

// stepNames are the steps that a plan can have, and their names in metrics.
var stepNames = map[string]string{
	"RecordBootstrap": "record-bootstrap", "RunBootstrap": "bootstrap", "ChangeMembers": "promote", "Transfer": "transfer-leadership",
	"Scale": "scale", "Restart": "restart", "ForceDelete": "force-delete", "RecordRecovery": "record-recovery", "RunRecovery": "recover",
	"Abandon": "abandon", "RecordHibernation": "record-hibernation", "ReplaceVolume": "replace-volume", "RecreateWorkload": "recreate-statefulset",
	"PutBack": "put-template-back", "Withdraw": "withdraw",
}

// What the stories are held against is itself held against the code.
func TestFailpointsAreAllThatThereAre(t *testing.T) {
	m := &mortal{t: t}
	funcs := reflect.ValueOf(m.interceptor())
	for i := range funcs.NumField() {
		// What SubResource gives calls the others.
		if name := reflect.TypeFor[interceptor.Funcs]().Field(i).Name; name != "SubResource" && funcs.Field(i).IsNil() {
			t.Errorf("%s of a client gets past the operator's death", name)
		}
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("plan", "decision.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for _, decl := range parsed.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "Risky" {
			kinds++
			if kind, ok := f.Recv.List[0].Type.(*ast.Ident); !ok || stepNames[kind.Name] == "" {
				t.Errorf("step %v has no place in the stories of operators that die", f.Recv.List[0].Type)
			}
		}
	}
	if kinds != len(stepNames) {
		t.Errorf("%d steps in the source, %d in the stories", kinds, len(stepNames))
	}
	if name := stepName(plan.PutBack{}); name != stepNames["PutBack"] {
		t.Errorf("PutBack is called %s", name)
	}
}
