package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/lease"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	// DefaultMaxRangeBytes bounds the keys and values of one range.
	DefaultMaxRangeBytes = 256 << 20
	// DefaultProgressInterval is how long a watch is silent before it tells how far it is, if it was asked to.
	DefaultProgressInterval = 10 * time.Minute
	// DefaultReadingBytes bounds what the ranges that are read at one time may read together: further ones wait for them.
	DefaultReadingBytes = 256 << 20
	// firstBytes is how much of a range is read before it has to wait for room; all that are read so far at one time may take one in firstPart of ReadingBytes.
	firstBytes, firstPart = 1 << 20, 4
	// rangeAttempts bounds how often a range of the latest revision is begun, since the history was compacted up to where it is read.
	rangeAttempts = 4
)

// Node is what replicates.
type Node interface {
	// Propose replicates a command and returns its result, forwarding it to the leader if need be. The error is one of package
	// backend's, wrapped, or that of the context, in which case the outcome is unknown.
	Propose(context.Context, kv.Command) (*kv.Result, error)
	// ProposeInTerm is Propose for what only this node may carry out, as the leader of that term: it is refused once it does not lead the term.
	ProposeInTerm(context.Context, raft.Term, kv.Command) (*kv.Result, error)
	// ReadBarrier returns once reads of this node's state are linearizable: they then include every write that was acknowledged before
	// ReadBarrier was called.
	ReadBarrier(context.Context) error
	// Standing tells where this node stands. It never waits.
	Standing() Standing
	// Changed is closed when Standing may have changed; it is to be asked for before Standing.
	Changed() <-chan struct{}
}

// Standing is where a node stands in its cluster.
type Standing struct {
	backend.Header
	// Leader is zero if none is known.
	Leader raft.NodeID
	// Leads says that this node leads, and that an entry of its term is committed.
	Leads     bool
	Learner   bool
	Committed raft.Index
}

// Options are what a store is made of. Zero fields have the defaults.
type Options struct {
	Limits kv.Limits
	// MaxRangeBytes bounds the keys and values of one range, ReadingBytes those of all that are read at one time. Zero stands for the defaults.
	MaxRangeBytes, ReadingBytes int
	// MinLeaseTTL is the least time that a lease is granted, in seconds: it should be longer than an election.
	MinLeaseTTL int64
	// QuotaBytes is the size that the store is to stay below; zero for no quota.
	QuotaBytes int64
	// QuotaNow, if not nil, tells it anew: it grows with its file system. A smaller one counts only after a start, so that nothing else that takes
	// of the same disk turns writes away.
	QuotaNow func() (int64, error)
	// Retention is how much history is kept.
	Retention kv.Retention
	// ProgressInterval is how long a watch is silent before it tells how far it is.
	ProgressInterval time.Duration
	Watch            watch.Options
	Logger           *slog.Logger
}

// Store is a backend.Store, and the kv.Observer that its machine has to be opened with.
type Store struct {
	options Options
	node    Node
	machine *kv.Machine
	hub     *watch.Hub
	began   time.Time
	renewal renewal
	reading *semaphore.Weighted // of ReadingBytes
	first   *semaphore.Weighted // of a part of them; see inTurn
	// used is how large the store was when it was looked at last, quota what it may take.
	used, quota atomic.Int64

	// mu guards deadlines.
	mu        sync.Mutex
	deadlines *lease.Deadlines
	leases    chan struct{} // deadlines have changed
}

var (
	_ backend.Store = (*Store)(nil)
	_ kv.Observer   = (*Store)(nil)
)

// New makes a store. The machine is opened with it as Observer, and then given to Run.
func New(o Options) *Store {
	if o.MaxRangeBytes == 0 {
		o.MaxRangeBytes = DefaultMaxRangeBytes
	}
	if o.ReadingBytes == 0 {
		o.ReadingBytes = DefaultReadingBytes
	}
	if o.ProgressInterval == 0 {
		o.ProgressInterval = DefaultProgressInterval
	}
	if o.Limits == (kv.Limits{}) {
		o.Limits = kv.DefaultLimits()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		options: o, hub: watch.NewHub(o.Watch), began: time.Now(), renewal: newRenewal(),
		deadlines: lease.New(), leases: make(chan struct{}, 1), reading: semaphore.NewWeighted(int64(o.ReadingBytes)),
		first: semaphore.NewWeighted(int64(max(o.ReadingBytes/firstPart, firstBytes))),
	}
	s.quota.Store(o.QuotaBytes)
	return s
}

// Run serves the node and the machine until the context ends; methods may be called once running is closed, which happens at once.
func (s *Store) Run(ctx context.Context, n Node, m *kv.Machine, running chan<- struct{}) {
	s.node, s.machine = n, m
	s.measure()
	var loops sync.WaitGroup
	hub := make(chan struct{})
	loops.Go(func() { s.hub.Run(ctx, m, hub) })
	<-hub
	close(running)
	loops.Go(func() { s.expire(ctx) })
	loops.Go(func() { s.renew(ctx) })
	loops.Go(func() { s.maintain(ctx) })
	loops.Wait()
}

// Applied is that of kv.Observer.
func (s *Store) Applied(c kv.Changes) {
	if len(c.Leases) > 0 {
		now := s.now()
		s.mu.Lock()
		for _, x := range c.Leases {
			s.deadlines.Note(x, now)
		}
		s.mu.Unlock()
		poke(s.leases)
	}
	s.hub.Applied(c)
}

// Replaced is that of kv.Observer.
func (s *Store) Replaced(revision, compacted uint64, leases []kv.Lease) {
	s.mu.Lock()
	s.deadlines.Reset(leases, s.now())
	s.mu.Unlock()
	poke(s.leases)
	s.hub.Replaced(revision, compacted, leases)
}

// now is the time since the store was made, by a clock that never goes back.
func (s *Store) now() time.Duration { return time.Since(s.began) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Header is that of backend.Store.
func (s *Store) Header() backend.Header { return s.node.Standing().Header }

// Revision is that of backend.Store.
func (s *Store) Revision() uint64 {
	revision, _ := s.machine.Revision()
	return revision
}

// Admit refuses a command that must not be proposed: some member does not know its kind, it is past the limits, or the store is full.
func (s *Store) Admit(c *kv.Command) error {
	if level, version := c.Level(), s.machine.Applied().ClusterVersion; level > version {
		return fmt.Errorf("%w: the cluster runs at version %d, this needs version %d: upgrade every member", backend.ErrUnsupported, version, level)
	}
	if err := c.CheckLimits(s.options.Limits); err != nil {
		return err
	}
	return s.room(c)
}

// propose carries a command through, if it is admitted.
func (s *Store) propose(ctx context.Context, c kv.Command) (*kv.Result, error) {
	if err := s.Admit(&c); err != nil {
		return nil, err
	}
	r, err := s.node.Propose(ctx, c)
	if err != nil {
		return nil, err
	}
	if errors.Is(r.Err, kv.ErrNoSpace) {
		return nil, fmt.Errorf("%w: an alarm is up", backend.ErrNoSpace)
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return r, nil
}

// Range is that of backend.Store.
func (s *Store) Range(ctx context.Context, r backend.RangeRequest) (kv.RangeResult, error) {
	if oneWhole(&r.RangeRequest) {
		return read(ctx, s, r.Serializable, func() (kv.RangeResult, error) { return s.one(ctx, &r.RangeRequest) })
	}
	if r.MaxBytes <= 0 || r.MaxBytes > s.options.MaxRangeBytes {
		r.MaxBytes = s.options.MaxRangeBytes
	}
	out, err := read(ctx, s, r.Serializable, func() (kv.RangeResult, error) { return s.inTurn(ctx, &r.RangeRequest) })
	if err == nil && out.More && r.Limit == 0 {
		return kv.RangeResult{}, &kv.TooLargeError{What: "the range (ask with a limit)", Unit: "bytes or more", Size: r.MaxBytes, Most: r.MaxBytes}
	}
	return out, err
}

// oneWhole tells whether a range is one key with its value, without a condition, as most are. Nothing else of the request matters then.
func oneWhole(r *kv.RangeRequest) bool {
	return len(r.Keys.End) == 0 && !r.KeysOnly && !r.CountOnly &&
		r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision == 0
}

// readTxn runs a transaction that writes nothing, once there is room for what its ranges may read.
func (s *Store) readTxn(ctx context.Context, t *kv.Txn) (*kv.Result, error) {
	if t.ReadsRanges() {
		most := int64(min(kv.MaxTxnReadBytes, s.options.ReadingBytes))
		if err := s.reading.Acquire(ctx, most); err != nil {
			return nil, err
		}
		defer s.reading.Release(most)
	}
	return s.machine.Read(ctx, t)
}

// one reads such a range without the lists that any other needs: 3 allocations in place of 14.
func (s *Store) one(ctx context.Context, r *kv.RangeRequest) (kv.RangeResult, error) {
	found, err := s.machine.Get(ctx, r.Keys.Start, r.Revision)
	out := kv.RangeResult{Revision: found.Revision}
	if err == nil && found.Found {
		out.Items = []kv.KeyValue{found.KeyValue}
		if r.WithCount {
			out.Count = 1
		}
	}
	return out, err
}

// inTurn is many once there is room for what the range may read. It comes behind the barrier: who waits for a quorum is in nobody's way.
//
// What a range will read nobody knows before, and most read little. So it is read as far as firstBytes at first, for which there is a room of its own, in which
// no large range is waited for. One that has more is read anew once there is room for all that it may have.
func (s *Store) inTurn(ctx context.Context, r *kv.RangeRequest) (kv.RangeResult, error) {
	if r.MaxBytes > firstBytes {
		first := *r
		first.MaxBytes = firstBytes
		out, err := s.within(ctx, s.first, firstBytes, &first)
		var large *kv.TooLargeError
		cut := err == nil && out.More && (r.Limit == 0 || len(out.Items) < r.Limit)
		if !cut && !errors.As(err, &large) {
			return out, err
		}
	}
	return s.within(ctx, s.reading, int64(min(r.MaxBytes, s.options.ReadingBytes)), r)
}

// within is many once there is so much room.
func (s *Store) within(ctx context.Context, room *semaphore.Weighted, bytes int64, r *kv.RangeRequest) (kv.RangeResult, error) {
	if err := room.Acquire(ctx, bytes); err != nil {
		return kv.RangeResult{}, err
	}
	defer room.Release(bytes)
	return s.many(ctx, r)
}

// many reads a range. A long one is read in several views, all at the revision of the first. When that is compacted in between, who has asked for a
// revision is told so; who has asked for the latest has never heard of that revision, and the range is read anew.
func (s *Store) many(ctx context.Context, r *kv.RangeRequest) (kv.RangeResult, error) {
	for range rangeAttempts {
		out, err := s.machine.Range(ctx, *r)
		if r.Revision != 0 || !errors.Is(err, kv.ErrCompacted) {
			return out, err
		}
	}
	return kv.RangeResult{}, fmt.Errorf("%w: the history was compacted %d times while the range was read: ask for it in parts, with a limit", backend.ErrBusy, rangeAttempts)
}

// read reads at once if it is serializable, and otherwise behind a barrier. A serializable read at a revision that this node does
// not have yet waits for it: the caller may have learned of it from another node.
func read[T any](ctx context.Context, s *Store, serializable bool, from func() (T, error)) (T, error) {
	if serializable {
		if out, err := from(); !errors.Is(err, kv.ErrFutureRevision) {
			return out, err
		}
	}
	if err := s.node.ReadBarrier(ctx); err != nil {
		var none T
		return none, err
	}
	return from()
}

// Put is that of backend.Store.
func (s *Store) Put(ctx context.Context, r backend.PutRequest) (backend.PutResult, error) {
	op := kv.Op{Kind: kv.OpPut, Keys: kv.One(r.Key), Value: r.Value, Lease: r.Lease, PrevKV: r.PrevKV, IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease}
	result, err := s.propose(ctx, kv.Transaction(kv.Txn{Success: []kv.Op{op}}))
	if err != nil {
		return backend.PutResult{}, err
	}
	out := backend.PutResult{Revision: result.Revision}
	if r.PrevKV {
		if err := whole(result); err != nil {
			return backend.PutResult{}, err
		}
		if prev := result.Ops[0].Prev; len(prev) > 0 {
			out.Prev = &prev[0]
		}
	}
	return out, nil
}

// whole refuses a result that has lost what its operations returned.
func whole(r *kv.Result) error {
	if r.Repeated {
		return fmt.Errorf("%w: it was carried out, but what it returned is lost", backend.ErrUnknown)
	}
	return nil
}

// DeleteRange is that of backend.Store.
func (s *Store) DeleteRange(ctx context.Context, r backend.DeleteRequest) (backend.DeleteResult, error) {
	op := kv.DeleteOp(r.Keys)
	op.PrevKV = r.PrevKV
	result, err := s.propose(ctx, kv.Transaction(kv.Txn{Success: []kv.Op{op}}))
	if err != nil {
		return backend.DeleteResult{}, err
	}
	out := backend.DeleteResult{Revision: result.Revision, Deleted: result.Deleted}
	if r.PrevKV {
		if err := whole(result); err != nil {
			return backend.DeleteResult{}, err
		}
		if result.Ops[0].PrevTruncated {
			return backend.DeleteResult{}, fmt.Errorf("%w: it was carried out, but what it deleted is more than one answer holds", backend.ErrUnknown)
		}
		out.Prev = result.Ops[0].Prev
	}
	return out, nil
}

// Txn is that of backend.Store.
func (s *Store) Txn(ctx context.Context, r backend.TxnRequest) (backend.TxnResult, error) {
	var result *kv.Result
	var err error
	c := kv.Transaction(r.Txn)
	if r.Writes() {
		result, err = s.propose(ctx, c)
	} else if err = c.CheckLimits(s.options.Limits); err == nil {
		result, err = read(ctx, s, r.Serializable, func() (*kv.Result, error) { return s.readTxn(ctx, &r.Txn) })
	}
	if err == nil && !r.OutcomeOnly {
		err = whole(result)
	}
	if err != nil {
		return backend.TxnResult{}, err
	}
	out := backend.TxnResult{Revision: result.Revision, Deleted: result.Deleted, Current: result.Current}
	if out.Succeeded = result.Succeeded; !r.OutcomeOnly {
		out.Ops = result.Ops
	}
	return out, nil
}

// Compact is that of backend.Store.
func (s *Store) Compact(ctx context.Context, r backend.CompactRequest) (uint64, error) {
	result, err := s.propose(ctx, kv.Compact(r.Revision))
	if err != nil {
		return 0, err
	}
	if r.Physical {
		err = s.machine.Scrub(ctx, r.Revision)
		s.measure() // who waited for room is to find it
	}
	return result.Revision, err
}

// Watch is that of backend.Store.
func (s *Store) Watch() (watch.Stream, error) { return s.hub.NewStream() }

// Hash is that of backend.Store.
func (s *Store) Hash(ctx context.Context) (kv.HashResult, error) { return s.machine.Hash(ctx) }

// HashKV is that of backend.Store.
func (s *Store) HashKV(ctx context.Context, revision uint64) (kv.HashKVResult, error) {
	return s.machine.HashKV(ctx, revision)
}

// Snapshot is that of backend.Store.
func (s *Store) Snapshot(ctx context.Context) (backend.Snapshot, error) {
	out, err := s.machine.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Defragment is that of backend.Store.
func (s *Store) Defragment(ctx context.Context) error {
	err := s.machine.Defragment(ctx)
	s.measure()
	return err
}
