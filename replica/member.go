package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
	"github.com/raftkv/raftkv/replica/identity"
)

// member is the running member: its log, its state and its node.
type member struct {
	id      identity.Identity
	door    *door
	level   uint32 // the highest feature level of this build
	logger  *slog.Logger
	machine Machine
	log     *wal.Log
	node    *node.Node
	fatal   chan error
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// startMember opens log and state and runs the member. An error about the content of a file changes nothing.
func startMember(dir string, id identity.Identity, cfg Config, door *door) (_ *member, err error) {
	m := &member{id: id, door: door, level: cfg.FeatureLevel, logger: cfg.Logger, fatal: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.closeFiles())
		}
	}()
	initial, err := m.open(dir, cfg)
	if err != nil {
		return nil, err
	}
	if v := initial.Applied.ClusterVersion; v > cfg.FeatureLevel {
		return nil, fmt.Errorf("the cluster runs at version %d, this build reads up to version %d: start the newer build again", v, cfg.FeatureLevel)
	}
	quiet, err := notePromise(dir, cfg.LeaseReads, cfg.ElectionTimeout)
	if err != nil {
		return nil, fmt.Errorf("find out what the member has promised: %w", err)
	}
	door.identify(id)
	m.node, err = node.Start(node.Config{
		ID: id.MemberID, Name: cfg.Name, Incarnation: id.Incarnation,
		StateMachine: m.machine, Sessions: m.machine, Log: m.log, Initial: initial,
		Transport: link{door}, Logger: cfg.Logger, Observer: cfg.Observer, Random: rand.IntN, Nonce: rand.Uint64() | 1,
		HeartbeatInterval: cfg.HeartbeatInterval, ElectionTimeout: cfg.ElectionTimeout, SnapshotEntries: cfg.SnapshotEntries, LogBounds: cfg.LogBounds,
		LeaseReads: cfg.LeaseReads, ClockDriftPercent: cfg.ClockDriftPercent, Quiet: quiet,
	})
	if err != nil {
		return nil, fmt.Errorf("start the member: %w", err)
	}
	door.enter(&inside{node: m.node, clusterVersion: m.clusterVersion})
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.running.Go(func() { m.watch(ctx) })
	if quiet > 0 && !cfg.LeaseReads {
		m.running.Go(func() { m.outlivePromise(ctx, dir, quiet) })
	}
	return m, nil
}

// outlivePromise forgets what an earlier process has promised, once that is over.
func (m *member) outlivePromise(ctx context.Context, dir string, quiet time.Duration) {
	over := time.NewTimer(promiseFactor * quiet)
	defer over.Stop()
	select {
	case <-ctx.Done():
		return
	case <-over.C:
	}
	if err := forgetPromise(dir); err != nil {
		m.logger.Warn("the member will be quiet again at its next start", "error", err)
	}
}

// open reads what the member had on its disk.
func (m *member) open(dir string, cfg Config) (raft.Initial, error) {
	machine, err := cfg.OpenMachine(Place{Dir: dir, Cluster: m.id.ClusterID, Logger: m.logger})
	if err != nil {
		return raft.Initial{}, fmt.Errorf("open the state in %s: %w", dir, err)
	}
	m.machine = machine // not before: what comes with an error may be a nil pointer that is no nil interface
	log, found, err := wal.Open(vfs.OS{}, filepath.Join(dir, logDir), wal.Options{Identity: logIdentity(m.id), MustExist: true})
	if err != nil {
		return raft.Initial{}, err
	}
	m.log = log
	if found.Repaired != "" {
		m.logger.Warn("repaired the log after a loss of power", "what", found.Repaired)
	}
	if s := found.Snapshot; s != nil && s.Index > m.machine.Applied().Index {
		if err := m.machine.Install(*s); err != nil {
			return raft.Initial{}, fmt.Errorf("finish the installation of the snapshot of index %d: %w", s.Index, err)
		}
	}
	applied := m.machine.Applied()
	m.logger.Info("opened log and state", "applied", uint64(applied.Index), "logStart", uint64(found.Start.Index), "entries", len(found.Entries))
	return raft.Initial{HardState: found.HardState, Applied: applied, LogStart: found.Start, Entries: found.Entries}, nil
}

func (m *member) clusterVersion() uint32 { return m.machine.Applied().ClusterVersion }

// stop hands leadership over, if there is time for it within ctx, and closes log and state.
func (m *member) stop(ctx context.Context) error {
	m.cancel()
	m.running.Wait()
	m.node.Stop(ctx)
	m.door.leave()
	return m.closeFiles()
}

func (m *member) closeFiles() error {
	var err error
	if m.log != nil {
		err = m.log.Close()
	}
	if m.machine != nil {
		err = errors.Join(err, m.machine.Close())
	}
	return err
}
