//go:build linux && scale

package scale

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	clustersFlag = flag.Int("scale.clusters", 20, "how many RaftClusters of 3 members")
	restFlag     = flag.Duration("scale.rest", 5*time.Second, "for how long the operator is watched at rest")
	dirFlag      = flag.String("scale.dir", "", "folder that keeps the logs and the audit log; empty for one that is removed")
	operatorFlag = flag.String("scale.operator", "", "the operator's program; empty for that of this checkout")
)

// insideEnv tells the second life of this program, inside of the namespaces, where the programs are that the first one built.
const insideEnv = "RAFTKV_SCALE_INSIDE"

// programs is the folder of what was compiled.
var programs string

// TestMain compiles the programs, and then runs the tests in namespaces for processes, mounts and the network. Whatever they start ends
// with the namespace's first process, which ends with this one.
func TestMain(m *testing.M) {
	flag.Parse()
	if programs = os.Getenv(insideEnv); programs != "" {
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "set up the namespaces:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	code, err := runInside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runInside() (code int, err error) {
	folder, err := os.MkdirTemp("", "raftkv-scale-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if err := compile(folder); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	inside := exec.Command(self, os.Args[1:]...)
	// What is temporary is in the folder too, and goes with it even if the process inside is killed.
	inside.Env = append(os.Environ(), insideEnv+"="+folder, "TMPDIR="+folder)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		inside.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		inside.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		inside.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	// A wish to end goes to the process inside, so that this one can still clean up after it.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := inside.Start(); err != nil {
		return 0, fmt.Errorf("start a process in namespaces of its own (that needs root, or user namespaces): %w", err)
	}
	go func() {
		for range signals {
			_ = inside.Process.Kill()
		}
	}()
	var failed *exec.ExitError
	if err := inside.Wait(); err != nil && !errors.As(err, &failed) {
		return 0, err
	}
	if code = inside.ProcessState.ExitCode(); code < 0 {
		return 0, errors.New("the tests were ended by a signal")
	}
	return code, nil
}

// compile builds the operator, the API server's store and kwok.
func compile(folder string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	for _, x := range []struct{ name, module, pkg string }{
		{storeProgram, root, "./cmd/node"},
		{operatorProgram, root, "./cmd/operator"},
		{kwokProgram, filepath.Join(root, "test/scale/kwok"), "sigs.k8s.io/kwok/cmd/kwok"},
	} {
		if x.name == operatorProgram && *operatorFlag != "" {
			given, err := filepath.Abs(*operatorFlag)
			if err != nil {
				return err
			}
			if err := os.Symlink(given, filepath.Join(folder, x.name)); err != nil {
				return err
			}
			continue
		}
		build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(folder, x.name), x.pkg)
		build.Dir = x.module
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", x.name, err, output)
		}
	}
	return gatherStages(filepath.Join(root, "test/scale/kwok"), filepath.Join(folder, stagesFile))
}

// stages are what kwok's own distribution has pods and nodes do: a pod that was scheduled runs and is ready at once, a node is healthy.
var stages = []string{
	"pod/fast/pod-ready.yaml", "pod/fast/pod-delete.yaml", "node/fast/node-initialize.yaml", "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
}

// gatherStages takes them from kwok's module.
func gatherStages(module, to string) error {
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok")
	list.Dir = module
	dir, err := list.Output()
	if err != nil {
		return fmt.Errorf("find kwok's module: %w", err)
	}
	var all []byte
	for _, stage := range stages {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kustomize", "stage", filepath.FromSlash(stage)))
		if err != nil {
			return err
		}
		all = append(append(all, "---\n"...), text...)
	}
	return os.WriteFile(to, all, 0o600)
}

// The programs in the folder.
const (
	storeProgram    = "raftkv-node"
	operatorProgram = "raftkv-operator"
	kwokProgram     = "kwok"
	stagesFile      = "stages.yaml"
)
