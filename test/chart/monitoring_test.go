package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var (
	root       = filepath.Join("..", "..")
	monitoring = filepath.Join(root, "charts", "raftkv", "files", "monitoring")
)

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func alerts(t *testing.T) rules {
	t.Helper()
	var r rules
	if err := yaml.Unmarshal(read(t, filepath.Join(monitoring, "rules.yaml")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// metricNames are the metrics of docs/reference, whose tables other tests hold to what the operator and the nodes serve, both ways.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{"controller_runtime_reconcile_errors_total": true} // of controller-runtime
	for page, least := range map[string]int{"metrics.md": 60, "operator-metrics.md": 10} {
		rows := row.FindAllStringSubmatch(string(read(t, filepath.Join(root, "docs", "reference", page))), -1)
		if len(rows) < least {
			t.Fatalf("only %d metrics were found in %s", len(rows), page)
		}
		for _, x := range rows {
			names[x[1]] = true
		}
	}
	return names
}

var (
	row    = regexp.MustCompile("(?m)^\\| `(raftkv_[a-z0-9_]+)` \\| (?:gauge|counter|histogram) \\|")
	metric = regexp.MustCompile(`\b(raftkv|controller_runtime)_[a-z0-9_]+`)
	suffix = regexp.MustCompile(`_(bucket|sum|count)$`)
)

func checkNames(t *testing.T, names map[string]bool, where, expression string) int {
	t.Helper()
	found := metric.FindAllString(expression, -1)
	for _, name := range found {
		if !names[name] && !names[suffix.ReplaceAllString(name, "")] {
			t.Errorf("%s asks for %s, which nothing measures", where, name)
		}
	}
	return len(found)
}

func TestAlertsAskForMetricsThatExist(t *testing.T) {
	names := metricNames(t)
	for _, g := range alerts(t).Groups {
		for _, r := range g.Rules {
			if checkNames(t, names, r.Alert, r.Expr) == 0 {
				t.Errorf("%s asks for no metric of ours", r.Alert)
			}
		}
	}
}

func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(read(t, filepath.Join(monitoring, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	names, graphs := metricNames(t), 0
	for _, v := range d.Templating.List {
		// What one picks from is asked for too; a variable that picks the data source has a plain text there.
		var query struct{ Query string }
		if json.Unmarshal(v.Query, &query) == nil && checkNames(t, names, "variable "+v.Name, query.Query) == 0 {
			t.Errorf("variable %q asks for no metric of ours", v.Name)
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			graphs++
			if checkNames(t, names, p.Title, target.Expr) == 0 {
				t.Errorf("%q asks for no metric of ours", p.Title)
			}
		}
	}
	if graphs < 15 {
		t.Errorf("only %d graphs were found", graphs)
	}
}

func TestEachAlertHasItsRunbookPage(t *testing.T) {
	pages := filepath.Join(root, "docs", "runbooks")
	index, known := string(read(t, filepath.Join(pages, "README.md"))), map[string]bool{"README.md": true}
	names := metricNames(t)
	for _, g := range alerts(t).Groups {
		for _, r := range g.Rules {
			known[r.Alert+".md"] = true
			text := string(read(t, filepath.Join(pages, r.Alert+".md")))
			for _, part := range []string{"# " + r.Alert + "\n", "Severity: " + r.Labels["severity"] + ".", "## What it means", "## What to do"} {
				if !strings.Contains(text, part) {
					t.Errorf("the page of %s lacks %q", r.Alert, part)
				}
			}
			checkNames(t, names, "the page of "+r.Alert, text)
			if !strings.Contains(index, "("+r.Alert+".md)") {
				t.Errorf("the index of the runbooks lacks %s", r.Alert)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s has no summary or no description", r.Alert)
			}
		}
	}
	files, err := os.ReadDir(pages)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("docs/runbooks/%s is the page of no alert", f.Name())
		}
	}
}
