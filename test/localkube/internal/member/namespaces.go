package member

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// enter makes the namespaces that the kernel just gave this process into the machine that spec describes.
func enter(spec Spec) error {
	if err := joinCgroups(spec.Cgroups); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	// Mounts made here must not reach the machine. Between the programs in here they must: a kubelet mounts volumes that
	// containers see later.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cut the mounts off from the machine's: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts within %s: %w", spec.Name, err)
	}
	if err := layFolders(spec); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Sysctls)) {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(spec.Sysctls[name]), 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return showSysctls(spec.ShownSysctls)
}

func joinCgroups(folders []string) error {
	for _, folder := range folders {
		// 0 stands for the writer itself, whatever number it has in which namespace.
		if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("join the cgroup %s: %w", folder, err)
		}
	}
	return nil
}

// layFolders mounts the member's own folders over the machine's. The sources may lie below a target, so all are opened
// before the first is covered.
func layFolders(spec Spec) error {
	sources := map[string]string{spec.Work: spec.Work}
	maps.Copy(sources, spec.PrivateFolders)
	opened := map[string]int{}
	for target, source := range sources {
		fd, err := unix.Open(source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", source, err)
		}
		defer unix.Close(fd)
		opened[target] = fd
	}
	if spec.PrivateRun {
		if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount an empty /run: %w", err)
		}
	}
	// The work folder comes last: it must show up again below whatever covered it.
	targets := slices.SortedFunc(maps.Keys(sources), func(a, b string) int {
		if a == spec.Work || b == spec.Work {
			return map[bool]int{true: 1, false: -1}[a == spec.Work]
		}
		return strings.Compare(a, b)
	})
	for _, target := range targets {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", opened[target]), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("lay %s over %s: %w", sources[target], target, err)
		}
	}
	return nil
}

// showSysctls lays files over settings of the kernel that are the whole machine's, so that a program which would set
// them finds them set.
func showSysctls(values map[string]string) error {
	for name, value := range values {
		target := filepath.Join("/proc/sys", name)
		file, err := os.CreateTemp("/run", "sysctl-")
		if err != nil {
			return err
		}
		_, err = file.WriteString(value + "\n")
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		if err := unix.Mount(file.Name(), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("lay a value over %s: %w", target, err)
		}
	}
	return nil
}
