package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	gibibyte = 1 << 30
	// A cluster of three nodes uses about 1 GiB of memory at rest; pods and page cache need room beside it.
	neededMemoryBytes = 2 * gibibyte
	// Build cache about 4 GiB when cold, images and volumes beside it.
	neededDiskBytes = 6 * gibibyte
)

// ErrUnfit says that this machine cannot host a cluster; what is wrong is in the error that wraps it.
var ErrUnfit = errors.New("this machine cannot host a local Kubernetes")

// Check is one thing that a cluster needs of the machine.
type Check struct {
	Name   string
	Detail string
	Err    error // nil if the machine has it; else what to do
}

// Preflight tries everything that a cluster needs and that no package can bring.
func Preflight(work string) []Check {
	var checks []Check
	add := func(name, detail string, err error) { checks = append(checks, Check{name, detail, err}) }

	if os.Geteuid() != 0 {
		add("root", "", errors.New("namespaces, mounts and cgroups need root; run it with sudo"))
		return checks
	}
	add("root", "", nil)
	add("namespaces", "process, mount, network, host name, IPC", tryInNamespaces("true"))
	add("virtual network", "veth pairs and a bridge", tryInNamespaces(
		"ip link add rkv0 type bridge && ip link add rkv-n1 type veth peer name eth0 && ip link set rkv-n1 master rkv0 up"))
	if _, err := exec.LookPath("nft"); err == nil {
		add("nftables", "address translation for Services", tryInNamespaces(
			"nft 'add table ip t; add chain ip t c { type nat hook prerouting priority 0; }; add rule ip t c ip daddr 10.96.0.1 tcp dport 443 dnat to 10.219.0.1:6443'"))
	}
	add("overlay file system", "for container images", tryOverlay())
	cgroups, err := DetectCgroups()
	add("control groups", cgroups.Version(), err)
	detail, err := memory()
	add("memory", detail, err)
	detail, err = disk(work)
	add("disk", detail, err)
	if _, err := exec.LookPath("go"); err != nil {
		add("Go", "", errors.New("the cluster's programs are built from source; install Go 1.26 or newer and put it in PATH"))
	} else {
		add("Go", "builds the cluster's programs", nil)
	}
	return checks
}

// Verdict is nil if all checks passed, else an error that wraps ErrUnfit and names each that failed.
func Verdict(checks []Check) error {
	var failed []string
	for _, c := range checks {
		if c.Err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", c.Name, c.Err))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n  %s", ErrUnfit, strings.Join(failed, "\n  "))
}

// tryInNamespaces runs a shell line in new namespaces, which vanish with it.
func tryInNamespaces(line string) error {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the kernel or the sandbox around this machine refused it (%w) %s", err, strings.TrimSpace(string(text)))
	}
	return nil
}

// tryOverlay mounts an overlay in a namespace of its own, on a tmpfs there, so that it leaves no trace.
func tryOverlay() error {
	return tryInNamespaces("mount --make-rprivate / && mount -t tmpfs t /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m && " +
		"mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w o /mnt/m")
}

func memory() (string, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return "", err
	}
	total := info.Totalram * uint64(info.Unit)
	detail := fmt.Sprintf("%.1f GiB", float64(total)/gibibyte)
	if total < neededMemoryBytes {
		return detail, fmt.Errorf("%s is too little; three nodes need at least %d GiB", detail, neededMemoryBytes/gibibyte)
	}
	return detail, nil
}

func disk(work string) (string, error) {
	folder := work
	for {
		if _, err := os.Stat(folder); err == nil {
			break
		}
		folder = filepath.Dir(folder)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return "", err
	}
	free := stat.Bavail * uint64(stat.Bsize)
	detail := fmt.Sprintf("%.1f GiB free at %s", float64(free)/gibibyte, folder)
	if free < neededDiskBytes {
		return detail, fmt.Errorf("%s; %d GiB are needed: make room, or choose another folder with --work", detail, neededDiskBytes/gibibyte)
	}
	return detail, nil
}
