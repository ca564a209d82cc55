package cluster

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/test/localkube/internal/plan"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

func TestStateSurvivesItsFile(t *testing.T) {
	p, err := plan.New("demo", t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.Work, 0o755); err != nil {
		t.Fatal(err)
	}
	want := state{Plan: p, Build: render.Build{Bin: "/bin"}, APIPort: 16443, Complete: true, Cut: []string{"node-2"}}
	if err := want.save(); err != nil {
		t.Fatal(err)
	}
	if got, err := load(p); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %+v, %v; saved %+v", got, err, want)
	}
}

func TestCuttingAndHealingMayBeRepeated(t *testing.T) {
	var s state
	for _, step := range []struct {
		node string
		cut  bool
		want []string
	}{
		{"node-1", true, []string{"node-1"}},
		{"node-1", true, []string{"node-1"}},
		{"node-2", true, []string{"node-1", "node-2"}},
		{"node-1", false, []string{"node-2"}},
		{"node-1", false, []string{"node-2"}},
	} {
		if s.setCut(step.node, step.cut); !slices.Equal(s.Cut, step.want) {
			t.Fatalf("after cut %s = %v: %v, want %v", step.node, step.cut, s.Cut, step.want)
		}
	}
}

func TestMountsAreFoundBelowTheFolderOnly(t *testing.T) {
	mounts, err := mountsBelow("/proc")
	if err != nil || !slices.Contains(mounts, "/proc") {
		t.Errorf("mounts at and below /proc: %v, %v", mounts, err)
	}
	if mounts, err := mountsBelow(filepath.Join(t.TempDir(), "x")); err != nil || len(mounts) > 0 {
		t.Errorf("mounts below an empty folder: %v, %v", mounts, err)
	}
	// /pro is a prefix of the text /proc and no folder of it.
	if mounts, err := mountsBelow("/pro"); err != nil || len(mounts) > 0 {
		t.Errorf("mounts below /pro: %v, %v", mounts, err)
	}
}

func TestTheEndOfALogIsShownAndNotAllOfIt(t *testing.T) {
	p, err := plan.New("demo", t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.Logs("node-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("noise\n", tailBytes) + "the reason\n"
	if err := os.WriteFile(filepath.Join(p.Logs("node-1"), "kubelet.log"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if shown := tail(p, "node-1", "kubelet"); !strings.Contains(shown, "the reason") || len(shown) > tailBytes+500 {
		t.Errorf("%d bytes are shown: %.200s", len(shown), shown)
	}
	if shown := tail(p, "node-1", "absent"); !strings.Contains(shown, "no log") {
		t.Errorf("a log that is not there is shown as %q", shown)
	}
}

func TestReferencesAreSpelledAsContainerdDoes(t *testing.T) {
	for tag, want := range map[string]string{
		"index.docker.io/raftkv/node:1.0": "docker.io/raftkv/node:1.0",
		"registry.k8s.io/pause:3.10":      "registry.k8s.io/pause:3.10",
	} {
		if got := containerdName(tag); got != want {
			t.Errorf("%s is spelled %s, want %s", tag, got, want)
		}
	}
}
