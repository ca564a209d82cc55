package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/test/localkube/internal/machine"
	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

// Down removes the cluster and proves that nothing of it is left.
func (c Cluster) Down() (err error) {
	p, err := c.anyPlan()
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	left, err := remains(p)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		c.say("there is no cluster %s in %s", p.Name, c.Base)
		return nil
	}
	if err := remove(p); err != nil {
		return err
	}
	if left, err = remains(p); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("this is still there, which should not be; try again, and report it if it stays:\n  %s", strings.Join(left, "\n  "))
	}
	c.say("cluster %s is down: no process, mount, network, control group or file of it is left", p.Name)
	c.say("kept for the next one: the built programs (go clean -cache and rm -r ~/.cache/raftkv) and the Debian packages")
	return nil
}

// remove ends what runs and deletes what it made. Mounts and networks live in the members' namespaces and end with them.
func remove(p plan.Plan) error {
	// Twice, because a run that was killed may have had one more member on the way while the list was made.
	for range 2 {
		processes, err := member.Find(p.Work)
		if err != nil {
			return err
		}
		if err := member.Kill(p.Work, processes); err != nil {
			return err
		}
	}
	cgroups, err := machine.DetectCgroups()
	if err != nil {
		return err
	}
	if err := cgroups.Remove(p.CgroupRoot()); err != nil {
		return err
	}
	// Nothing of ours is mounted on the machine's side. What is mounted there is somebody's, and must not be deleted.
	mounts, err := mountsBelow(p.Work)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("something else is mounted inside %s; unmount it first: %s", p.Work, strings.Join(mounts, ", "))
	}
	return os.RemoveAll(p.Work)
}

// remains lists everything of the cluster that is on the machine.
func remains(p plan.Plan) ([]string, error) {
	var left []string
	processes, err := member.Find(p.Work)
	if err != nil {
		return nil, err
	}
	for _, process := range processes {
		left = append(left, fmt.Sprintf("process %d (%s)", process.PID, process.Member))
	}
	mounts, err := mountsBelow(p.Work)
	if err != nil {
		return nil, err
	}
	for _, mount := range mounts {
		left = append(left, "mount "+mount)
	}
	cgroups, err := machine.DetectCgroups()
	if err != nil {
		return nil, err
	}
	for _, folder := range cgroups.Remains(p.CgroupRoot()) {
		left = append(left, "control group "+folder)
	}
	if _, err := os.Lstat(p.Work); err == nil {
		left = append(left, "folder "+p.Work)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return left, nil
}

// mountsBelow lists what is mounted at the folder or below it, as this process sees it.
func mountsBelow(folder string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var mounts []string
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if at := fields[4]; at == folder || strings.HasPrefix(at, folder+"/") {
			mounts = append(mounts, at)
		}
	}
	slices.Sort(mounts)
	return mounts, nil
}
