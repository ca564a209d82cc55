package artifacts

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// SourceVariable names the folder of the build module for a binary that was moved away from its checkout.
const SourceVariable = "RAFTKV_LOCALKUBE_SOURCE"

// recipe changes when the way of building does, so that what an older one made is not used.
const recipe = "1"

// hashLength is how many letters of a hash tell things apart in the cache.
const hashLength = 16

const moduleLine = "module github.com/raftkv/raftkv/test/localkube/build\n"

// source is the build module: a folder with a go.mod that names every version.
type source struct {
	folder   string
	versions map[string]string // by module path
}

// findSource looks for the build module where this program was built, beside the binary, and around the current folder.
func findSource() (source, error) {
	var candidates []string
	if folder := os.Getenv(SourceVariable); folder != "" {
		candidates = append(candidates, folder)
	}
	if _, file, _, ok := runtime.Caller(0); ok {
		candidates = append(candidates, filepath.Join(filepath.Dir(file), "..", "..", "build"))
	}
	for _, start := range []func() (string, error){os.Executable, os.Getwd} {
		folder, err := start()
		if err != nil {
			continue
		}
		for ; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
			candidates = append(candidates, filepath.Join(folder, "test", "localkube", "build"))
		}
	}
	for _, folder := range candidates {
		text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err == nil && strings.Contains(string(text), moduleLine) {
			return source{folder: folder, versions: requiredVersions(string(text))}, nil
		}
	}
	return source{}, fmt.Errorf("the sources of the cluster's programs (test/localkube/build of the raftkv repository) were not found; "+
		"run from inside the checkout or set %s to that folder", SourceVariable)
}

var requireLine = regexp.MustCompile(`(?m)^\t(\S+) (v\S+)`)

// requiredVersions reads the versions that a go.mod requires.
func requiredVersions(gomod string) map[string]string {
	versions := map[string]string{}
	for _, line := range requireLine.FindAllStringSubmatch(gomod, -1) {
		versions[line[1]] = line[2]
	}
	return versions
}

// hash names what would be built from the source by this Go toolchain.
func (s source) hash(goVersion string) (string, error) {
	var files []string
	err := filepath.WalkDir(s.folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && (filepath.Ext(path) == ".go" || e.Name() == "go.mod" || e.Name() == "go.sum") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	slices.Sort(files)
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n%s\n", recipe, goVersion, runtime.GOARCH)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		relative, err := filepath.Rel(s.folder, path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.ToSlash(relative), len(text))
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:hashLength], nil
}
