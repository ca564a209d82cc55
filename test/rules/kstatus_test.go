package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The operator's tests write down what its conditions are in each state of a cluster, in files whose names begin with how tools have to read them. Here
// the library by which Helm and Flux do so reads them.
func TestToolsReadTheStatusAsItIsMeant(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "controllers", "testdata", "kstatus", "*.yaml"))
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
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
		want, state, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".yaml"), "-")
		got, err := status.Compute(u)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got.Status.String() != want {
			t.Errorf("%s is read as %s (%s), want %s", state, got.Status, got.Message, want)
		}
	}
}
