package member

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mark is the environment variable that tells an init process from every other process of the machine.
const mark = "RAFTKV_LOCALKUBE_MEMBER"

// firstStrangeFD is the first file that a process did not necessarily open itself or expect.
const firstStrangeFD = 3

// listenerFD is where an init process finds the listener that it inherited, if its spec has ForwardTo.
const listenerFD = 3

// killTimeout is long enough for a kernel that unmounts what a killed member had mounted on a busy disk.
const killTimeout = 30 * time.Second

// Process is a running init process, seen from the machine.
type Process struct {
	Member string
	PID    int
}

// Start starts a member's init process, detached from this process and its terminal. initCommand is the argument list
// (without the program's name) by which this program runs Init. The listener may be nil.
func Start(work, name string, initCommand []string, listener *os.File) (Process, error) {
	self, err := os.Executable()
	if err != nil {
		return Process{}, err
	}
	spec, err := ReadSpec(SpecFile(work, name))
	if err != nil {
		return Process{}, err
	}
	if err := os.MkdirAll(spec.LogDir, 0o755); err != nil {
		return Process{}, err
	}
	log, err := os.OpenFile(filepath.Join(spec.LogDir, "init.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return Process{}, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Process{}, err
	}
	defer null.Close()
	if err := os.Remove(spec.StatusFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Process{}, err
	}
	files := []*os.File{null, log, log}
	if listener != nil {
		files = append(files, listener)
	}
	// What the caller's shell left open, such as a lock that it holds while we run, must not live as long as the member. Kernels before
	// 5.11 cannot do this, and only lose that.
	_ = unix.CloseRange(firstStrangeFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	process, err := os.StartProcess(self, append([]string{"localkube"}, initCommand...), &os.ProcAttr{
		Dir: "/",
		// Nothing of the caller's environment reaches the cluster, so that it is the same wherever it was started from.
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", mark + "=" + markOf(work, name),
		},
		Files: files,
		Sys: &syscall.SysProcAttr{
			Setsid: true,
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET |
				syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		},
	})
	if err != nil {
		return Process{}, fmt.Errorf("start %s in namespaces of its own: %w", name, err)
	}
	pid := process.Pid
	return Process{Member: name, PID: pid}, process.Release()
}

// SpecFile is where a member's Spec is kept.
func SpecFile(work, name string) string { return filepath.Join(work, "members", name+".json") }

func markOf(work, name string) string { return work + ":" + name }

// Find lists the init processes of the cluster in the folder work.
func Find(work string) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if name, ok := identify(pid, work); ok {
			found = append(found, Process{Member: name, PID: pid})
		}
	}
	return found, nil
}

// identify says which member of the cluster a process is the init of. Only the init itself qualifies: it bears the mark
// and is number 1 of a process namespace below this one.
func identify(pid int, work string) (string, bool) {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return "", false
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		name, ok := strings.CutPrefix(string(variable), mark+"="+work+":")
		if ok && name != "" && isInit(pid) {
			return name, true
		}
	}
	return "", false
}

func isInit(pid int) bool {
	numbers := statusField(pid, "NSpid")
	return len(numbers) >= 2 && numbers[len(numbers)-1] == "1"
}

// statusField is a line of a process's status, in words; none if there is no such process.
func statusField(pid int, field string) []string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if numbers, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Fields(numbers)
		}
	}
	return nil
}

// Child finds a running program of a member by its name. Only what the member's init process itself started qualifies.
func Child(member Process, program string) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && isChild(pid, member.PID) && programName(pid) == program {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no program %q runs in %s", program, member.Member)
}

// programName is what a process is called by in its command line; a program's is the one in its spec.
func programName(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	first, _, _ := bytes.Cut(line, []byte{0})
	return string(first)
}

func isChild(pid, parent int) bool {
	numbers := statusField(pid, "PPid")
	return len(numbers) == 1 && numbers[0] == strconv.Itoa(parent)
}

// KillChild ends one program of a member at once. The member starts it again after a pause.
func KillChild(member Process, program string) error {
	pid, err := Child(member, program)
	if err != nil {
		return err
	}
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("take hold of %s/%s (process %d): %w", member.Member, program, pid, err)
	}
	defer unix.Close(handle)
	// The number may have gone to another process before the handle was taken.
	if !isChild(pid, member.PID) || programName(pid) != program {
		return fmt.Errorf("%s/%s ended by itself just now", member.Member, program)
	}
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill %s/%s (process %d): %w", member.Member, program, pid, err)
	}
	if err := awaitEnd(handle, time.Now().Add(killTimeout)); err != nil {
		return fmt.Errorf("%s/%s (process %d) was killed and has not ended: %w", member.Member, program, pid, err)
	}
	return nil
}

// Kill ends members at once, with everything that runs in them, and waits until nothing of them runs.
func Kill(work string, processes []Process) error {
	handles := map[Process]int{}
	defer func() {
		for _, handle := range handles {
			_ = unix.Close(handle)
		}
	}()
	for _, p := range processes {
		// The handle stays with this very process, so the check and the kill cannot mean two different ones.
		handle, err := unix.PidfdOpen(p.PID, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("take hold of %s (process %d): %w", p.Member, p.PID, err)
		}
		if name, ok := identify(p.PID, work); !ok || name != p.Member {
			// It has ended since it was found, or is ending, or never was ours.
			if err := unix.Close(handle); err != nil {
				return err
			}
			continue
		}
		handles[p] = handle
		if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill %s (process %d): %w", p.Member, p.PID, err)
		}
	}
	deadline := time.Now().Add(killTimeout)
	for p, handle := range handles {
		if err := awaitEnd(handle, deadline); err != nil {
			return fmt.Errorf("%s (process %d) was killed and has not ended: %w; see what it waits for in /proc/%d/stack", p.Member, p.PID, err, p.PID)
		}
	}
	return nil
}

// awaitEnd waits for the end of a process. The kernel reports the end of an init process when all others of its
// namespace have ended, and not before.
func awaitEnd(handle int, deadline time.Time) error {
	poll := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, max(0, int(time.Until(deadline).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("not within %v", killTimeout)
		}
	}
}
