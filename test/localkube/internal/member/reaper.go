package member

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// reaper starts processes and waits for all children of this process, its own and those that ended processes left to
// it, which is the duty of a namespace's first process: without it the namespace would fill with the dead.
type reaper struct {
	// mu makes "start a process" and "expect its end" one step for the collector, which may see the end first.
	mu       sync.Mutex
	expected map[int]chan<- string
}

func newReaper() *reaper {
	r := &reaper{expected: map[int]chan<- string{}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for range signals {
			r.collect()
		}
	}()
	return r
}

// start runs a program with its output appended to its log. The channel gets one word on how it ended: "" for success.
func (r *reaper) start(logDir string, p Program) (<-chan string, error) {
	log, err := os.OpenFile(logFile(logDir, p), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	input := p.Stdin
	if input == "" {
		input = os.DevNull
	}
	stdin, err := os.Open(input)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	ended := make(chan string, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(p.Path, append([]string{p.Name}, p.Args...), &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(childEnvironment(), p.Env...),
		Files: []uintptr{stdin.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Path, err)
	}
	r.expected[pid] = ended
	return ended, nil
}

// childEnvironment leaves the mark out: it is the init process's alone.
func childEnvironment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
}

// collect takes the end of every child that has ended; one signal may stand for many.
func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended, ours := r.expected[pid]; ours {
			delete(r.expected, pid)
			ended <- describe(status)
		}
	}
}

func describe(status syscall.WaitStatus) string {
	switch {
	case status.Signaled():
		return fmt.Sprintf("was killed by signal %d (%v)", status.Signal(), status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Sprintf("ended with exit code %d", status.ExitStatus())
	default:
		return ""
	}
}
