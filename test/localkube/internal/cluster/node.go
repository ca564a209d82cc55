package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raftkv/raftkv/test/localkube/internal/artifacts"
	"github.com/raftkv/raftkv/test/localkube/internal/machine"
	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

// noticeTimeout is how long containerd may take to tell the kubelet's side of an image that was imported.
const noticeTimeout = 30 * time.Second

// change runs f on a running cluster while no other command does.
func (c Cluster) change(f func(s state, processes map[string]member.Process) error) (err error) {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	s, processes, err := c.running()
	if err != nil {
		return err
	}
	return f(s, processes)
}

// SetCut unplugs a node from the network, with all its pods, or plugs it in again.
func (c Cluster) SetCut(ctx context.Context, name string, cut bool) error {
	return c.change(func(s state, processes map[string]member.Process) error {
		n, err := s.Plan.Node(name)
		if err != nil {
			return err
		}
		if _, runs := processes[name]; runs {
			line := render.Plug(n)
			if cut {
				line = render.Unplug(n)
			}
			if err := ipBatch(ctx, processes[plan.ControlName], line+"\n"); err != nil {
				return err
			}
		}
		s.setCut(name, cut)
		if err := s.save(); err != nil {
			return err
		}
		if cut {
			c.say("%s is cut off from everything else", name)
		} else {
			c.say("%s is joined to the others", name)
		}
		return nil
	})
}

// Stop ends a node as a power loss does: all its processes at once, without a word to anyone.
func (c Cluster) Stop(name string) error {
	return c.change(func(s state, processes map[string]member.Process) error {
		if _, err := s.Plan.Node(name); err != nil {
			return err
		}
		process, runs := processes[name]
		if !runs {
			c.say("%s is stopped already", name)
			return nil
		}
		if err := member.Kill(s.Plan.Work, []member.Process{process}); err != nil {
			return err
		}
		c.say("%s is stopped; its disk is kept", name)
		return nil
	})
}

// KillProgram ends one program of a member (member/program) at once.
func (c Cluster) KillProgram(which string) error {
	name, program, ok := strings.Cut(which, "/")
	if !ok {
		return fmt.Errorf("%q names no program: write MEMBER/PROGRAM, as in control/kube-scheduler", which)
	}
	return c.change(func(_ state, processes map[string]member.Process) error {
		process, runs := processes[name]
		if !runs {
			return fmt.Errorf("%q is no running member", name)
		}
		if err := member.KillChild(process, program); err != nil {
			return err
		}
		c.say("%s is killed", which)
		return nil
	})
}

// Start starts a stopped node and, unless it is cut off, waits until it is ready.
func (c Cluster) Start(ctx context.Context, name string) error {
	return c.change(func(s state, processes map[string]member.Process) error {
		if _, err := s.Plan.Node(name); err != nil {
			return err
		}
		if _, runs := processes[name]; runs {
			c.say("%s runs already", name)
			return nil
		}
		// A machine that boots has no groups of dead pods.
		cgroups, err := machine.DetectCgroups()
		if err != nil {
			return err
		}
		if err := errors.Join(cgroups.Remove(s.Plan.Cgroup(name)), cgroups.Create(s.Plan.Cgroup(name))); err != nil {
			return err
		}
		if err := c.startNode(ctx, s, processes[plan.ControlName], name); err != nil {
			return err
		}
		if slices.Contains(s.Cut, name) {
			c.say("%s starts; it stays cut off", name)
			return nil
		}
		return c.awaitNodes(ctx, s, []string{name})
	})
}

// Load gives every running node the image in the tarball. It returns when kubelets can use it.
func (c Cluster) Load(ctx context.Context, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("the image's tarball: %w", err)
	}
	tags := artifacts.Tags(file)
	return c.change(func(s state, processes map[string]member.Process) error {
		var all sync.WaitGroup
		errs := make([]error, len(s.Plan.Nodes))
		for i, n := range s.Plan.Nodes {
			process, runs := processes[n.Name]
			if !runs {
				c.say("%s is stopped and does not get the image; load it again when it runs", n.Name)
				continue
			}
			all.Go(func() { errs[i] = loadInto(ctx, s, process, file, tags) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		c.say("loaded %s (%s)", file, strings.Join(tags, ", "))
		return nil
	})
}

func loadInto(ctx context.Context, s state, process member.Process, file string, tags []string) error {
	image, err := os.Open(file)
	if err != nil {
		return err
	}
	defer image.Close()
	if _, err := inside(ctx, process, wholeMember, image, append([]string{s.Build.Ctr}, render.ImportArgs("-")...)...); err != nil {
		return fmt.Errorf("%w; is %s a tarball of docker's or OCI's format?", err, file)
	}
	// containerd tells its Kubernetes side of the import a moment later; a pod started before that would not find it.
	deadline := time.Now().Add(noticeTimeout)
	for {
		listed, err := inside(ctx, process, wholeMember, nil, append([]string{s.Build.Ctr}, render.ListImagesArgs()...)...)
		if err != nil {
			return err
		}
		known := strings.Fields(listed)
		if !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(known, containerdName(tag)) }) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has imported %s but its kubelet does not see it after %v", process.Member, strings.Join(tags, ", "), noticeTimeout)
		}
		time.Sleep(pollInterval)
	}
}

// containerdName is how containerd spells a reference that names docker's registry by its old name.
func containerdName(tag string) string {
	return strings.Replace(tag, "index.docker.io/", "docker.io/", 1)
}
