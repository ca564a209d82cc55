package controllers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// reasonsInCode are the reasons that the code can give to conditions and events, read from its source: the constants of
// package plan, the reasons of condition() and of Eventf, and those of stepEvent.
func reasonsInCode(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	word := regexp.MustCompile(`^[A-Z][A-Za-z]+$`)
	add := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if text, err := strconv.Unquote(l.Value); err == nil && word.MatchString(text) {
				out[text] = true
			}
		}
	}
	for _, pattern := range []string{"*.go", filepath.Join("plan", "*.go")} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range parsed.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "stepEvent" {
					ast.Inspect(f, func(n ast.Node) bool {
						if e, ok := n.(ast.Expr); ok {
							add(e)
						}
						return true
					})
				}
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch x := n.(type) {
				case *ast.ValueSpec:
					for i, name := range x.Names {
						if strings.HasPrefix(name.Name, "Reason") && i < len(x.Values) {
							add(x.Values[i])
						}
					}
				case *ast.CallExpr:
					switch f := x.Fun.(type) {
					case *ast.Ident:
						if f.Name == "condition" {
							add(x.Args[2])
						}
					case *ast.SelectorExpr:
						if f.Sel.Name == "Eventf" {
							add(x.Args[3])
						}
					}
				}
				return true
			})
		}
	}
	return out
}

// The first cell of a row of docs/reference/conditions.md, beneath the table of the conditions themselves, is a reason.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "reference", "conditions.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, reasons, ok := strings.Cut(string(text), "## Reasons when all is well")
	if !ok {
		t.Fatal("the page has no reasons")
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\|").FindAllStringSubmatch(reasons, -1) {
		documented[row[1]] = true
	}
	code := reasonsInCode(t)
	for r := range code {
		if !documented[r] {
			t.Errorf("the code gives the reason %s, the page does not explain it", r)
		}
	}
	for r := range documented {
		if !code[r] {
			t.Errorf("the page explains %s, which the code never gives", r)
		}
	}
	if len(code) < 35 {
		t.Errorf("only %d reasons were found in the code", len(code))
	}
}

// Each line of docs/reference/operator-metrics.md is a metric that the operator has registered, and its help, in the order of the names.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "reference", "operator-metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	described := make(chan *prometheus.Desc, len(ours))
	for _, m := range ours {
		m.Describe(described)
	}
	close(described)
	var want []string
	parts := regexp.MustCompile(`fqName: "([^"]*)", help: "([^"]*)"`)
	for d := range described {
		x := parts.FindStringSubmatch(d.String())
		if x == nil {
			t.Fatalf("cannot read %s", d)
		}
		want = append(want, x[1]+" "+x[2])
	}
	slices.Sort(want)
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [a-z]+ \\| (.*) \\|$").FindAllStringSubmatch(string(text), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
