package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupMount = "/sys/fs/cgroup"
	// systemGroup is the part of a member's cgroup that its own programs are in: with cgroup v2 a group that has
	// processes cannot hand resources to groups below it, and pods need those.
	systemGroup = "system"
	// removeTimeout is how long the kernel gets to take the last dead process out of a group.
	removeTimeout = 10 * time.Second
	removePoll    = 50 * time.Millisecond
)

// controllers are what a kubelet and runc use where the machine has them.
var controllers = []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"}

// Cgroups is the machine's control group hierarchies: one with cgroup v2, one for each controller with v1.
type Cgroups struct {
	unified bool
	roots   []string
}

// DetectCgroups finds the hierarchies. The error says what is missing for pods to run.
func DetectCgroups() (Cgroups, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &stat); err != nil {
		return Cgroups{}, fmt.Errorf("no control groups are mounted at %s: %w", cgroupMount, err)
	}
	if stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return Cgroups{unified: true, roots: []string{cgroupMount}}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return Cgroups{}, err
	}
	c := Cgroups{}
	real := map[string]bool{}
	for _, e := range entries {
		// cpu and cpuacct are often links to one hierarchy.
		path, err := filepath.EvalSymlinks(filepath.Join(cgroupMount, e.Name()))
		if err != nil || real[path] {
			continue
		}
		if err := unix.Statfs(path, &stat); err != nil {
			continue
		}
		if stat.Type == unix.CGROUP_SUPER_MAGIC || stat.Type == unix.CGROUP2_SUPER_MAGIC {
			real[path] = true
			c.roots = append(c.roots, path)
		}
	}
	for _, needed := range []string{"cpu", "memory", "pids", "cpuset"} {
		if _, err := os.Stat(filepath.Join(cgroupMount, needed, "cgroup.procs")); err != nil {
			return Cgroups{}, fmt.Errorf("the control group controller %s is not mounted at %s/%s", needed, cgroupMount, needed)
		}
	}
	return c, nil
}

// Version is "v1" or "v2".
func (c Cgroups) Version() string {
	if c.unified {
		return "v2"
	}
	return "v1"
}

// Create makes the group path (relative, as plan.Plan gives it) in every hierarchy, ready for pods below it.
func (c Cgroups) Create(path string) error {
	for _, root := range c.roots {
		// From the top down: what a group may use is what its parent hands to it.
		for _, group := range lineage(root, filepath.Join(path, systemGroup)) {
			if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make a control group: %w", err)
			}
			if err := c.inherit(filepath.Dir(group), group); err != nil {
				return err
			}
		}
	}
	return nil
}

// lineage lists the folders from just below root down to path.
func lineage(root, path string) []string {
	var groups []string
	for path != "." {
		groups = append(groups, filepath.Join(root, path))
		path = filepath.Dir(path)
	}
	slices.Reverse(groups)
	return groups
}

// inherit hands the controllers of parent on to group.
func (c Cgroups) inherit(parent, group string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		// With v1 a new cpuset has no processors, and then no process can join it.
		value, err := os.ReadFile(filepath.Join(parent, file))
		if c.unified || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, file), value, 0); err != nil {
			return err
		}
	}
	if !c.unified {
		return nil
	}
	available, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, controller := range controllers {
		if !slices.Contains(strings.Fields(string(available)), controller) {
			continue
		}
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("hand the controller %s to %s: %w", controller, group, err)
		}
	}
	return nil
}

// System lists the folders by which a member's own programs join the group path.
func (c Cgroups) System(path string) []string {
	var folders []string
	for _, root := range c.roots {
		folders = append(folders, filepath.Join(root, path, systemGroup))
	}
	return folders
}

// Remains lists the folders of the group path that exist.
func (c Cgroups) Remains(path string) []string {
	var folders []string
	for _, root := range c.roots {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil {
			folders = append(folders, filepath.Join(root, path))
		}
	}
	return folders
}

// Remove removes the group path and all below it from every hierarchy. Its processes must have ended.
func (c Cgroups) Remove(path string) error {
	deadline := time.Now().Add(removeTimeout)
	for _, folder := range c.Remains(path) {
		for {
			err := removeTree(folder)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove the control group %s: %w", folder, err)
			}
			time.Sleep(removePoll)
		}
	}
	return nil
}

// removeTree removes the deepest groups first. The files in a group are no obstacle and cannot be removed.
func removeTree(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(folder); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
