//go:build linux

package main

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

// process is one member's program with its directory and flags; it can be killed and started again.
type process struct {
	program string
	args    []string
	env     []string
	logPath string
	dir     string
	cmd     *exec.Cmd
	exited  chan struct{}
}

func (p *process) start() error {
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.program, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
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

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended already
	<-p.exited
}

// ended tells whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended already
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.kill()
	}
}

// logTail is what a person wants to see of a member that did not do what it should.
func (p *process) logTail() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	const tailBytes = 2000
	return string(text[max(0, len(text)-tailBytes):])
}

// usage is what a process has used of the machine since its start.
type usage struct {
	cpu time.Duration
	// residentBytes are in memory now.
	residentBytes int64
}

func (p *process) usage() (usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, err
	}
	// The second field is the program's name in brackets, which may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const userTime, systemTime = 14 - 3, 15 - 3 // as proc(5) counts them, behind the first two
	if len(fields) <= systemTime {
		return usage{}, errors.New("/proc/PID/stat is not what proc(5) says")
	}
	var ticks int64
	for _, f := range []string{fields[userTime], fields[systemTime]} {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return usage{}, err
		}
		ticks += n
	}
	u := usage{cpu: time.Duration(ticks) * time.Second / clockTicksPerSecond}
	kilobytes, err := procField(filepath.Join(dir, "status"), "VmRSS:")
	u.residentBytes = kilobytes << 10
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

// ownCPU is the processor time of this program, which makes the load.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// writtenToDisk is how many bytes the device under a directory was told to write, by whomever; zero where the file system has no
// device of its own. A process's write_bytes in /proc/PID/io is of no use here: it counts a large folio of the page cache as a
// whole whenever a part of it becomes dirty.
func writtenToDisk(dir string) int64 {
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

// freeAddresses are below those that the kernel gives to outgoing connections, so that a member finds its own free when it
// comes back.
func freeAddresses(n int) ([]string, error) {
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
