package artifacts

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// storePackage is the store's program in the module of the checkout.
const storePackage = "./cmd/node"

const checkoutModuleLine = "module github.com/raftkv/raftkv\n"

// BuildStore compiles the store's program of the checkout as it is at this moment, and puts it into a file, if one is named. What it
// compiled is kept in the cache for the checkout's next time.
func BuildStore(ctx context.Context, file string) error {
	src, err := findSource()
	if err != nil {
		return err
	}
	root, err := src.checkout()
	if err != nil {
		return err
	}
	cache, err := cacheFolder()
	if err != nil {
		return err
	}
	unlock, err := lock(cache)
	if err != nil {
		return err
	}
	defer unlock()
	// The go command leaves a program alone that is what it would make, and linking takes longest.
	built := filepath.Join(cache, fmt.Sprintf("checkout-%x", sha256.Sum256([]byte(root)))[:len("checkout-")+hashLength], "raftkv-node")
	// The flags of `make images`: what one of the two compiled serves the other.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", built, storePackage)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build of the store (%s in %s): %w\n%s", storePackage, root, err, output)
	}
	if file == "" {
		return nil
	}
	return copyProgram(file, built)
}

func copyProgram(to, from string) error {
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}

// checkout is the root of the repository that the build module is in.
func (s source) checkout() (string, error) {
	root, err := filepath.Abs(filepath.Join(s.folder, "..", "..", ".."))
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), checkoutModuleLine) {
		return "", fmt.Errorf("the store is built from the checkout that %s is in, but %s is no checkout of raftkv; set %s to a folder inside of one",
			s.folder, root, SourceVariable)
	}
	return root, nil
}
