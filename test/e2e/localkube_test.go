//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sys/unix"
)

// localkube is the machine that the Kubernetes nodes are on: it can do to them what fate does.
type localkube struct {
	program string
	inits   map[string]int // process ID of each member's first process, in this machine's numbering
}

func findLocalkube(program string) (*localkube, error) {
	if program == "" {
		return nil, errors.New("E2E_LOCALKUBE is not set; run these tests with `make test-e2e`")
	}
	m := &localkube{program: program, inits: make(map[string]int)}
	text, err := exec.Command(program, "status").Output()
	if err != nil {
		return nil, fmt.Errorf("localkube status: %w", err)
	}
	// MEMBER  ADDRESS  PROCESS  ...
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 2 {
			if pid, err := strconv.Atoi(fields[2]); err == nil {
				m.inits[fields[0]] = pid
			}
		}
	}
	if len(m.inits) < 4 {
		return nil, fmt.Errorf("these tests need a control plane and three nodes; localkube status says:\n%s", text)
	}
	return m, nil
}

// nodes are the names of the Kubernetes nodes.
func (m *localkube) nodes() []string {
	var names []string
	for name := range m.inits {
		if name != control {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (m *localkube) run(t *testing.T, args ...string) {
	t.Helper()
	if text, err := exec.Command(m.program, args...).CombinedOutput(); err != nil {
		t.Fatalf("localkube %v: %v\n%s", args, err, text)
	}
}

// cut takes the node's network away, and gives it back at the end of the test if heal did not.
func (m *localkube) cut(t *testing.T, node string) {
	t.Helper()
	m.run(t, "cut", node)
	t.Cleanup(func() { _ = exec.Command(m.program, "heal", node).Run() })
}

func (m *localkube) heal(t *testing.T, node string) {
	t.Helper()
	m.run(t, "heal", node)
}

// control is the member from which every pod can be reached by its address.
const control = "control"

// dialer dials from inside the member's network. Addresses must be literal.
func (m *localkube) dialer(member string) func(ctx context.Context, network, address string) (net.Conn, error) {
	path := fmt.Sprintf("/proc/%d/ns/net", m.inits[member])
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type dialed struct {
			conn net.Conn
			err  error
		}
		result := make(chan dialed, 1)
		go func() {
			// The thread is never unlocked: it ends with this goroutine, and its network namespace with it.
			runtime.LockOSThread()
			if err := enterNetwork(path); err != nil {
				result <- dialed{nil, err}
				return
			}
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			result <- dialed{conn, err}
		}()
		d := <-result
		return d.conn, d.err
	}
}

func enterNetwork(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}

// kill ends the program of the pod with SIGKILL: nothing in it gets to run another line.
func (m *localkube) kill(t *testing.T, pod corev1.Pod, program string) {
	t.Helper()
	if err := killProgram(pod, program); err != nil {
		t.Fatal(err)
	}
}

func killProgram(pod corev1.Pod, program string) error {
	pid, err := processOf(pod, program)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s in pod %s (process %d): %w", program, pod.Name, pid, err)
	}
	return nil
}

// errNoProcess says that the program is not running at this moment.
var errNoProcess = errors.New("no such process is on this machine")

// processOf finds the pod's process by its control group, which carries the pod's UID.
func processOf(pod corev1.Pod, program string) (int, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, folder := range folders {
		command, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil {
			continue // it ended meanwhile
		}
		if name, _, _ := bytes.Cut(command, []byte{0}); string(name) != program {
			continue
		}
		groups, err := os.ReadFile(filepath.Join(folder, "cgroup"))
		if err == nil && bytes.Contains(groups, []byte("pod"+string(pod.UID))) {
			return strconv.Atoi(filepath.Base(folder))
		}
	}
	return 0, fmt.Errorf("%w: %s of pod %s (%s)", errNoProcess, program, pod.Name, pod.UID)
}
