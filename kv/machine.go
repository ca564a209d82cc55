package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// Defaults of the options.
const (
	// DefaultFlushBytes is the size of the overlay at which it is flushed.
	DefaultFlushBytes = 16 << 20
	// DefaultMaxOverlayBytes is the size past which Apply waits for the flush. What is being flushed comes on top.
	DefaultMaxOverlayBytes = 64 << 20
	// DefaultMaxResultBytes bounds the keys and values of one Range.
	DefaultMaxResultBytes = 8 << 20
	// DefaultMaxBatchReadBytes bounds the memory of what all transactions of one call of Apply return.
	DefaultMaxBatchReadBytes = 4 * MaxTxnReadBytes
)

// Options are the settings of a Machine. Zero fields have the defaults.
type Options struct {
	// Dir is the directory of the store. It belongs to the machine.
	Dir string
	// Disk replaces the store in Dir, for simulations and tests.
	Disk store.Disk
	// ClusterID is refused to differ from that of the store; zero means that it is not known yet.
	ClusterID raft.ClusterID
	// Ancestor is another cluster whose snapshots are taken and become ClusterID's; zero for none.
	Ancestor raft.ClusterID
	// MustExist refuses a directory without a store instead of making one there: the state of a member that has run
	// before must not begin anew behind its log's back.
	MustExist bool
	// QuotaBytes is the size that the store is meant to stay below.
	QuotaBytes int64
	// FlushBytes, MaxOverlayBytes, MaxResultBytes and MaxBatchReadBytes default to the constants of those names. Members may have different ones.
	FlushBytes, MaxOverlayBytes, MaxResultBytes, MaxBatchReadBytes int
	// Synchronous runs no goroutines: the overlay is flushed inside Apply when it is full, and in FlushNow.
	Synchronous bool
	// Check, if it is set, looks at the machine before it writes to the store of its own accord, and refuses it with an error. It may only read.
	Check func(*Machine) error
	// Observer is told what is applied, if it is set.
	Observer Observer
	Logger   *slog.Logger

	// compactMost replaces compactMostRecords in tests.
	compactMost int
}

// Machine is the replicated state machine. Apply and Install are called by one goroutine; the other methods
// may be called at any time.
type Machine struct {
	options Options
	disk    store.Disk
	log     *slog.Logger

	// published is the state that reads see.
	published atomic.Pointer[state]
	durable   atomic.Uint64

	// maintenance is held by who commits to the store or replaces it: a flush, a step of compaction, Install. It comes
	// before mu.
	maintenance sync.Mutex
	header      header        // as it is in the store; guarded by maintenance
	removal     removal       // of history; guarded by maintenance
	replaced    []store.Store // to be closed by Close; guarded by maintenance
	copying     bool          // the store is being copied, so nothing may be removed; guarded by maintenance
	retired     sync.WaitGroup

	// mu guards the fields below. Apply holds it for one batch; nobody holds it during I/O but for the reads
	// that Apply itself needs.
	mu sync.Mutex
	// overlayMoved tells that a new overlay is in use, or that the machine has failed or was closed.
	overlayMoved *sync.Cond
	current      state // what published will be next
	sessions     *session.Table
	leases       *leaseTable
	points       hashPoints
	cluster      raft.ClusterID
	failure      error // set once, before failed is closed
	closed       bool
	stage        *Stage // the one that is being written, if any

	// failed is closed when the machine must not go on.
	failed chan struct{}

	flushWanted atomic.Bool
	// staged says that a snapshot may be staged that the state has yet to pass.
	staged atomic.Bool

	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// Open opens the state machine as it was last committed.
func Open(o Options) (*Machine, error) {
	if o.FlushBytes == 0 {
		o.FlushBytes = DefaultFlushBytes
	}
	if o.MaxOverlayBytes == 0 {
		o.MaxOverlayBytes = DefaultMaxOverlayBytes
	}
	o.MaxOverlayBytes = max(o.MaxOverlayBytes, o.FlushBytes) // or the flush that Apply waits for would not be asked for
	if o.MaxResultBytes == 0 {
		o.MaxResultBytes = DefaultMaxResultBytes
	}
	if o.compactMost == 0 {
		o.compactMost = compactMostRecords
	}
	if o.MaxBatchReadBytes == 0 {
		o.MaxBatchReadBytes = DefaultMaxBatchReadBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Machine{
		options: o, disk: o.Disk, log: o.Logger, cluster: o.ClusterID, failed: make(chan struct{}),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	m.overlayMoved = sync.NewCond(&m.mu)
	if m.disk == nil {
		d, err := store.NewDirectory(o.Dir, store.DirectoryOptions{
			MustExist: o.MustExist, QuotaBytes: o.QuotaBytes, AppendBuckets: []store.Bucket{bucketRecords},
		})
		if err != nil {
			return nil, err
		}
		m.disk = d
	}
	s, err := m.disk.Open()
	if err != nil {
		return nil, err
	}
	if err := m.load(s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// Should a defragmentation have ended right before its copy took the store's place: nobody asks for it any more.
	if err := errors.Join(m.discardStaged(), m.disk.Discard(defragmentName)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if o.Check != nil {
		if err := o.Check(m); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if o.Synchronous {
		close(m.stopped)
	} else {
		m.wake <- struct{}{} // a compaction may have been interrupted
		go m.maintain()
	}
	m.log.Info("the state machine is open", "applied", m.current.meta.Index, "revision", m.current.revision,
		"compacted", m.current.compacted)
	return m, nil
}

// load takes over what the store holds, as the state after the last commit. It writes the header of a fresh store and
// of one that did not know its cluster. The caller holds the locks or is alone.
func (m *Machine) load(s store.Store) error {
	v, err := s.View()
	if err != nil {
		return err
	}
	h, fresh, err := readHeader(v)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", m.name(), err), v.Close())
	}
	table, err := loadSessions(v)
	var leases *leaseTable
	if err == nil {
		leases, err = loadLeases(v)
	}
	if err := errors.Join(err, v.Close()); err != nil {
		return fmt.Errorf("%s: %w", m.name(), err)
	}
	if h.cluster != 0 && m.cluster != 0 && h.cluster != m.cluster {
		return &ClusterError{What: m.name(), Got: h.cluster, Want: m.cluster}
	}
	if fresh || h.cluster == 0 && m.cluster != 0 {
		h.cluster = m.cluster
		var b store.Batch
		if err := h.put(&b); err != nil {
			return err
		}
		if err := s.Commit(&b); err != nil {
			return err
		}
	}
	m.cluster = h.cluster
	m.header, m.removal = h, removal{next: h.scrub}
	m.sessions, m.leases, m.points = table, leases, hashPoints{}
	m.current = state{logical: h.logical, sessions: table.Digest(), leases: leases.digest, active: newLayer(0, 0), store: s, origin: s}
	m.publish()
	m.durable.Store(uint64(h.logical.meta.Index))
	if m.options.Observer != nil {
		m.options.Observer.Replaced(h.logical.revision, h.logical.compacted, leases.all())
	}
	return nil
}

// name names the store in messages.
func (m *Machine) name() string {
	if d, ok := m.disk.(*store.Directory); ok {
		return d.Path()
	}
	return "the store"
}

func loadSessions(v store.View) (*session.Table, error) {
	it := v.Iterate(bucketSessions)
	k, data := it.First()
	return session.Load(func() (session.Record, error) {
		if k == nil {
			return session.Record{}, nil
		}
		body, ok := unseal(k, data)
		if !ok {
			return session.Record{}, &CorruptError{What: "session record", Key: append([]byte(nil), k...), Reason: "the checksum does not match"}
		}
		r := session.Record{Key: append([]byte(nil), k...), Value: body}
		k, data = it.Next()
		return r, nil
	})
}

// publish makes the current state the one that reads see. The caller holds mu or is alone.
func (m *Machine) publish() {
	s := m.current
	m.published.Store(&s)
}

// Applied describes the state that reads see. The membership must not be changed.
func (m *Machine) Applied() raft.SnapshotMeta { return m.published.Load().meta }

// Durable returns the index that survives a power loss.
func (m *Machine) Durable() raft.Index { return raft.Index(m.durable.Load()) }

// Revision returns the revision of the state that reads see, and the one below which history was given up.
func (m *Machine) Revision() (revision, compacted uint64) {
	s := m.published.Load()
	return s.revision, s.compacted
}

// ClusterID returns the cluster that the store belongs to, zero if that is not known yet.
func (m *Machine) ClusterID() raft.ClusterID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cluster
}

// SetClusterID tells a machine that was opened without one which cluster it belongs to, durably. It returns a
// *ClusterError if the machine belongs to another.
func (m *Machine) SetClusterID(id raft.ClusterID) error {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	m.mu.Lock()
	s, old, err := m.current.store, m.cluster, m.unusable()
	m.mu.Unlock()
	switch {
	case err != nil || old == id:
		return err
	case old != 0:
		return &ClusterError{What: m.name(), Got: old, Want: id}
	}
	h := m.header
	h.cluster = id
	var b store.Batch
	if err := h.put(&b); err != nil {
		return err
	}
	if err := s.Commit(&b); err != nil {
		return m.fail(err)
	}
	m.header = h
	m.mu.Lock()
	m.cluster = id
	m.mu.Unlock()
	return nil
}

// Stats tells the size of the store and of the overlay.
type Stats struct {
	store.Stats
	OverlayBytes int
	Sessions     int
	// Leases and LeasedKeys count the leases and the keys that are attached to them.
	Leases, LeasedKeys int
}

// Stats tells the size of the store and of the overlay.
func (m *Machine) Stats() Stats {
	m.mu.Lock()
	s := m.current
	out := Stats{OverlayBytes: s.active.bytes}
	out.Sessions, _ = m.sessions.Len()
	out.Leases, out.LeasedKeys = len(m.leases.leases), m.leases.keys
	m.mu.Unlock()
	if s.frozen != nil {
		out.OverlayBytes += s.frozen.bytes
	}
	out.Stats = s.store.Stats()
	return out
}

// Close makes what was applied durable and closes the store. It waits for reads that are being answered.
func (m *Machine) Close() error {
	flushErr := m.FlushNow()
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.overlayMoved.Broadcast()
	m.mu.Unlock()
	close(m.stop)
	<-m.stopped
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	// Not before: a defragmentation that was at its end may have put another one in force meanwhile.
	err := m.published.Load().store.Close()
	for _, old := range m.replaced {
		err = errors.Join(err, old.Close())
	}
	m.retired.Wait()
	return errors.Join(flushErr, err)
}
