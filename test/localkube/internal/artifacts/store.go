package artifacts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// storePackage is the store's program in the module of the checkout.
const storePackage = "./cmd/node"

const checkoutModuleLine = "module github.com/raftkv/raftkv\n"

// BuildStore compiles the store's program of the checkout, as it is at this moment, into a file. os.DevNull as the file warms the
// compiler's cache only. Unlike the other programs it is not kept for later: it changes with every edit.
func BuildStore(ctx context.Context, file string) error {
	src, err := findSource()
	if err != nil {
		return err
	}
	root := src.checkout()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), checkoutModuleLine) {
		return fmt.Errorf("the store is built from the checkout that %s is in, but %s is no checkout of raftkv; set %s to a folder inside of one",
			src.folder, filepath.Clean(root), SourceVariable)
	}
	// The flags of `make images`: what one of the two compiled serves the other.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", file, storePackage)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build of the store (%s in %s): %w\n%s", storePackage, root, err, output)
	}
	return nil
}

// checkout is the root of the repository that the build module is in.
func (s source) checkout() string { return filepath.Join(s.folder, "..", "..", "..") }
