package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A program is one image and what is in it.
type program struct {
	name         string   // of the archive, and in messages
	binaries     []binary // the first is the entry point
	repository   string   // in a registry
	title        string
	ports        []string
	maxSizeBytes int64 // of the image's files, unpacked
}

// A binary is one Go program of the main module in an image.
type binary struct {
	path string // in the image
	pkg  string // Go package, from the module's root
}

var programs = []program{
	{
		name: "node", repository: "raftkv/node",
		// raftctl is where kubectl exec finds it by its name.
		binaries:     []binary{{path: "/raftkv-node", pkg: "./cmd/node"}, {path: "/bin/raftctl", pkg: "./cmd/raftctl"}},
		title:        "raftkv node: a strongly consistent key-value store",
		ports:        []string{"2379/tcp", "2380/tcp", "8080/tcp"},
		maxSizeBytes: 50_000_000,
	},
	{
		name: "operator", repository: "raftkv/operator",
		// The check is what `helm test` runs in the cluster.
		binaries:     []binary{{path: "/raftkv-operator", pkg: "./cmd/operator"}, {path: "/raftkv-check", pkg: "./test/check"}},
		title:        "raftkv operator: runs RaftClusters on Kubernetes",
		ports:        []string{"8080/tcp", "8081/tcp"},
		maxSizeBytes: 80_000_000,
	},
}

// compileImage compiles the image's programs for one architecture and lays them on an empty base.
func compileImage(ctx context.Context, source string, p program, version, arch string) (v1.Image, error) {
	compiled := make([][]byte, len(p.binaries))
	for i, b := range p.binaries {
		var err error
		if compiled[i], err = compile(ctx, source, b.pkg, version, arch); err != nil {
			return nil, err
		}
	}
	return assemble(p, version, arch, compiled)
}

// compile returns a static program that depends on nothing but the source, the toolchain and the version.
func compile(ctx context.Context, source, pkg, version, arch string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "raftkv-images-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X main.version="+version, "-o", file, pkg)
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s for %s: %w\n%s", pkg, arch, err, output)
	}
	return os.ReadFile(file)
}
