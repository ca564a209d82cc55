//go:build linux && scale

package scale

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a program that the test started. Its output is in a file of the work folder.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

// start runs a program until stop, or until the test ends. A program that ends by itself fails the test when it is stopped.
func start(t *testing.T, work, name, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{name: name, log: filepath.Join(work, name+".log"), exited: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of what %s said:\n%s", name, p.tail(20))
		}
		p.stop(t)
	})
	return p
}

// stopPatience is how long a program may take to end.
const stopPatience = 5 * time.Minute

func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	select {
	case <-p.exited:
		t.Errorf("%s has ended by itself (%v):\n%s", p.name, p.cmd.ProcessState, p.tail(20))
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(stopPatience):
			t.Errorf("%s did not end within %v", p.name, stopPatience)
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	}
	p.cmd = nil
}

func (p *process) tail(lines int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// ticksPerSecond is the unit of times in /proc, which is the same on all of Linux' architectures for programs.
const ticksPerSecond = 100

// cpu is the processor time that the process has used, in user mode and in the kernel.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// The program's name is in parentheses and may hold anything; utime and stime are the 14th and 15th field.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// memory is the resident set of the process now, and the largest that it had, in bytes.
func (p *process) memory(t *testing.T) (now, peak int64) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		var into *int64
		text, ok := strings.CutPrefix(s.Text(), "VmRSS:")
		if into = &now; !ok {
			if text, ok = strings.CutPrefix(s.Text(), "VmHWM:"); !ok {
				continue
			}
			into = &peak
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		*into = kib << 10
	}
	return now, peak
}
