//go:build linux && scale

package scale

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// The pods' addresses: each Kubernetes node has 254 of them.
const (
	podNetwork = "10.64.0.0/10"
	podMask    = "255.192.0.0"
	// machineAddress is the first of them, which no node hands out.
	machineAddress = "10.64.0.1"
)

func podCIDR(node int) string { return fmt.Sprintf("10.%d.%d.0/24", 64+(node+1)/256, (node+1)%256) }

// settle makes the namespaces that this process is the first in fit to live in: /proc shows its processes, and the
// loopback interface has the pods' addresses. A whole network on a loopback interface is local, like 127.0.0.0/8.
func settle() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(configure(socket), unix.Close(socket))
}

func configure(socket int) error {
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, lo); err != nil {
		return fmt.Errorf("read the flags of lo: %w", err)
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	for _, x := range []struct {
		request uint
		value   string
	}{{unix.SIOCSIFADDR, machineAddress}, {unix.SIOCSIFNETMASK, podMask}} {
		alias, err := unix.NewIfreq("lo:pods")
		if err != nil {
			return err
		}
		if err := alias.SetInet4Addr(net.ParseIP(x.value).To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, x.request, alias); err != nil {
			return fmt.Errorf("give lo the pods' addresses (%s): %w", x.value, err)
		}
	}
	return nil
}
