//go:build linux

package powerloss

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

var (
	seedFlag     = flag.Uint64("powerloss.seed", 1, "seed of the accidents; 0 draws one")
	cutsFlag     = flag.Int("powerloss.cuts", 450, "at how many operations of each member's disk, at most, the power is cut; 0 means at all of them")
	writesFlag   = flag.Int("powerloss.writes", 60, "how much each client writes in each phase")
	restartsFlag = flag.Int("powerloss.restarts", 3, "on how many images the program itself is started")
)

// seed is what all accidents follow from.
func seed(t *testing.T) uint64 {
	t.Helper()
	if *seedFlag == 0 {
		*seedFlag = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat these accidents with -powerloss.seed=%d", *seedFlag)
	return *seedFlag
}

// imagesVariable is set in a process that runs in a mount namespace of its own already.
const imagesVariable = "POWERLOSS_IMAGES"

// images is the fastest place for what need not last. Everything else goes where temporary files go.
var images = os.Getenv(imagesVariable)

func TestMain(m *testing.M) {
	flag.Parse()
	if images != "" {
		os.Exit(m.Run())
	}
	code, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// enter runs the tests again in a mount namespace of their own: the kernel ends the mounts with the last process in it. Their folders are made
// and removed out here, so that nothing is left, in memory above all, of tests that panic or run out of time.
func enter() (code int, err error) {
	scratch, err := os.MkdirTemp("", "raftkv-powerloss-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	const memory = "/dev/shm"
	if images, err = os.MkdirTemp(memory, "raftkv-powerloss-"); err != nil {
		images, err = os.MkdirTemp(scratch, "images-")
	}
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(images)) }()

	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch, imagesVariable+"="+images)
	attributes := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		// Whoever is root in a user namespace may mount there.
		attributes.Cloneflags = syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	cmd.SysProcAttr = attributes
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1), nil // -1 after a signal
	case err != nil:
		return 1, fmt.Errorf("the test of power losses mounts a file system in a namespace of its own: %w; run it as root, or let users make namespaces", err)
	}
	return 0, nil
}
