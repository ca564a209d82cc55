// Command node is what etcd's tests start as bin/etcd: raftkv-node, which lies beside it, with what it was given. TLS
// between members, which raftkv has not, is left out, and that of clients ends here, so that all that is behind it is tested.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// program is the node's, in the directory of this one.
const program = "raftkv-node"

func init() {
	// The node ends with the thread that has started it, which has to be that of the process.
	runtime.LockOSThread()
}

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	path := filepath.Join(filepath.Dir(self), program)
	line := parse(args)
	if len(line.secure) == 0 {
		return 1, syscall.Exec(path, append([]string{path}, line.args...), os.Environ())
	}
	dir, err := os.MkdirTemp("", "etcdsuite")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var sockets []string
	for i, address := range line.secure {
		socket := filepath.Join(dir, fmt.Sprint(i))
		if err := end(address, socket, line); err != nil {
			return 1, err
		}
		sockets = append(sockets, "unix://"+socket)
	}
	c := exec.Command(path, append(line.args, "--listen-client-urls="+strings.Join(append(sockets, line.plain...), ","))...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for s := range signals {
			_ = c.Process.Signal(s) // it has ended if this fails
		}
	}()
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return c.ProcessState.ExitCode(), nil
}
