package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

const (
	pollInterval = 200 * time.Millisecond
	// The limits are for a machine of two busy cores; a start takes about 15 s on an idle one.
	controlTimeout = 2 * time.Minute
	nodesTimeout   = 3 * time.Minute
	dnsTimeout     = 3 * time.Minute
	// patience is how often a member's programs may end before the start is given up.
	patience = 5
	// tailBytes is how much of a failing program's log is shown.
	tailBytes = 3000
)

// await polls until check says true. It gives up when time is over or a member cannot start, and then says why, with the
// end of the log that tells most.
func (c Cluster) await(ctx context.Context, s state, what string, timeout time.Duration, check func(context.Context) (bool, error)) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last error
	for {
		done, err := check(ctx)
		if done {
			c.say("  %s after %v", what, time.Since(started).Round(100*time.Millisecond))
			return nil
		}
		if err != nil {
			last = err
		}
		if err := c.fatal(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not yet: %s, after %v (%w)\n%s", what, time.Since(started).Round(time.Second),
				errors.Join(last, context.Cause(ctx)), c.slowest(s))
		case <-tick.C:
		}
	}
}

func (c Cluster) awaitControl(ctx context.Context, s state) error {
	api, err := newAPI(s.Plan, s.APIPort)
	if err != nil {
		return err
	}
	return c.await(ctx, s, "control plane ready", controlTimeout, func(ctx context.Context) (bool, error) {
		err := api.do(ctx, http.MethodGet, "/readyz", "", nil)
		return err == nil, err
	})
}

func (c Cluster) awaitNodes(ctx context.Context, s state, names []string) error {
	api, err := newAPI(s.Plan, s.APIPort)
	if err != nil {
		return err
	}
	return c.await(ctx, s, strings.Join(names, ", ")+" ready", nodesTimeout, func(ctx context.Context) (bool, error) {
		nodes, err := api.nodes(ctx)
		if err != nil {
			return false, err
		}
		all := true
		for _, name := range names {
			planned, err := s.Plan.Node(name)
			if err != nil {
				return false, err
			}
			object, registered := nodes[name]
			if registered && object.Spec.PodCIDR == "" {
				err := api.do(ctx, http.MethodPatch, "/api/v1/nodes/"+name, render.PodCIDRPatch(planned), nil)
				if err != nil {
					return false, err
				}
			}
			// A node that comes back is still called ready by the API server for a while; its own word counts too.
			all = all && registered && object.ready() && member.ReadStatus(statusFile(s.Plan, name)).Running
		}
		return all, nil
	})
}

// awaitDNS waits for names to be answered on every node, and for pods to be accepted.
func (c Cluster) awaitDNS(ctx context.Context, s state) error {
	api, err := newAPI(s.Plan, s.APIPort)
	if err != nil {
		return err
	}
	return c.await(ctx, s, "cluster DNS ready", dnsTimeout, func(ctx context.Context) (bool, error) {
		ready, err := api.dnsReady(ctx)
		if err != nil || ready < len(s.Plan.Nodes) {
			return false, err
		}
		// Pods of the default namespace are refused until its account exists.
		err = api.do(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", "", nil)
		return err == nil, err
	})
}

// fatal reports a member that will not come up: its init process has gone, or its programs end again and again.
func (c Cluster) fatal(s state) error {
	processes, err := processesOf(s.Plan)
	if err != nil {
		return err
	}
	for _, name := range s.Plan.Members() {
		status := member.ReadStatus(statusFile(s.Plan, name))
		if _, there := processes[name]; !there && s.Complete {
			continue // a stopped node of a running cluster
		} else if !there {
			return fmt.Errorf("%s has ended\n%s\nsee all logs in %s", name, tail(s.Plan, name, "init"), s.Plan.Logs(name))
		}
		if status.Failures >= patience {
			return fmt.Errorf("%s cannot start: %s\n%s\nsee all logs in %s",
				name, status.LastFailure, tail(s.Plan, name, status.FailedProgram), s.Plan.Logs(name))
		}
	}
	return nil
}

// slowest shows what the first member that does not run yet is waiting for.
func (c Cluster) slowest(s state) string {
	for _, name := range s.Plan.Members() {
		status := member.ReadStatus(statusFile(s.Plan, name))
		if !status.Running {
			return fmt.Sprintf("%s waits for %s\n%s\nsee all logs in %s", name, status.Program, tail(s.Plan, name, status.Program), s.Plan.Logs(name))
		}
	}
	return fmt.Sprintf("all programs run; the end of the first kubelet's log:\n%s\nsee all logs in %s",
		tail(s.Plan, s.Plan.Nodes[0].Name, "kubelet"), filepath.Dir(s.Plan.Logs(plan.ControlName)))
}

// tail is the end of a program's log.
func tail(p plan.Plan, name, program string) string {
	path := filepath.Join(p.Logs(name), program+".log")
	file, err := os.Open(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return "(" + err.Error() + ")"
		}
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return fmt.Sprintf("--- the end of %s\n%s---", path, text)
}
