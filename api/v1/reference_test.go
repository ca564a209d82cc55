package v1

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// property is what of an OpenAPI property this test looks at.
type property struct {
	Type       string              `json:"type"`
	Default    any                 `json:"default"`
	Properties map[string]property `json:"properties"`
	Items      *property           `json:"items"`
}

// at is the schema of a field by its path.
func (s property) at(path string) (found property, ok bool) {
	for name := range strings.SplitSeq(path, ".") {
		if s.Items != nil {
			s = *s.Items
		}
		if s, ok = s.Properties[name]; !ok {
			return s, false
		}
	}
	return s, true
}

// field is one of the fields of a type of this package. Children are those of its own type, if that is one of this package, too.
type field struct {
	path     string
	children []string
}

func fields(of reflect.Type, prefix string) (out []field) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		it := field{path: prefix + name}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == of.PkgPath() {
			below := fields(inner, it.path+".")
			for _, b := range below {
				if child := strings.TrimPrefix(b.path, it.path+"."); !strings.Contains(child, ".") {
					it.children = append(it.children, child)
				}
			}
			out = append(out, below...)
		}
		out = append(out, it)
	}
	return out
}

var word = regexp.MustCompile("`([A-Za-z]+)`")

// named are the words in a text that may be names of fields.
func named(text string) (out []string) {
	for _, m := range word.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// The page is written by hand: each field is on it with what is there when it is left out, and no other is.
func TestTheReferenceNamesEveryFieldAndNoOther(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "config", "crd", "raftkv.io_raftclusters.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Name   string `json:"name"`
				Schema struct {
					OpenAPI property `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	if len(crd.Spec.Versions) != 1 {
		t.Fatalf("the CRD has %d versions", len(crd.Spec.Versions))
	}
	object := crd.Spec.Versions[0].Schema.OpenAPI
	page, err := os.ReadFile(filepath.Join(root, "docs", "reference", "raftcluster.md"))
	if err != nil {
		t.Fatal(err)
	}
	section := func(title string) string {
		_, after, found := strings.Cut(string(page), "\n## "+title+"\n")
		if !found {
			t.Fatalf("the page has no section %s", title)
		}
		body, _, _ := strings.Cut(after, "\n## ")
		return body
	}
	for _, problem := range slices.Concat(specProblems(section("Spec"), object.Properties["spec"]), statusProblems(section("Status"), object.Properties["status"])) {
		t.Error(problem)
	}
}

func specProblems(section string, spec property) (problems []string) {
	found := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	type row struct{ leftOut, meaning string }
	rows := map[string]row{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if path := strings.Trim(cells[0], " `"); strings.HasPrefix(line, "| `") && len(cells) == 3 {
			if _, ok := spec.at(path); !ok {
				found("spec has no field %s", path)
			}
			rows[path] = row{strings.TrimSpace(cells[1]), cells[2]}
			continue
		}
		if strings.HasPrefix(line, "|") {
			continue
		}
		for _, name := range named(line) {
			if _, ok := spec.at(name); !ok {
				found("spec has no field %s", name)
			}
		}
	}
	for _, f := range fields(reflect.TypeFor[RaftClusterSpec](), "") {
		of, ok := spec.at(f.path)
		if !ok {
			found("the CRD has no field %s: make generate", f.path)
		}
		r, hasRow := rows[f.path]
		if len(f.children) > 0 {
			for _, name := range named(r.meaning) {
				if !slices.Contains(f.children, name) {
					found("%s has no field %s", f.path, name)
				}
			}
			continue
		}
		parent, name := "", f.path
		if i := strings.LastIndexByte(f.path, '.'); i >= 0 {
			parent, name = f.path[:i], f.path[i+1:]
		}
		switch {
		case !hasRow && of.Default != nil:
			found("%s has the default %v, and no row", f.path, of.Default)
		case !hasRow && !slices.Contains(named(rows[parent].meaning), name):
			found("%s is not named", f.path)
		case !hasRow:
		case of.Default != nil && strings.Trim(r.leftOut, "`") != fmt.Sprint(of.Default):
			found("%s is %v when it is left out, not %s", f.path, of.Default, r.leftOut)
		case of.Default == nil && of.Type == "boolean" && r.leftOut != "false":
			found("%s is false when it is left out, not %s", f.path, r.leftOut)
		case of.Default == nil && of.Type != "boolean" && strings.HasPrefix(r.leftOut, "`"):
			found("%s has no default, and %s is named", f.path, r.leftOut)
		}
	}
	return problems
}

// withChildren is a field with its own in parentheses.
var withChildren = regexp.MustCompile("`([A-Za-z]+)`(?: \\(([^)]*)\\))?")

func statusProblems(section string, status property) (problems []string) {
	found := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	onPage := map[string][]string{}
	for _, m := range withChildren.FindAllStringSubmatch(section, -1) {
		onPage[m[1]] = named(m[2])
	}
	// Nobody but the operator reads what is in these.
	records := []string{"bootstrap", "recovery", "hibernation"}
	for _, f := range fields(reflect.TypeFor[RaftClusterStatus](), "") {
		if _, ok := status.at(f.path); !ok {
			found("the CRD has no field %s of the status: make generate", f.path)
		}
		if strings.Contains(f.path, ".") {
			continue
		}
		children, ok := onPage[f.path]
		if !ok {
			found("%s of the status is not named", f.path)
		}
		delete(onPage, f.path)
		if !slices.Contains(records, f.path) && !slices.Equal(slices.Sorted(slices.Values(children)), slices.Sorted(slices.Values(f.children))) {
			found("%s of the status has the fields %v, not %v", f.path, f.children, children)
		}
	}
	for name := range onPage {
		found("status has no field %s", name)
	}
	return problems
}
