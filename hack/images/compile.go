package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A program is one binary of the main module and the image around it.
type program struct {
	name         string // of the archive, and in messages
	pkg          string // Go package, from the module's root
	binary       string // path in the image
	repository   string // in a registry
	title        string
	ports        []string
	maxSizeBytes int64 // of the image's files, unpacked
}

var programs = []program{
	{
		name: "node", pkg: "./cmd/node", binary: "/raftkv-node", repository: "raftkv/node",
		title:        "raftkv node: a strongly consistent key-value store",
		ports:        []string{"2379/tcp", "2380/tcp", "8080/tcp"},
		maxSizeBytes: 40_000_000,
	},
	{
		name: "operator", pkg: "./cmd/operator", binary: "/raftkv-operator", repository: "raftkv/operator",
		title:        "raftkv operator: runs RaftClusters on Kubernetes",
		ports:        []string{"8080/tcp", "8081/tcp"},
		maxSizeBytes: 80_000_000,
	},
}

// compileImage compiles the program for one architecture and lays it on an empty base.
func compileImage(ctx context.Context, source string, p program, version, arch string) (v1.Image, error) {
	binary, err := compile(ctx, source, p, version, arch)
	if err != nil {
		return nil, err
	}
	return assemble(p, version, arch, binary)
}

// compile returns a static binary that depends on nothing but the source, the toolchain and the version.
func compile(ctx context.Context, source string, p program, version, arch string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "raftkv-images-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, p.name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X main.version="+version, "-o", file, p.pkg)
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s for %s: %w\n%s", p.pkg, arch, err, output)
	}
	return os.ReadFile(file)
}
