package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"sigs.k8s.io/yaml"
)

// What helm prints makes a RaftCluster, and the README applies the samples afterwards, whose volumes are smaller: under the same name the
// API server would refuse them, since storage.size can only grow.
func TestTheNotesMakeARaftClusterOfAnotherNameThanTheSamples(t *testing.T) {
	notes, err := os.ReadFile(filepath.Join(root, "charts", "raftkv", "templates", "NOTES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	made := regexp.MustCompile(`(?m)^ +name: (\S+)$`).FindSubmatch(notes)
	if made == nil {
		t.Fatal("the notes make no RaftCluster")
	}
	samples, err := filepath.Glob(filepath.Join(root, "config", "samples", "raftcluster*.yaml"))
	if err != nil || len(samples) == 0 {
		t.Fatal("there are no samples", err)
	}
	for _, path := range samples {
		text, err := os.ReadFile(path) //nolint:gosec // a sample
		if err != nil {
			t.Fatal(err)
		}
		var sample struct {
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal(text, &sample); err != nil {
			t.Fatal(path, err)
		}
		if sample.Metadata.Name == string(made[1]) {
			t.Errorf("the notes and %s both make %s", path, made[1])
		}
	}
	for _, used := range regexp.MustCompile(`(?:raftcluster|service)/([a-z0-9-]+)`).FindAllSubmatch(notes, -1) {
		if string(used[1]) != string(made[1]) {
			t.Errorf("the notes make %s and go on with %s", made[1], used[1])
		}
	}
}
