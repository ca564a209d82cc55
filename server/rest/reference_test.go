package rest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The page that a reader of the REST interface gets must say what the code does.
const referencePage = "../../docs/reference/rest.md"

func reference(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// table returns the first two columns of the table below a heading, in which code is in backquotes.
func table(t *testing.T, page, heading string) [][2]string {
	t.Helper()
	_, section, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", referencePage, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var out [][2]string
	for _, line := range strings.Split(section, "\n") {
		cells := strings.Split(line, "|")
		if strings.HasPrefix(line, "| `") && len(cells) >= 4 {
			out = append(out, [2]string{strings.Trim(cells[1], " `"), strings.TrimSpace(cells[2])})
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no table in the section %q", referencePage, heading)
	}
	return out
}

// TestReferenceExamplesAreTrue runs the page's examples in their order.
func TestReferenceExamplesAreTrue(t *testing.T) {
	h := serve(t)
	lines := strings.Split(reference(t), "\n")
	examples := 0
	for n, line := range lines {
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		examples++
		if streamed, found := strings.CutPrefix(line, "curl -N "); found {
			streamExample(t, h, streamed, lines[n+1:])
			continue
		}
		method, target, body, headers := curl(t, line)
		a := h.do(method, target, body, headers...)
		got := "# " + strconv.Itoa(a.StatusCode)
		if text := strings.TrimSpace(a.body); text != "" {
			got += " " + text
		}
		if want := lines[n+1]; got != want {
			t.Errorf("line %d: %s\n answers %s\n and not %s", n+1, line, got, want)
		}
	}
	if examples < 20 {
		t.Errorf("only %d examples", examples)
	}
}

// streamExample compares the lines of a stream with those that the page shows.
func streamExample(t *testing.T, h *harness, line string, shown []string) {
	t.Helper()
	_, target, _, _ := curl(t, "curl "+line)
	s := h.watch(strings.TrimPrefix(target, "/v1/watch/"))
	for _, want := range shown {
		want, found := strings.CutPrefix(want, "#")
		if !found {
			return
		}
		if !s.lines.Scan() {
			t.Fatalf("the stream ends before %q", want)
		}
		if got := s.lines.Text(); got != strings.TrimPrefix(want, " ") {
			t.Errorf("the stream has %q and not %q", got, want)
		}
	}
}

var curlWords = regexp.MustCompile(`'[^']*'|\S+`)

// curl reads a command line.
func curl(t *testing.T, line string) (method, target, body string, headers []string) {
	t.Helper()
	words := curlWords.FindAllString(line, -1)[1:]
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	method = http.MethodGet
	for len(words) > 0 {
		switch words[0] {
		case "-X":
			method, words = words[1], words[2:]
		case "-H":
			headers, words = append(headers, words[1]), words[2:]
		case "--data-binary":
			body, words = words[1], words[2:]
		default:
			path, found := strings.CutPrefix(words[0], "http://127.0.0.1:2379")
			if !found || target != "" {
				t.Fatalf("%q in %q is not understood", words[0], line)
			}
			target, words = path, words[1:]
		}
	}
	return method, target, body, headers
}

func TestReferenceNamesAllParameters(t *testing.T) {
	with := map[string][]string{}
	for _, set := range []struct {
		name  string
		names []string
	}{
		{"GET", parametersOfGet}, {"range", parametersOfList}, {"PUT", parametersOfPut}, {"DELETE", parametersOfDelete},
		{"transaction", parametersOfTxn}, {"lease", parametersOfLease}, {"watch", parametersOfWatch},
	} {
		for _, name := range set.names {
			if set.name != "range" || !slices.Contains(parametersOfGet, name) {
				with[name] = append(with[name], set.name)
			}
		}
	}
	want := map[string]string{}
	for name, sets := range with {
		if want[name] = strings.Join(sets, ", "); name == "timeout" {
			want[name] = "every request but a watch"
		}
	}
	page := reference(t)
	got := map[string]string{}
	for _, row := range table(t, page, "Parameters") {
		got[row[0]] = row[1]
	}
	if !maps.Equal(got, want) {
		t.Errorf("the page has the parameters %v, the code %v", got, want)
	}
	for _, bound := range []string{
		DefaultTimeout.String() + " if left out, at most " + MaxTimeout.String(), "1 to " + strconv.Itoa(MaxLimit), strconv.Itoa(DefaultLimit) + " if left out",
	} {
		if !strings.Contains(page, bound) {
			t.Errorf("the page does not say %q", bound)
		}
	}
}

func TestReferenceNamesAllHeaders(t *testing.T) {
	var got []string
	for _, row := range table(t, reference(t), "Headers of answers") {
		got = append(got, row[0])
	}
	for _, name := range []string{HeaderRevision, HeaderCreateRevision, HeaderModRevision, HeaderVersion, HeaderLease} {
		if !slices.Contains(got, name) {
			t.Errorf("the page does not have the header %s", name)
		}
	}
}

// TestReferenceNamesAllProblems compares the page with the pairs of status and code that the source makes problems of.
func TestReferenceNamesAllProblems(t *testing.T) {
	want := map[string]string{}
	for code, status := range problemsInSource(t) {
		want[code] = strconv.Itoa(status)
	}
	if known := codes(t); len(known) != len(want) {
		t.Errorf("%d codes are declared, %d are used: %v", len(known), len(want), known)
	}
	got := map[string]string{}
	for _, row := range table(t, reference(t), "Problems") {
		got[row[0]] = row[1]
	}
	if !maps.Equal(got, want) {
		t.Errorf("the page has the problems %v, the code %v", got, want)
	}
}

// problemsInSource finds the calls of problemf with a status and a code that are constants.
func problemsInSource(t *testing.T) map[string]int {
	t.Helper()
	statuses := map[string]int{}
	for status := 400; status < 600; status++ {
		// The name of a status in net/http is its text without spaces, but for a few.
		statuses["Status"+strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(status))] = status
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	values := map[string]string{}
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if literal, ok := first(n.Values).(*ast.BasicLit); ok && strings.HasPrefix(n.Names[0].Name, "code") {
					values[n.Names[0].Name] = strings.Trim(literal.Value, `"`)
				}
			case *ast.CallExpr:
				called, ok := n.Fun.(*ast.Ident)
				if !ok || called.Name != "problemf" {
					return true
				}
				status, ok := n.Args[0].(*ast.SelectorExpr)
				code, named := n.Args[1].(*ast.Ident)
				if ok && named {
					if old, twice := names[code.Name]; twice && old != statuses[status.Sel.Name] {
						t.Errorf("%s goes with %d and with %s", code.Name, old, status.Sel.Name)
					}
					names[code.Name] = statuses[status.Sel.Name]
				}
			}
			return true
		})
	}
	// What is too long for net/http has its status from there.
	names["codeHeadTooLarge"] = http.StatusRequestHeaderFieldsTooLarge
	out := map[string]int{}
	for name, status := range names {
		out[values[name]] = status
	}
	return out
}

func first(values []ast.Expr) ast.Expr {
	if len(values) != 1 {
		return nil
	}
	return values[0]
}
