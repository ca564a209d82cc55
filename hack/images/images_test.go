package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// sampleModule is a module with a program that says its version.
func sampleModule(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	files := map[string]string{
		"go.mod":           "module example.test/sample\n\ngo 1.26.0\n",
		"cmd/node/main.go": "package main\n\nvar version string\n\nfunc main() { print(version) }\n",
		"cmd/tool/main.go": "package main\n\nfunc main() { print(1) }\n",
	}
	for path, content := range files {
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func sampleProgram() program {
	return program{
		name: "node", repository: "raftkv/node",
		binaries: []binary{{path: "/raftkv-node", pkg: "./cmd/node"}},
		title:    "sample", ports: []string{"2379/tcp"}, maxSizeBytes: 40_000_000,
	}
}

func TestTheSameSourceInAnotherFolderGivesTheSameArchive(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		image, err := compileImage(t.Context(), sampleModule(t), sampleProgram(), "1.2.3", "amd64")
		if err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		if _, err := writeArchive(sampleProgram(), image, "1.2.3", out); err != nil {
			t.Fatal(err)
		}
		if archives[i], err = os.ReadFile(filepath.Join(out, "node.tar")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds of the same source differ")
	}
}

func TestAnArchiveHoldsAStaticProgramForAUserWhoIsNotRoot(t *testing.T) {
	p := sampleProgram()
	p.binaries = append(p.binaries, binary{path: "/bin/tool", pkg: "./cmd/tool"})
	image, err := compileImage(t.Context(), sampleModule(t), p, "1.2.3", "arm64")
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if _, err := writeArchive(p, image, "1.2.3", out); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("docker.io/raftkv/node:1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(filepath.Join(out, "node.tar"), &tag)
	if err != nil {
		t.Fatalf("the archive lacks the image under the name that Kubernetes asks for: %v", err)
	}
	config, err := loaded.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Architecture != "arm64" || config.Config.Entrypoint[0] != "/raftkv-node" {
		t.Errorf("user %q, architecture %q, entry point %q", config.Config.User, config.Architecture, config.Config.Entrypoint)
	}
	headers, contents := unpack(t, loaded)
	if data := headers["data"]; data == nil || data.Uid != userID || data.Mode != 0o700 {
		t.Errorf("the data folder is not the user's own: %+v", data)
	}
	if folder, tool := headers["bin"], headers["bin/tool"]; folder == nil || folder.Mode != 0o755 || tool == nil || tool.Mode != 0o755 {
		t.Errorf("the second program cannot be run by its name: %+v in %+v", tool, folder)
	}
	if binary := contents["raftkv-node"]; !bytes.HasPrefix(binary, []byte("\x7fELF")) || bytes.Contains(binary, []byte("/ld-linux")) {
		t.Error("raftkv-node is not a static ELF program")
	}
}

func unpack(t *testing.T, image v1.Image) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	stream := mutate.Extract(image)
	defer stream.Close()
	headers, contents := make(map[string]*tar.Header), make(map[string][]byte)
	for reader := tar.NewReader(stream); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[header.Name] = header
		if contents[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnImageAboveItsLimitIsRefused(t *testing.T) {
	p := sampleProgram()
	p.maxSizeBytes = 10_000
	_, err := assemble(p, "1.2.3", "amd64", [][]byte{make([]byte, 10_001)})
	if err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("got %v, want an error that names the limit", err)
	}
}

func TestAPushedImageHasOneManifestForEachArchitecture(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	images := make(map[string]v1.Image)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := assemble(sampleProgram(), "1.2.3", arch, [][]byte{[]byte("program for " + arch)})
		if err != nil {
			t.Fatal(err)
		}
		images[arch] = image
	}
	target := strings.TrimPrefix(server.URL, "http://") + "/team/raftkv/node:1.2.3"
	if _, err := pushImages(context.Background(), images, target, true); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(target, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	for arch, want := range images {
		pulled, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := pulled.Digest()
		if digest, _ := want.Digest(); got != digest {
			t.Errorf("%s: pulled %s, pushed %s", arch, got, digest)
		}
	}
}

func TestOnlyARefusedLoginIsAdvisedToLogIn(t *testing.T) {
	for code, advised := range map[int]bool{http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusTeapot: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		image, err := assemble(sampleProgram(), "1.2.3", "amd64", [][]byte{[]byte("program")})
		if err != nil {
			t.Fatal(err)
		}
		target := strings.TrimPrefix(server.URL, "http://") + "/team/raftkv/node:1.2.3"
		_, err = pushImages(context.Background(), map[string]v1.Image{"amd64": image}, target, true)
		server.Close()
		if err == nil || strings.Contains(err.Error(), "docker login") != advised {
			t.Errorf("HTTP %d: got %v, advice to log in wanted: %t", code, err, advised)
		}
	}
	_, err := pushImages(context.Background(), map[string]v1.Image{}, "127.0.0.1:1/team/node:1", true)
	if err == nil || strings.Contains(err.Error(), "docker login") {
		t.Errorf("got %v of a registry that is not there", err)
	}
}
