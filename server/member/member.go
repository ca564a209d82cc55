package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/statemachine"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/status"
)

// FeatureLevel is the highest feature level that this build reads and writes: 2 brought joint memberships.
const FeatureLevel = raft.JointVersion

// stateDir is the store's place in a member's directory.
const stateDir = "kv"

// Options are what a member is made of.
type Options struct {
	Config  config.Config
	Metrics *status.Metrics
	Logger  *slog.Logger
}

// Member is the store as a replica keeps it.
type Member struct {
	options Options
	replica *replica.Replica
	machine *kv.Machine
	limits  kv.Limits
	quota   quota
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Machine is the store's state machine as a replica runs it.
type Machine struct {
	node.StateMachine
	sessions
	store *kv.Machine
}

// OpenMachine opens the store in a member's directory.
func OpenMachine(o Options, p replica.Place) (*Machine, error) {
	m, err := kv.Open(kv.Options{
		Dir: filepath.Join(p.Dir, stateDir), ClusterID: p.Cluster, MustExist: !p.New, QuotaBytes: o.Config.QuotaBackendBytes, Logger: p.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Machine{StateMachine: statemachine.Of(m), store: m}, nil
}

// Store is the store itself, for reads.
func (m *Machine) Store() *kv.Machine { return m.store }

// Close closes the store.
func (m *Machine) Close() error { return m.store.Close() }

// Start looks after the store of a replica that runs.
func Start(o Options, r *replica.Replica, machine *Machine) *Member {
	m := &Member{options: o, replica: r, machine: machine.store}
	m.limits = kv.DefaultLimits()
	m.quota.mostBytes = o.Config.QuotaBackendBytes
	m.limits.MaxKeyBytes, m.limits.MaxValueBytes = o.Config.MaxKeyBytes, o.Config.MaxValueBytes
	m.quota.note(m.machine.Stats(), o.Logger)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.running.Go(func() { m.watchQuota(ctx) })
	m.running.Go(func() { m.compactHistory(ctx) })
	return m
}

// Stop ends the care. The replica is its owner's to stop.
func (m *Member) Stop() {
	m.cancel()
	m.running.Wait()
}

func (m *Member) watchQuota(ctx context.Context) {
	pause := time.NewTicker(quotaPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
			m.quota.note(m.machine.Stats(), m.options.Logger)
		}
	}
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
	answer, err := m.replica.Replicate(ctx, data)
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
	err := m.replica.Barrier(ctx)
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
