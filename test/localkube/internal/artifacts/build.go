package artifacts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	kubernetesModule = "k8s.io/kubernetes"
	helmModule       = "helm.sh/helm/v4"
	coreDNSModule    = "github.com/coredns/coredns"

	progressInterval = 10 * time.Second
	// keptErrorLines is how much of the compiler's output an error carries.
	keptErrorLines = 20
)

// packages are what is built, in one run of the compiler so that they share their work.
var packages = []string{"./kubernetes", "./coredns", "./pause", helmModule + "/cmd/helm"}

// multicall is the binary that acts by the name it is called by, and those names.
const multicall = "kubernetes"

var multicallNames = []string{
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "local-provisioner",
}

// Set is a finished set of programs and images.
type Set struct {
	Bin               string // folder of the programs
	PauseImage        string // image reference
	CoreDNSImage      string
	ImageFiles        []string // tarballs of both
	KubernetesVersion string
}

// Build returns the set of the current sources, and builds it first if the cache has none. Progress goes to out.
func Build(ctx context.Context, out io.Writer) (Set, error) {
	src, err := findSource()
	if err != nil {
		return Set{}, err
	}
	goVersion, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return Set{}, fmt.Errorf("ask the go command for its version: %w; is Go installed and in PATH?", err)
	}
	hash, err := src.hash(strings.TrimSpace(string(goVersion)))
	if err != nil {
		return Set{}, err
	}
	cache, err := cacheFolder()
	if err != nil {
		return Set{}, err
	}
	final := filepath.Join(cache, hash)
	set := src.set(final)
	if complete(final) {
		return set, nil
	}
	unlock, err := lock(cache)
	if err != nil {
		return Set{}, err
	}
	defer unlock()
	if complete(final) { // by the one that held the lock
		return set, nil
	}
	return set, src.build(ctx, final, out)
}

func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(base, "raftkv", "localkube")
	return folder, os.MkdirAll(folder, 0o755)
}

func complete(folder string) bool {
	_, err := os.Stat(folder)
	return err == nil
}

// lock lets one process build at a time.
func lock(cache string) (func(), error) {
	file, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

func (s source) set(folder string) Set {
	dns := "localhost/localkube/coredns:" + s.versions[coreDNSModule]
	return Set{
		Bin:               filepath.Join(folder, "bin"),
		PauseImage:        pauseImage,
		CoreDNSImage:      dns,
		ImageFiles:        []string{filepath.Join(folder, "images", "pause.tar"), filepath.Join(folder, "images", "coredns.tar")},
		KubernetesVersion: s.versions[kubernetesModule],
	}
}

// build makes the set in a folder beside the final one and renames it last, so a killed build leaves no half set.
func (s source) build(ctx context.Context, final string, out io.Writer) error {
	started := time.Now()
	stale, err := filepath.Glob(filepath.Join(filepath.Dir(final), "new-*"))
	if err != nil {
		return err
	}
	for _, folder := range stale {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(filepath.Dir(final), "new-")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "building Kubernetes %s, CoreDNS %s and helm %s from source (about 5 minutes on two cores, once per machine)\n",
		s.versions[kubernetesModule], s.versions[coreDNSModule], s.versions[helmModule])
	err = s.compile(ctx, filepath.Join(work, "bin"), out)
	if err == nil {
		err = s.link(work)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(work))
	}
	if err := os.Rename(work, final); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fmt.Fprintf(out, "built in %v, kept in %s\n", time.Since(started).Round(time.Second), final)
	return nil
}

func (s source) compile(ctx context.Context, bin string, out io.Writer) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	args := append([]string{"build", "-v", "-trimpath", "-ldflags", s.ldflags(), "-o", bin + "/"}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	// Asked to stop, the go command stops its compilers too.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir = s.folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	lines, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	cmd.Stdout = cmd.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	last := watch(lines, out)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go build of the cluster's programs in %s: %w\n%s", s.folder, err, last)
	}
	return nil
}

// ldflags gives the programs the versions that they report; without them a Kubernetes takes itself for v0.0.0.
func (s source) ldflags() string {
	kubernetes := s.versions[kubernetesModule]
	numbers := strings.Split(strings.TrimPrefix(kubernetes, "v"), ".")
	flags := []string{"-s", "-w", "-X", "helm.sh/helm/v4/internal/version.version=" + s.versions[helmModule]}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X", pkg+".gitVersion="+kubernetes, "-X", pkg+".gitMajor="+numbers[0], "-X", pkg+".gitMinor="+numbers[1],
			"-X", pkg+".gitTreeState=clean")
	}
	return strings.Join(flags, " ")
}

// watch counts the packages that the compiler names, says now and then how far it is, and returns the last lines.
func watch(lines io.Reader, out io.Writer) string {
	started, said, done := time.Now(), time.Now(), 0
	var last []string
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		if last = append(last, line); len(last) > keptErrorLines {
			last = last[1:]
		}
		if !strings.Contains(line, " ") {
			done++
		}
		if time.Since(said) >= progressInterval {
			said = time.Now()
			fmt.Fprintf(out, "  %4.0fs  %d of about %d packages compiled, now %s\n", time.Since(started).Seconds(), done, aboutPackages, line)
		}
	}
	return strings.Join(last, "\n")
}

// aboutPackages is what a build with an empty cache compiles; it only serves the progress display.
const aboutPackages = 3200

// link gives the multi-call binary its names and packs the images.
func (s source) link(work string) error {
	bin := filepath.Join(work, "bin")
	for _, name := range multicallNames {
		if err := os.Symlink(multicall, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(work, "images"), 0o755); err != nil {
		return err
	}
	set := s.set(work)
	for i, image := range []struct{ reference, binary, entrypoint string }{
		{set.PauseImage, "pause", "/pause"},
		{set.CoreDNSImage, "coredns", "/coredns"},
	} {
		program, err := os.ReadFile(filepath.Join(bin, image.binary))
		if err != nil {
			return err
		}
		if err := writeImage(set.ImageFiles[i], image.reference, image.entrypoint, program); err != nil {
			return fmt.Errorf("pack the image %s: %w", image.reference, err)
		}
	}
	return nil
}
