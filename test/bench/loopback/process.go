//go:build linux

package loopback

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stopTimeout is how long a process may take to end after SIGTERM before it is killed.
	stopTimeout = 10 * time.Second
	// clockTicksPerSecond is the unit of the times in /proc/PID/stat, the same on every Linux that Go knows.
	clockTicksPerSecond = 100
)

// Process is one member's program with its directory and flags; it can be killed and started again.
type Process struct {
	Program string
	Args    []string
	Env     []string
	LogPath string
	Dir     string

	cmd    *exec.Cmd
	exited chan struct{}
}

// Start begins the process, for the first time or again. Its output goes to the end of its log.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.Program, p.Args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A benchmark that dies takes its members along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is of no interest: it is killed or told to stop
		close(exited)
	}()
	p.cmd, p.exited = cmd, exited
	return nil
}

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended already
	<-p.exited
}

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Ended tells whether the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Stop tells the process to end, and kills it if it does not within stopTimeout.
func (p *Process) Stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended already
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.Kill()
	}
}

// LogTail is what a person wants to see of a member that did not do what it should.
func (p *Process) LogTail() string {
	text, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	const tailBytes = 2000
	return string(text[max(0, len(text)-tailBytes):])
}

// Usage is what a process has used of the machine since its start.
type Usage struct {
	CPU time.Duration
	// ResidentBytes are in memory now.
	ResidentBytes int64
	// AnonymousBytes are those of them that are not pages of files, which the system may take back.
	AnonymousBytes int64
}

// Usage reads what the process has used.
func (p *Process) Usage() (Usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Usage{}, err
	}
	// The second field is the program's name in brackets, which may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const userTime, systemTime = 14 - 3, 15 - 3 // as proc(5) counts them, behind the first two
	if len(fields) <= systemTime {
		return Usage{}, errors.New("/proc/PID/stat is not what proc(5) says")
	}
	var ticks int64
	for _, f := range []string{fields[userTime], fields[systemTime]} {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return Usage{}, err
		}
		ticks += n
	}
	u := Usage{CPU: time.Duration(ticks) * time.Second / clockTicksPerSecond}
	kilobytes, err := procField(filepath.Join(dir, "status"), "VmRSS:")
	if err != nil {
		return u, err
	}
	u.ResidentBytes = kilobytes << 10
	kilobytes, err = procField(filepath.Join(dir, "status"), "RssAnon:")
	u.AnonymousBytes = kilobytes << 10
	return u, err
}

func procField(path, name string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name); found {
			if words := strings.Fields(rest); len(words) > 0 {
				return strconv.ParseInt(words[0], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// OwnCPU is the processor time of this program, which makes the load.
func OwnCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// WrittenToDisk is how many bytes the device under a directory was told to write, by whomever; zero where the file system has no
// device of its own. A process's write_bytes in /proc/PID/io is of no use here: it counts a large folio of the page cache as a
// whole whenever a part of it becomes dirty.
func WrittenToDisk(dir string) int64 {
	var stat syscall.Stat_t
	if err := syscall.Stat(dir, &stat); err != nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return 0
	}
	const writeSectors, sectorBytes = 6, 512 // Documentation/block/stat.rst
	fields := strings.Fields(string(text))
	if len(fields) <= writeSectors {
		return 0
	}
	sectors, err := strconv.ParseInt(fields[writeSectors], 10, 64)
	if err != nil {
		return 0
	}
	return sectors * sectorBytes
}

// FreeAddresses are below those that the kernel gives to outgoing connections, so that a member finds its own free when it
// comes back.
func FreeAddresses(n int) ([]string, error) {
	const first, count, attempts = 20_000, 12_000, 1000
	given := map[string]bool{}
	var out []string
	for range attempts {
		address := fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(count))
		l, err := net.Listen("tcp", address)
		if err != nil || given[address] {
			if err == nil {
				_ = l.Close()
			}
			continue
		}
		_ = l.Close()
		given[address] = true
		if out = append(out, address); len(out) == n {
			return out, nil
		}
	}
	return nil, errors.New("no free ports between 20000 and 32000")
}
