package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

// Status prints what the cluster's members do. ErrNotUp means that there is none.
func (c Cluster) Status(ctx context.Context) error {
	s, processes, err := c.running()
	if err != nil {
		return err
	}
	api, err := newAPI(s.Plan, s.APIPort)
	if err != nil {
		return err
	}
	nodes, apiErr := api.nodes(ctx)
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MEMBER\tADDRESS\tPROCESS\tPROGRAMS\tNETWORK\tKUBERNETES")
	for _, name := range s.Plan.Members() {
		address, kubernetes := s.Plan.Control.String(), "serves"
		if apiErr != nil {
			kubernetes = "does not answer"
		}
		if n, err := s.Plan.Node(name); err == nil {
			address, kubernetes = n.Address.String(), "not ready"
			if apiErr != nil {
				kubernetes = "unknown"
			} else if nodes[name].ready() {
				kubernetes = "ready"
			}
		}
		pid, programs := "none", "stopped"
		if process, runs := processes[name]; runs {
			pid, programs = fmt.Sprint(process.PID), describe(member.ReadStatus(statusFile(s.Plan, name)))
		}
		network := "joined"
		if slices.Contains(s.Cut, name) {
			network = "cut off"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", name, address, pid, programs, network, kubernetes)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	c.say("the control plane's state is in %s (%s)", s.Build.Store, strings.Join(render.StoreProgramNames(s.Build.Store), ", "))
	c.say("KUBECONFIG=%s", s.Plan.Kubeconfig())
	return apiErr
}

func describe(s member.Status) string {
	text := "run"
	if !s.Running {
		text = "waits for " + s.Program
	}
	if s.Failures > 0 {
		text += fmt.Sprintf(" (%d failed, last: %s)", s.Failures, s.LastFailure)
	}
	return text
}

// Environment prints shell lines that make kubectl and helm of this cluster the ones that are used.
func (c Cluster) Environment() error {
	s, _, err := c.running()
	if err != nil {
		return err
	}
	c.say("export KUBECONFIG=%s", s.Plan.Kubeconfig())
	c.say("export PATH=%s:$PATH", s.Build.Bin)
	return nil
}

// Kubeconfig is where the cluster's kubeconfig is, or will be.
func (c Cluster) Kubeconfig() (string, error) {
	p, err := c.anyPlan()
	return p.Kubeconfig(), err
}

// Member finds the process of a running member, to enter it.
func (c Cluster) Member(name string) (member.Process, error) {
	s, processes, err := c.running()
	if err != nil {
		return member.Process{}, err
	}
	process, ok := processes[name]
	if !ok {
		return member.Process{}, fmt.Errorf("%q is no running member; there are %s", name, strings.Join(s.Plan.Members(), ", "))
	}
	return process, nil
}

// Log prints one log (member/program), or lists all if which is empty. It works on a cluster that failed to come up too.
func (c Cluster) Log(which string) error {
	p, err := c.anyPlan()
	if err != nil {
		return err
	}
	root := filepath.Dir(p.Logs(plan.ControlName))
	files, err := filepath.Glob(filepath.Join(root, "*", "*.log"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("there are no logs: the cluster was never started or is down")
	}
	var names []string
	for _, file := range files {
		name, err := filepath.Rel(root, strings.TrimSuffix(file, ".log"))
		if err != nil {
			return err
		}
		if name == which {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			_, err = c.Out.Write(text)
			return err
		}
		names = append(names, name)
	}
	if which != "" {
		return fmt.Errorf("there is no log %q; there are:\n  %s", which, strings.Join(names, "\n  "))
	}
	c.say("%s", strings.Join(names, "\n"))
	return nil
}
