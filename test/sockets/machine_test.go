package sockets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/sim"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/member"
	"github.com/raftkv/raftkv/server/status"
)

// A cluster's timing. The election timeout is longer than the product's: these tests share two busy processors.
const (
	heartbeatInterval = 50 * time.Millisecond
	electionTimeout   = time.Second
	// askTimeout bounds a question to a member's loop.
	askTimeout = 10 * time.Second
)

// machine is where one member runs, and runs again.
type machine struct {
	cluster      *cluster
	number       int
	dir, address string
	voter        bool // one of the first members
	log          *logTail

	mu      sync.Mutex
	replica *replica.Replica // nil while it is down
	store   *kv.Machine
	member  raft.NodeID // that the disk holds
	logFrom raft.Index  // where its log began when it was last looked at
}

// running is the member and its store, or nil.
func (m *machine) running() (*replica.Replica, *kv.Machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.replica, m.store
}

// start runs the machine's program, if it does not run.
func (m *machine) start() error {
	if r, _ := m.running(); r != nil {
		return nil
	}
	cfg := replica.Config{
		Dir: m.dir, Name: fmt.Sprintf("m%d", m.number), Listen: m.address,
		HeartbeatInterval: heartbeatInterval, ElectionTimeout: electionTimeout, SnapshotEntries: m.cluster.snapshotEntries,
		Logger: slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Dial: m.cluster.network.dialer(m.number),
		Observer: &observer{Metrics: status.NewMetrics("test"), cluster: m.cluster},
		OpenMachine: func(p replica.Place) (replica.Machine, error) {
			s, err := member.OpenMachine(member.Options{}, p)
			if err != nil {
				return nil, err
			}
			m.mu.Lock()
			m.store = s.Store()
			m.mu.Unlock()
			return s, nil
		},
		Tune: func(t *transport.Config) {
			receive := t.Receive
			t.Receive = func(messages []raft.Message) {
				m.cluster.count(messages)
				receive(messages)
			}
		},
	}
	if m.voter {
		cfg.InitialCluster = m.cluster.initial
	}
	for deadline := time.Now().Add(patience); ; {
		r, err := replica.Open(cfg)
		if err == nil {
			m.mu.Lock()
			m.replica = r
			m.mu.Unlock()
			m.cluster.running.Go(func() { m.await(r) })
			return nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return fmt.Errorf("machine %d: %w", m.number, err)
		}
		time.Sleep(time.Millisecond) // the port of the last run closes at any moment
	}
}

// await notes the end of a replica.
func (m *machine) await(r *replica.Replica) {
	<-r.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.replica != r {
		return
	}
	m.replica, m.store = nil, nil
	switch err := r.Err(); {
	case errors.Is(err, replica.ErrRemoved):
		m.member = 0
	case err != nil:
		m.cluster.fail(fmt.Errorf("machine %d ended: %w", m.number, err))
	}
}

// stop ends the program at once.
func (m *machine) stop() error {
	m.mu.Lock()
	r := m.replica
	m.replica, m.store = nil, nil
	m.mu.Unlock()
	if r == nil {
		return nil
	}
	m.note(r)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	err := r.Stop(ended)
	m.note(r)
	if errors.Is(err, replica.ErrRemoved) {
		return nil
	}
	return err
}

func (m *machine) wipe() error {
	if err := m.stop(); err != nil {
		return err
	}
	m.mu.Lock()
	m.member = 0
	m.mu.Unlock()
	return os.RemoveAll(m.dir)
}

// note takes down which member the disk holds.
func (m *machine) note(r *replica.Replica) replica.Status {
	s := r.Status()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.member = s.Identity.MemberID
	return s
}

// look tells how the machine stands.
func (m *machine) look() sim.Machine {
	r, _ := m.running()
	out := sim.Machine{Number: m.number}
	if r == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		out.Member = m.member
		return out
	}
	out.Member, out.Up = m.note(r).Identity.MemberID, true
	n := r.Node()
	if n == nil {
		return out
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	if s, err := n.Status(ctx); err == nil {
		out.Status, out.Applied = s, n.Applied()
		m.mu.Lock()
		if s.LogStart.Index > m.logFrom && m.logFrom > 0 {
			m.cluster.covered(func(c *sim.Coverage) { c.Compactions++ })
		}
		m.logFrom = s.LogStart.Index
		m.mu.Unlock()
	}
	return out
}

// observer counts what a story may ask for.
type observer struct {
	*status.Metrics
	cluster *cluster
}

func (o *observer) Transition(t raft.Transition) {
	o.cluster.covered(func(c *sim.Coverage) {
		switch t.To {
		case raft.RoleLeader:
			c.Elections++
		case raft.RoleCandidate:
			c.Campaigns++
		}
	})
}

func (o *observer) SnapshotInstalled() {
	o.cluster.covered(func(c *sim.Coverage) { c.SnapshotsInstalled++ })
}

// logTail keeps the last lines of a member for a story that fails.
type logTail struct {
	mu    sync.Mutex
	lines []string
}

const mostLines = 400

func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	if len(l.lines) > 2*mostLines {
		l.lines = append(l.lines[:0], l.lines[mostLines:]...)
	}
	return len(p), nil
}

func (l *logTail) writeTo(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		_, _ = io.WriteString(w, line)
	}
}
