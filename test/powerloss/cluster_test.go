//go:build linux

package powerloss

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/test/loopback"
	"github.com/raftkv/raftkv/test/powerloss/disk"
	"github.com/raftkv/raftkv/test/powerloss/mount"
)

const (
	// patience bounds every wait for something that must happen; the machine may be busy with other things.
	patience = 60 * time.Second
	// pollPause is between two looks at a condition.
	pollPause = 20 * time.Millisecond
	// syncTime is how long a sync takes, so that what is acknowledged before it can be told from what is after it.
	syncTime = time.Millisecond
	// snapshotEntries is small, so that a run cuts the log often and a member that was away needs a snapshot.
	snapshotEntries = 100
	logTailLines    = 30
)

// machine is one member's directory and addresses; its processes come and go.
type machine struct {
	name, dataDir         string
	client, peer, metrics string
	logPath               string
	process               *exec.Cmd
	exited                chan struct{}
}

// cluster is a static cluster of processes.
type cluster struct {
	t        *testing.T
	program  string
	machines []*machine
	initial  string
	http     *http.Client
}

// newCluster prepares members a, b, c... with directories of these names below root; nothing runs yet.
func newCluster(t *testing.T, program, root string, size int) *cluster {
	t.Helper()
	c := &cluster{t: t, program: program, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}
	logs := t.ArtifactDir()
	var members []string
	for i := range size {
		m := &machine{name: string(rune('a' + i)), client: loopback.MustAddress(t), peer: loopback.MustAddress(t), metrics: loopback.MustAddress(t)}
		m.dataDir, m.logPath = filepath.Join(root, m.name), filepath.Join(logs, m.name+".log")
		c.machines = append(c.machines, m)
		members = append(members, m.name+"=http://"+m.peer)
	}
	c.initial = strings.Join(members, ",")
	t.Cleanup(c.close)
	return c
}

// on returns the same cluster with its directories elsewhere.
func (c *cluster) on(root string) *cluster {
	again := &cluster{t: c.t, program: c.program, initial: c.initial, http: c.http}
	for _, m := range c.machines {
		copied := *m
		copied.process, copied.dataDir = nil, filepath.Join(root, m.name)
		again.machines = append(again.machines, &copied)
	}
	c.t.Cleanup(func() { again.kill(again.machines...) })
	return again
}

func (c *cluster) close() {
	c.kill(c.machines...)
	c.http.CloseIdleConnections()
	if !c.t.Failed() {
		return
	}
	for _, m := range c.machines {
		text, err := os.ReadFile(m.logPath)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		c.t.Logf("--- the end of the log of %s\n%s", m.name, strings.Join(lines[max(0, len(lines)-logTailLines):], "\n"))
	}
}

func (c *cluster) start(machines ...*machine) {
	c.t.Helper()
	for _, m := range machines {
		log, err := os.OpenFile(m.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			c.t.Fatal(err)
		}
		m.process = exec.Command(c.program, "--name="+m.name, "--data-dir="+m.dataDir, "--initial-cluster="+c.initial,
			"--listen-client-urls=http://"+m.client, "--listen-peer-urls=http://"+m.peer, "--listen-metrics-urls=http://"+m.metrics,
			fmt.Sprintf("--snapshot-count=%d", snapshotEntries))
		m.process.Stdout, m.process.Stderr = log, log
		m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := m.process.Start(); err != nil {
			c.t.Fatal(err)
		}
		_ = log.Close()
		m.exited = make(chan struct{})
		go func(process *exec.Cmd, exited chan struct{}) {
			_ = process.Wait() // how it ended is in ProcessState
			close(exited)
		}(m.process, m.exited)
	}
}

// kill is what processes see of a power cut.
func (c *cluster) kill(machines ...*machine) {
	for _, m := range machines {
		if m.process != nil {
			_ = m.process.Process.Kill()
			<-m.exited
			m.process = nil
		}
	}
}

// errEnded says that a process has ended by itself, so that there is nothing to wait for.
var errEnded = errors.New("ended by itself")

func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if errors.Is(err, errEnded) || time.Now().After(deadline) {
			t.Fatalf("%s: not yet, within %v: %v", what, patience, err)
		}
		<-tick.C
	}
}

// status is the part of /v1/status that is looked at.
type status struct {
	Ready    bool
	NotReady string
	Role     string
	Term     raft.Term `json:",string"`
}

func (c *cluster) status(m *machine) (status, error) {
	var s status
	if m.process == nil {
		return s, errors.New(m.name + " does not run")
	}
	select {
	case <-m.exited:
		return s, fmt.Errorf("%s %w: %v", m.name, errEnded, m.process.ProcessState)
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.metrics+"/v1/status", nil)
	if err != nil {
		return s, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	return s, json.NewDecoder(response.Body).Decode(&s)
}

func (c *cluster) awaitReady() {
	c.t.Helper()
	eventually(c.t, "all members ready", func() error {
		for _, m := range c.machines {
			s, err := c.status(m)
			if err != nil {
				return err
			}
			if !s.Ready {
				return fmt.Errorf("%s: %s", m.name, s.NotReady)
			}
		}
		return nil
	})
}

// leader waits for a member that leads, and returns its term.
func (c *cluster) leader() (*machine, raft.Term) {
	c.t.Helper()
	var found *machine
	var term raft.Term
	eventually(c.t, "a leader", func() error {
		for _, m := range c.machines {
			if s, err := c.status(m); err == nil && s.Role == "leader" {
				found, term = m, s.Term
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return found, term
}

// mountDisk shows a new disk at a directory.
func mountDisk(t *testing.T) (*disk.Disk, string) {
	t.Helper()
	d, dir := disk.New(syncTime), filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	unmount, err := mount.Mount(d, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return d, dir
}
