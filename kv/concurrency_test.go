package kv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// pairs writes both halves of a pair in one transaction, and compacts now and then.
type pairs struct {
	t    testing.TB
	next raft.Index
}

const pairKeys = 50

func (p *pairs) batch(m *Machine, writes int) {
	p.t.Helper()
	var entries []raft.Entry
	for range writes {
		value := fmt.Append(nil, p.next)
		n := p.next % pairKeys
		c := Transaction(Txn{Success: []Op{PutOp(fmt.Appendf(nil, "%03d/a", n), value), PutOp(fmt.Appendf(nil, "%03d/b", n), value)}})
		if p.next%100 == 0 {
			revision, _ := m.Revision()
			c = Compact(revision)
		}
		entries = append(entries, raft.Entry{Term: 1, Index: p.next, Type: raft.EntryNormal, Data: proposal(p.t, session.Header{}, c)})
		p.next++
	}
	if _, err := m.Apply(entries); err != nil {
		p.t.Fatal(err)
	}
}

// checkPairs reads at the latest revision: both halves of every pair must be there, and equal.
func checkPairs(m *Machine, atLeast int) error {
	got, err := m.Range(context.Background(), RangeRequest{Keys: All()})
	if err != nil {
		return err
	}
	if len(got.Items) < atLeast || len(got.Items)%2 != 0 {
		return fmt.Errorf("%d keys at revision %d", len(got.Items), got.Revision)
	}
	for i := 0; i < len(got.Items); i += 2 {
		a, b := got.Items[i], got.Items[i+1]
		if string(a.Value) != string(b.Value) || a.ModRevision != b.ModRevision || string(a.Key[:4]) != string(b.Key[:4]) {
			return fmt.Errorf("a torn pair: %+v and %+v", a, b)
		}
		one, err := m.Get(context.Background(), a.Key, got.Revision)
		if errors.Is(err, ErrCompacted) {
			continue
		}
		if err != nil || one.ModRevision != a.ModRevision {
			return fmt.Errorf("get at the revision of the range: %+v instead of %+v: %w", one, a, err)
		}
	}
	return nil
}

// TestReadsSeeWholeTransactions reads while entries are applied, flushed and compacted and snapshots are
// streamed and installed.
func TestReadsSeeWholeTransactions(t *testing.T) {
	leader := open(t, Options{Dir: t.TempDir(), FlushBytes: 32 << 10, MaxOverlayBytes: 64 << 10})
	follower := open(t, Options{Dir: t.TempDir(), FlushBytes: 16 << 10})
	write := &pairs{t: t, next: 1}
	write.batch(leader, pairKeys+1)
	transfer(t, leader, follower)

	var stop atomic.Bool
	var readers sync.WaitGroup
	for i := range 4 {
		m := []*Machine{leader, follower}[i%2]
		readers.Go(func() {
			for !stop.Load() {
				if err := checkPairs(m, 2*pairKeys-2); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Go(func() {
		for !stop.Load() {
			leader.Flush()
			if _, err := leader.Hash(context.Background()); err != nil {
				t.Error(err)
				return
			}
			leader.Stats()
		}
	})
	rounds := 15
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		for range 5 {
			write.batch(leader, 20)
		}
		transfer(t, leader, follower)
	}
	stop.Store(true)
	readers.Wait()
	if a, b := hashOf(t, leader), hashOf(t, follower); a != b {
		t.Fatalf("%+v and %+v", a, b)
	}
}

// stalling is a disk whose commits wait until they are let go.
type stalling struct {
	*store.Memory
	gate chan struct{}
}

func (d stalling) Open() (store.Store, error) {
	s, err := d.Memory.Open()
	return stallingStore{s, d.gate}, err
}

type stallingStore struct {
	store.Store
	gate chan struct{}
}

func (s stallingStore) Commit(b *store.Batch) error {
	<-s.gate
	return s.Store.Commit(b)
}

// TestSlowDiskHoldsWritersNotReaders fills the overlay while no commit returns.
func TestSlowDiskHoldsWritersNotReaders(t *testing.T) {
	const overlayBytes = 64 << 10
	gate := make(chan struct{}, 1)
	gate <- struct{}{} // the header of the new store
	m := open(t, Options{Disk: stalling{store.NewMemory(), gate}, FlushBytes: overlayBytes / 4, MaxOverlayBytes: overlayBytes})
	write := &pairs{t: t, next: 1}
	applied := make(chan struct{})
	const batches = 400
	go func() {
		defer close(applied)
		for range batches {
			write.batch(m, 10)
		}
	}()
	// It stands still when the index has not moved over many reads.
	const batchBytes = 10 * 2 * (overlayNodeBytes + 20)
	deadline := time.Now().Add(time.Minute)
	for last, same := raft.Index(0), 0; same < 200; {
		if time.Now().After(deadline) {
			t.Fatal("the writer did not come to a stand")
		}
		if err := checkPairs(m, 0); err != nil {
			t.Fatal(err)
		}
		if now := m.Applied().Index; now != last {
			last, same = now, 0
		} else {
			same++
		}
	}
	if got := m.Stats().OverlayBytes; got > 2*(overlayBytes+batchBytes) {
		t.Errorf("the overlay has %d bytes", got)
	}
	select {
	case <-applied:
		t.Fatal("all was applied without a commit")
	default:
	}
	close(gate)
	<-applied
	if got := m.Applied().Index; got != 10*batches {
		t.Fatalf("applied %d", got)
	}
}

// TestLongRangeGoesOnInNewViews counts more keys than one view of the store is kept for, while they are rewritten.
func TestLongRangeGoesOnInNewViews(t *testing.T) {
	o, _ := memory()
	m := open(t, o)
	const keys = 20_000 // more than two views of keysPerView
	fill(t, m, keys)
	at, _ := m.Revision()
	got, err := m.Range(context.Background(), RangeRequest{Keys: All(), CountOnly: true})
	if err != nil || got.Count != keys {
		t.Fatalf("%d keys, want %d: %v", got.Count, keys, err)
	}
	if got, err = m.Range(context.Background(), RangeRequest{Keys: All(), Revision: at, KeysOnly: true}); err != nil || len(got.Items) != keys {
		t.Fatalf("%d keys, want %d: %v", len(got.Items), keys, err)
	}
	for i := 1; i < len(got.Items); i++ {
		if string(got.Items[i-1].Key) >= string(got.Items[i].Key) {
			t.Fatalf("out of order at %d", i)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Range(ctx, RangeRequest{Keys: All(), CountOnly: true}); !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled: %v", err)
	}
}

func TestResultsAreBoundedInBytes(t *testing.T) {
	o, _ := memory()
	o.MaxResultBytes = 1000
	m := open(t, o)
	fill(t, m, 1000)
	var seen int
	from := []byte{}
	for {
		got, err := m.Range(context.Background(), RangeRequest{Keys: Span(from, []byte{0})})
		if err != nil {
			t.Fatal(err)
		}
		seen += len(got.Items)
		if n := len(got.Items); n == 0 || n > 5 {
			t.Fatalf("%d items at once", n)
		}
		if !got.More {
			break
		}
		from = append(append([]byte(nil), got.Items[len(got.Items)-1].Key...), 0)
	}
	if seen != 1000 {
		t.Fatalf("%d items", seen)
	}
}

func TestClosedMachineRefuses(t *testing.T) {
	m := open(t, Options{Dir: t.TempDir()})
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Apply(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("apply: %v", err)
	}
	if _, err := m.Get(context.Background(), []byte("k"), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if _, err := m.Snapshot(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot: %v", err)
	}
	if _, err := m.Stage(raft.SnapshotMeta{Index: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("stage: %v", err)
	}
	if err := m.Install(raft.SnapshotMeta{Index: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("install: %v", err)
	}
}
