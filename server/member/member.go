package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/statemachine"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
	"github.com/raftkv/raftkv/replica/identity"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/status"
)

// Options are what a member is made of.
type Options struct {
	// Dir holds its log and state.
	Dir      string
	Identity identity.Identity
	Config   config.Config
	Door     *Door
	Metrics  *status.Metrics
	Logger   *slog.Logger
}

// Member is one running member.
type Member struct {
	options Options
	machine *kv.Machine
	log     *wal.Log
	node    *node.Node
	limits  kv.Limits
	quota   quota
	fatal   chan error
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Start opens log and state and runs the member. An error about the content of a file changes nothing.
func Start(o Options) (_ *Member, err error) {
	m := &Member{options: o, fatal: make(chan error, 1)}
	m.limits = kv.DefaultLimits()
	m.quota.mostBytes = o.Config.QuotaBackendBytes
	m.limits.MaxKeyBytes, m.limits.MaxValueBytes = o.Config.MaxKeyBytes, o.Config.MaxValueBytes
	defer func() {
		if err != nil {
			err = errors.Join(err, m.closeFiles())
		}
	}()
	initial, err := m.open()
	if err != nil {
		return nil, err
	}
	if v := initial.Applied.ClusterVersion; v > FeatureLevel {
		return nil, fmt.Errorf("the cluster runs at version %d, this build reads up to version %d: start the newer build again", v, FeatureLevel)
	}
	o.Door.identify(o.Identity)
	stateMachine := statemachine.Of(m.machine)
	m.node, err = node.Start(node.Config{
		ID: o.Identity.MemberID, Name: o.Config.Name, Incarnation: o.Identity.Incarnation,
		StateMachine: stateMachine, Sessions: sessions{}, Log: m.log, Initial: initial,
		Transport: link{o.Door}, Logger: o.Logger, Observer: o.Metrics, Random: rand.IntN, Nonce: rand.Uint64() | 1,
		HeartbeatInterval: o.Config.HeartbeatInterval, ElectionTimeout: o.Config.ElectionTimeout, SnapshotEntries: o.Config.SnapshotCount,
	})
	if err != nil {
		return nil, fmt.Errorf("start the member: %w", err)
	}
	o.Door.enter(&inside{node: m.node, stateMachine: stateMachine, clusterVersion: m.clusterVersion})
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.running.Go(func() { m.watch(ctx) })
	m.running.Go(func() { m.compactHistory(ctx) })
	return m, nil
}

// open reads what the member had on its disk.
func (m *Member) open() (raft.Initial, error) {
	o := m.options
	var err error
	m.machine, err = kv.Open(kv.Options{
		Dir: filepath.Join(o.Dir, stateDir), ClusterID: o.Identity.ClusterID, MustExist: true, QuotaBytes: o.Config.QuotaBackendBytes, Logger: o.Logger,
	})
	if err != nil {
		return raft.Initial{}, fmt.Errorf("open the state in %s: %w", filepath.Join(o.Dir, stateDir), err)
	}
	log, found, err := wal.Open(vfs.OS{}, filepath.Join(o.Dir, logDir), wal.Options{Identity: logIdentity(o.Identity), MustExist: true})
	if err != nil {
		return raft.Initial{}, err
	}
	m.log = log
	if found.Repaired != "" {
		o.Logger.Warn("repaired the log after a loss of power", "what", found.Repaired)
	}
	if s := found.Snapshot; s != nil && s.Index > m.machine.Applied().Index {
		if err := m.machine.Install(*s); err != nil {
			return raft.Initial{}, fmt.Errorf("finish the installation of the snapshot of index %d: %w", s.Index, err)
		}
	}
	applied := m.machine.Applied()
	o.Logger.Info("opened log and state", "applied", uint64(applied.Index), "logStart", uint64(found.Start.Index), "entries", len(found.Entries))
	return raft.Initial{HardState: found.HardState, Applied: applied, LogStart: found.Start, Entries: found.Entries}, nil
}

func (m *Member) clusterVersion() uint32 { return m.machine.Applied().ClusterVersion }

// Removed is closed when this member is no longer part of the cluster.
func (m *Member) Removed() <-chan struct{} { return m.options.Door.removed }

// Fatal delivers the error that ended the member.
func (m *Member) Fatal() <-chan error { return m.fatal }

// Changed returns a channel that is closed at the next change of role, leader, membership or readiness.
func (m *Member) Changed() <-chan struct{} { return m.node.Changed() }

// Change and Transfer are the node's.
func (m *Member) Change(ctx context.Context, configIndex raft.Index, change raft.Change) (raft.NodeID, raft.Index, error) {
	return m.node.Change(ctx, configIndex, change)
}

// Transfer hands leadership over.
func (m *Member) Transfer(ctx context.Context, to raft.NodeID) (raft.NodeID, error) {
	return m.node.Transfer(ctx, to)
}

// Stop hands leadership over, if there is time for it within ctx, and closes log and state.
func (m *Member) Stop(ctx context.Context) error {
	m.cancel()
	m.running.Wait()
	m.node.Stop(ctx)
	m.options.Door.leave()
	return m.closeFiles()
}

func (m *Member) closeFiles() error {
	var err error
	if m.log != nil {
		err = m.log.Close()
	}
	if m.machine != nil {
		err = errors.Join(err, m.machine.Close())
	}
	return err
}

// Propose is that of backend.Backend.
func (m *Member) Propose(ctx context.Context, command kv.Command) (*kv.Result, error) {
	began := time.Now()
	result, err := m.propose(ctx, command)
	m.options.Metrics.Proposed(resultOf(err), time.Since(began))
	return result, err
}

func (m *Member) propose(ctx context.Context, command kv.Command) (*kv.Result, error) {
	if err := command.CheckLimits(m.limits); err != nil {
		return nil, err
	}
	if err := m.quota.check(command); err != nil {
		return nil, err
	}
	data, err := command.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	answer, err := m.node.Propose(ctx, data)
	if err != nil {
		return nil, translate(err)
	}
	result, ok := answer.(*kv.Result)
	if !ok {
		return nil, fmt.Errorf("%w: the state jumped over the write by a snapshot", backend.ErrUnknown)
	}
	return result, nil
}

// ReadBarrier is that of backend.Backend.
func (m *Member) ReadBarrier(ctx context.Context) error {
	began := time.Now()
	err := m.node.ReadBarrier(ctx)
	if err != nil {
		return translate(err)
	}
	m.options.Metrics.Barrier(time.Since(began))
	return nil
}

// Get is that of backend.Backend.
func (m *Member) Get(ctx context.Context, key []byte, revision uint64) (kv.GetResult, error) {
	return m.machine.Get(ctx, key, revision)
}

// Range is that of backend.Backend.
func (m *Member) Range(ctx context.Context, r kv.RangeRequest) (kv.RangeResult, error) {
	return m.machine.Range(ctx, r)
}

// translate gives the node's errors the names that front ends know.
func translate(err error) error {
	for _, x := range []struct{ is, name error }{
		{node.ErrUnavailable, backend.ErrUnavailable}, {node.ErrStopped, backend.ErrUnavailable},
		{node.ErrBusy, backend.ErrBusy}, {node.ErrUnknown, backend.ErrUnknown}, {node.ErrTooLarge, backend.ErrTooLarge},
	} {
		if errors.Is(err, x.is) {
			return fmt.Errorf("%w: %w", x.name, err)
		}
	}
	return err
}

func resultOf(err error) status.Result {
	switch {
	case err == nil:
		return status.ResultApplied
	case errors.Is(err, backend.ErrUnavailable):
		return status.ResultUnavailable
	case errors.Is(err, backend.ErrBusy):
		return status.ResultBusy
	case errors.Is(err, backend.ErrUnknown):
		return status.ResultUnknown
	case errors.Is(err, backend.ErrTooLarge):
		return status.ResultTooLarge
	case errors.Is(err, backend.ErrNoSpace):
		return status.ResultNoSpace
	}
	return status.ResultFailed
}
