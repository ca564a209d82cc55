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
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/backend/local"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/server/memory"
	"github.com/raftkv/raftkv/server/quota"
	"github.com/raftkv/raftkv/server/status"
)

// FeatureLevel is the highest feature level that this build reads and writes: 2 brought joint memberships (raft.JointVersion) and leases, 3
// members that compare their states.
const FeatureLevel = kv.CompareVersion

// stateDir is the store's place in a member's directory.
const stateDir = "kv"

// Options are what a member is made of.
type Options struct {
	Config  config.Config
	Metrics *status.Metrics
	Logger  *slog.Logger
	// Memory bounds what the store holds; zeros stand for the defaults.
	Memory memory.Bounds
	// ComparePause is how often the leader compares the states of the members; zero means DefaultComparePause.
	ComparePause time.Duration
	// VerifyPause is how often the whole store is read; zero means DefaultVerifyPause.
	VerifyPause time.Duration
}

// Member is the store as a replica keeps it.
type Member struct {
	options Options
	replica *replica.Replica
	machine *kv.Machine
	store   *local.Store
	limits  kv.Limits
	header  backend.Header // without its term
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Machine is the store's state machine as a replica runs it.
type Machine struct {
	node.StateMachine
	sessions
	machine *kv.Machine
	store   *local.Store
	damage  *damageNote
}

// minLeaseElections is the least time that a lease is granted, in election timeouts: it must outlive a change of leaders.
const minLeaseElections = 3

// OpenMachine opens the store in a member's directory.
func OpenMachine(o Options, p replica.Place) (*Machine, error) {
	room := func() (int64, error) { return quota.Of(o.Config.QuotaBackendBytes, o.Config.DataDir) }
	quotaBytes, _ := room() // server.Run has logged the error
	store := local.New(local.Options{
		Limits: limits(o.Config), MinLeaseTTL: int64((minLeaseElections*o.Config.ElectionTimeout + time.Second - 1) / time.Second),
		MaxRangeBytes: o.Memory.Range, ReadingBytes: o.Memory.Ranges, Watch: watch.Options{HeldBytes: o.Memory.Watches},
		QuotaBytes: quotaBytes, QuotaNow: room,
		Retention:        kv.Retention{Revisions: o.Config.AutoCompactionRetention, Age: o.Config.AutoCompactionAge},
		ProgressInterval: o.Config.WatchProgressInterval, Logger: p.Logger,
	})
	m, err := kv.Open(kv.Options{
		Dir: filepath.Join(p.Dir, stateDir), ClusterID: p.Cluster, Ancestor: p.Ancestor, MustExist: !p.New, QuotaBytes: quotaBytes, MaxBatchReadBytes: o.Memory.Batch,
		Check:    func(m *kv.Machine) error { return settleDamage(p.Dir, m, p.Logger) },
		Observer: store, Logger: p.Logger,
	})
	if err != nil {
		return nil, err
	}
	out := &Machine{StateMachine: statemachine.Of(m), machine: m, store: store, damage: newDamageNote(p.Dir, m, p.Logger)}
	return out, nil
}

func limits(c config.Config) kv.Limits {
	return kv.Limits{MaxKeyBytes: c.MaxKeyBytes, MaxValueBytes: c.MaxValueBytes, MaxTxnOps: c.MaxTxnOps, MaxRequestBytes: c.MaxRequestBytes}
}

// Store is the store itself, for reads.
func (m *Machine) Store() *kv.Machine { return m.machine }

// Start looks after the store of a replica that runs.
func Start(o Options, r *replica.Replica, machine *Machine) *Member {
	id := r.Status().Identity
	m := &Member{
		options: o, replica: r, machine: machine.machine, store: machine.store, limits: limits(o.Config),
		header: backend.Header{ClusterID: id.ClusterID, MemberID: id.MemberID},
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	running := make(chan struct{})
	m.running.Go(func() { m.store.Run(ctx, carrier{m}, m.machine, running) })
	<-running
	m.running.Go(func() { m.compareStates(ctx) })
	m.running.Go(func() { m.verifyStore(ctx) })
	return m
}

// Stop ends the care. The replica is its owner's to stop.
func (m *Member) Stop() {
	m.cancel()
	m.running.Wait()
}

// Store is the whole service of the store, with leases, watches and maintenance.
func (m *Member) Store() backend.Store { return m.store }

// carrier is the member as the store's node.
type carrier struct{ *Member }

var _ local.Node = carrier{}

// Propose carries a command that the store has admitted.
func (m carrier) Propose(ctx context.Context, command kv.Command) (*kv.Result, error) {
	began := time.Now()
	result, err := m.replicate(ctx, command)
	m.options.Metrics.Proposed(resultOf(err), time.Since(began))
	return result, err
}

// ProposeInTerm is that of local.Node.
func (m carrier) ProposeInTerm(ctx context.Context, term raft.Term, command kv.Command) (*kv.Result, error) {
	began := time.Now()
	data, err := m.dataOf(&command)
	if err != nil {
		return nil, err
	}
	result, err := resultFrom(m.replica.ReplicateInTerm(ctx, term, data))
	m.options.Metrics.Proposed(resultOf(err), time.Since(began))
	return result, err
}

// Standing is that of local.Node.
func (m carrier) Standing() local.Standing {
	n := m.replica.Node()
	now := n.Summary()
	out := local.Standing{Header: m.header, Leader: now.Leader, Leads: now.Role == raft.RoleLeader && now.CommittedInTerm, Committed: n.Applied()}
	out.Term = now.Term
	if self, ok := now.Membership.Find(m.header.MemberID); ok {
		out.Learner = self.Learner
	}
	return out
}

// Changed is that of local.Node.
func (m carrier) Changed() <-chan struct{} { return m.replica.Changed() }

func (m *Member) replicate(ctx context.Context, command kv.Command) (*kv.Result, error) {
	data, err := m.dataOf(&command)
	if err != nil {
		return nil, err
	}
	return resultFrom(m.replica.Replicate(ctx, data))
}

// dataOf is what replicates a command.
func (m *Member) dataOf(command *kv.Command) ([]byte, error) {
	data, err := command.AppendBinary(make([]byte, 0, sizeOf(command)+headerRoomBytes))
	if err != nil {
		return nil, err
	}
	return data, m.limits.CheckSize(data)
}

// ReadBarrier is that of local.Node.
func (m carrier) ReadBarrier(ctx context.Context) error {
	began := time.Now()
	err := m.replica.Barrier(ctx)
	if err != nil {
		return translate(err)
	}
	m.options.Metrics.Barrier(time.Since(began))
	return nil
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
