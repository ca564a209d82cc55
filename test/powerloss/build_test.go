//go:build linux

package powerloss

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// edit replaces text that occurs exactly once in a file of the product.
type edit struct{ file, find, replace string }

// small are the sizes at which a run of seconds rolls segments, flushes, and lets files grow.
var small = []edit{
	{"raft/wal/log.go", "DefaultSegmentBytes = 64 << 20", "DefaultSegmentBytes = 32 << 10"},
	{"kv/machine.go", "DefaultFlushBytes = 16 << 20", "DefaultFlushBytes = 64 << 10"},
	{"kv/store/directory.go", "growBytes = 64 << 20", "growBytes = 256 << 10"},
}

// build compiles the node with the edits in it. The checkout is not touched.
func build(t *testing.T, edits ...edit) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replaced := map[string]string{}
	for _, e := range append(append([]edit(nil), small...), edits...) {
		original := filepath.Join(root, e.file)
		from := original
		if edited, again := replaced[original]; again {
			from = edited
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), e.find); n != 1 {
			t.Fatalf("%q occurs %d times in %s, not once: bring the edit up to date", e.find, n, e.file)
		}
		to := filepath.Join(dir, strings.ReplaceAll(e.file, "/", "_"))
		if err := os.WriteFile(to, []byte(strings.Replace(string(text), e.find, e.replace, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		replaced[original] = to
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "raftkv-node")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-overlay", overlayFile, "-o", program, "./cmd/node")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the node: %v\n%s", err, out)
	}
	return program
}
