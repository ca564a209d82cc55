//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// patience bounds the wait for what must happen. The machine may be busy with other things.
	patience = 60 * time.Second
	// pollPause is between two looks at a condition.
	pollPause = 20 * time.Millisecond
	// refusalTimeout bounds how long a node may take to find out that it must not start.
	refusalTimeout = patience
	// logTailLines is what a failed test shows of each node.
	logTailLines = 40
	// alarmBytes is how much of a panic or a race is shown.
	alarmBytes = 6000
)

// eventually waits until the condition returns nil.
func eventually(t *testing.T, within time.Duration, what string, condition func() error) {
	t.Helper()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	deadline := time.Now().Add(within)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-tick.C
	}
}

// process is one run of the program.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	// expected says that the test ended it.
	expected bool
}

// startProcess runs the program; its log goes on at the end of the file.
func startProcess(t *testing.T, logPath string, args ...string) *process {
	t.Helper()
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &process{cmd: exec.Command(program(t), args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A test binary that dies takes its nodes along.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.exited)
	}()
	return p
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal %v to pid %d: %v", s, p.cmd.Process.Pid, err)
	}
}

// wait waits for the end of the process and returns its exit code, or -1 after a signal.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("pid %d does not end", p.cmd.Process.Pid)
		return 0
	}
}

// kill is what a power cut or the kernel does to a process: it gets no chance to do anything.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.expected = true
	p.signal(t, syscall.SIGKILL)
	p.wait(t)
}

// terminate asks it to stop, as Kubernetes does.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.expected = true
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("pid %d ended with code %d after SIGTERM", p.cmd.Process.Pid, code)
	}
}

// node is one member's directory, addresses and flags; its processes come and go.
type node struct {
	t       *testing.T
	index   int
	name    string
	dataDir string
	logPath string
	// peer is where it listens for peers, advertised where they find it: a door that the test can shut.
	peer, advertised, client, metrics string
	flags                             []string
	process                           *process
	// pid is that of the last process.
	pid atomic.Int64
}

func (n *node) start() {
	n.t.Helper()
	n.process = startProcess(n.t, n.logPath, append([]string{
		"--name=" + n.name, "--data-dir=" + n.dataDir, "--listen-peer-urls=http://" + n.peer,
		"--listen-client-urls=http://" + n.client, "--listen-metrics-urls=http://" + n.metrics,
	}, n.flags...)...)
	n.pid.Store(int64(n.process.cmd.Process.Pid))
}

func (n *node) running() bool { return n.process != nil && n.process.running() }

// close ends whatever still runs.
func (n *node) close() {
	if n.running() {
		n.process.kill(n.t)
	}
	for _, alarm := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} {
		if i := strings.Index(n.log(), alarm); i >= 0 {
			n.t.Errorf("%s: %s", n.name, n.log()[i:min(len(n.log()), i+alarmBytes)])
		}
	}
	if n.t.Failed() {
		n.t.Logf("--- the end of the log of %s\n%s", n.name, n.logTail())
	}
}

func (n *node) log() string {
	text, err := os.ReadFile(n.logPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Error(err)
	}
	return string(text)
}

func (n *node) logTail() string {
	lines := strings.Split(strings.TrimSpace(n.log()), "\n")
	return strings.Join(lines[max(0, len(lines)-logTailLines):], "\n")
}

// mustRefuse runs the node, which must end by itself with an error that contains all of the words.
func (n *node) mustRefuse(words ...string) string {
	n.t.Helper()
	before := len(n.log())
	n.start()
	select {
	case <-n.process.exited:
	case <-time.After(refusalTimeout):
		n.process.kill(n.t)
		n.t.Errorf("%s should have refused, it ran: %s", n.name, n.log()[before:])
		return ""
	}
	code := n.process.cmd.ProcessState.ExitCode()
	said := n.log()[before:]
	if code == 0 {
		n.t.Errorf("%s ended with code 0, it should have refused: %s", n.name, said)
	}
	message := said
	if i := strings.LastIndex(said, "raftkv-node: "); i >= 0 {
		message = strings.TrimSpace(said[i:])
	} else {
		n.t.Errorf("%s ended without saying why:\n%s", n.name, said)
	}
	for _, w := range words {
		if !strings.Contains(message, w) {
			n.t.Errorf("%s should have said %q, it said:\n%s", n.name, w, message)
		}
	}
	n.t.Logf("%s", message)
	return message
}

// segments returns the names of the files of the node's write-ahead log in order.
func (n *node) segments() []string {
	n.t.Helper()
	names, err := filepath.Glob(filepath.Join(n.dataDir, "member", "wal", "*.wal"))
	if err != nil || len(names) == 0 {
		n.t.Fatalf("%s has no write-ahead log: %v", n.name, err)
	}
	return names
}

// fingerprints maps the names of all files below a directory to their lengths and checksums.
func fingerprints(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := crc32.New(castagnoli)
		length, err := io.Copy(sum, f)
		out[path] = fmt.Sprintf("%d bytes with checksum %08x", length, sum.Sum32())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// difference says in which files two directories differ; empty means not at all.
func difference(before, after map[string]string) string {
	var out []string
	for name, b := range before {
		switch a, there := after[name]; {
		case !there:
			out = append(out, name+" is gone")
		case a != b:
			out = append(out, fmt.Sprintf("%s had %s, it has %s", name, b, a))
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			out = append(out, name+" is new")
		}
	}
	return strings.Join(out, "; ")
}
