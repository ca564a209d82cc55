package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/raftkv/raftkv/test/localkube/internal/member"
	"github.com/raftkv/raftkv/test/localkube/internal/plan"
	"github.com/raftkv/raftkv/test/localkube/internal/render"
)

// state is what later commands need to know of a cluster, kept in its folder.
type state struct {
	Plan    plan.Plan    `json:"plan"`
	Build   render.Build `json:"build"`
	APIPort int          `json:"apiPort"`
	// Complete says that the cluster was once handed over ready. Without it, what is there was left by a killed run.
	Complete bool `json:"complete"`
	// Cut names the nodes whose cable is unplugged.
	Cut []string `json:"cut,omitempty"`
}

func (s state) save() error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	file := s.Plan.StateFile()
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func load(p plan.Plan) (state, error) {
	text, err := os.ReadFile(p.StateFile())
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return state{}, fmt.Errorf("%s: %w", p.StateFile(), err)
	}
	return s, nil
}

// ErrNotUp says that a command needs a running cluster and there is none.
var ErrNotUp = errors.New("the cluster is not up; run `localkube up` first")

// running returns the state of a cluster whose control plane runs, and its members' processes by name.
func (c Cluster) running() (state, map[string]member.Process, error) {
	p, err := c.anyPlan()
	if err != nil {
		return state{}, nil, err
	}
	s, err := load(p)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !s.Complete) {
		return state{}, nil, ErrNotUp
	}
	if err != nil {
		return state{}, nil, err
	}
	processes, err := processesOf(p)
	if err != nil {
		return state{}, nil, err
	}
	if _, ok := processes[plan.ControlName]; !ok {
		return state{}, nil, ErrNotUp
	}
	return s, processes, nil
}

func processesOf(p plan.Plan) (map[string]member.Process, error) {
	found, err := member.Find(p.Work)
	if err != nil {
		return nil, err
	}
	processes := map[string]member.Process{}
	for _, process := range found {
		processes[process.Member] = process
	}
	return processes, nil
}

// anyPlan is a plan that has the cluster's folder and cgroup right, when the number of nodes is not known or of no matter.
func (c Cluster) anyPlan() (plan.Plan, error) { return plan.New(c.Name, c.Base, 1) }

// lock lets one command at a time change a cluster.
func (c Cluster) lock() (func() error, error) {
	p, err := c.anyPlan()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("this needs root: run it with sudo")
	}
	path := filepath.Join(c.Base, "."+p.Name+".lock")
	for {
		if err := os.MkdirAll(c.Base, 0o755); err != nil {
			return nil, err
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a Down removed the folder in between
		}
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			fmt.Fprintf(c.Out, "waiting for another localkube command on cluster %s\n", p.Name)
			if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
				return nil, errors.Join(err, file.Close())
			}
		}
		// Whoever held the lock may have removed the file; then this lock is on nothing.
		if !sameFile(file, path) {
			_ = file.Close()
			continue
		}
		return func() error {
			// The file goes with the cluster; only a lock whose holder still has it may remove it.
			if _, err := os.Stat(p.Work); errors.Is(err, fs.ErrNotExist) {
				_ = os.Remove(path)
				_ = os.Remove(c.Base) // fails, as it should, while other clusters are in it
			}
			return file.Close()
		}, nil
	}
}

func sameFile(file *os.File, path string) bool {
	a, err := file.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

func (s *state) setCut(node string, cut bool) {
	s.Cut = slices.DeleteFunc(s.Cut, func(n string) bool { return n == node })
	if cut {
		s.Cut = append(s.Cut, node)
	}
}
