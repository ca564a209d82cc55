package artifacts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestVersionsComeFromTheGoMod(t *testing.T) {
	versions := requiredVersions("module x\n\nrequire (\n\tk8s.io/kubernetes v1.36.3\n\thelm.sh/helm/v4 v4.2.4 // indirect\n)\n\nreplace (\n\tk8s.io/api => k8s.io/api v0.36.3\n)\n")
	if versions["k8s.io/kubernetes"] != "v1.36.3" || versions["helm.sh/helm/v4"] != "v4.2.4" {
		t.Errorf("versions = %v", versions)
	}
}

func TestTheCheckoutNamesEveryVersion(t *testing.T) {
	src, err := findSource()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{kubernetesModule, helmModule, coreDNSModule} {
		if src.versions[module] == "" {
			t.Errorf("the build module requires no %s", module)
		}
	}
	if flags := src.ldflags(); !strings.Contains(flags, "gitMinor=36") {
		t.Errorf("flags name no minor version: %s", flags)
	}
}

func TestTheStoreIsThatOfThisCheckout(t *testing.T) {
	src, err := findSource()
	if err != nil {
		t.Fatal(err)
	}
	root, err := src.checkout()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, storePackage, "main.go")); err != nil {
		t.Error(err)
	}
}

func TestAStoreWithoutACheckoutIsRefusedWithWhatToSet(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b", "build")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "go.mod"), []byte(moduleLine), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv(SourceVariable, folder)
	if err := BuildStore(t.Context(), ""); err == nil || !strings.Contains(err.Error(), SourceVariable) {
		t.Errorf("%v", err)
	}
}

func TestHashChangesWithSourceAndToolchain(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hash := func(goVersion string) string {
		t.Helper()
		h, err := source{folder: folder}.hash(goVersion)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	write("go.mod", "module x")
	write("main.go", "package main")
	first := hash("go1.26.0")
	if hash("go1.26.0") != first {
		t.Error("the same source has two hashes")
	}
	if hash("go1.26.1") == first {
		t.Error("another toolchain gives the same hash")
	}
	write("README.md", "words")
	if hash("go1.26.0") != first {
		t.Error("a file that is not compiled changes the hash")
	}
	write("main.go", "package main // changed")
	if hash("go1.26.0") == first {
		t.Error("a changed file gives the same hash")
	}
}

func TestImageHoldsTheProgramAndRunsItUnprivileged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := writeImage(file, "registry.k8s.io/pause:3.10", "/pause", []byte("program")); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(config.Config.Entrypoint, []string{"/pause"}) || config.Config.User != nobody {
		t.Errorf("config is %+v", config.Config)
	}
	if tags := Tags(file); !slices.Equal(tags, []string{"registry.k8s.io/pause:3.10"}) {
		t.Errorf("tags = %v", tags)
	}
}
