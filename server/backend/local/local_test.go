package local

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/server/backend"
)

// alone is a cluster of one without a log: what is proposed is applied at once.
type alone struct {
	mu       sync.Mutex
	machine  *kv.Machine
	index    raft.Index
	standing Standing
	changed  chan struct{}
	kinds    map[kv.CommandKind]int
	refuse   error
	behind   []kv.Command // are applied at the next barrier
	// onPropose, if it is set, is called before anything is done about a proposal.
	onPropose func(kv.Command)
}

func (a *alone) Propose(_ context.Context, c kv.Command) (*kv.Result, error) {
	return a.propose(0, c)
}

func (a *alone) ProposeInTerm(_ context.Context, term raft.Term, c kv.Command) (*kv.Result, error) {
	return a.propose(term, c)
}

func (a *alone) propose(term raft.Term, c kv.Command) (*kv.Result, error) {
	a.mu.Lock()
	onPropose := a.onPropose
	a.mu.Unlock()
	if onPropose != nil {
		onPropose(c)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if term != 0 && (a.standing.Term != term || a.standing.Leader != a.standing.MemberID) {
		return nil, backend.ErrUnavailable
	}
	if a.refuse != nil {
		return nil, a.refuse
	}
	a.kinds[c.Kind]++
	data, err := kv.AppendProposal(nil, session.Header{}, c)
	if err != nil {
		return nil, err
	}
	return a.entry(raft.EntryNormal, data)
}

func (a *alone) entry(kind raft.EntryType, data []byte) (*kv.Result, error) {
	a.index++
	out, err := a.machine.Apply([]raft.Entry{{Term: 1, Index: a.index, Type: kind, Data: data}})
	if err != nil {
		return nil, err
	}
	r, _ := out[0].(*kv.Result)
	return r, nil
}

func (a *alone) ReadBarrier(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.behind { // it catches up
		data, err := kv.AppendProposal(nil, session.Header{}, c)
		if err != nil {
			return err
		}
		if _, err := a.entry(raft.EntryNormal, data); err != nil {
			return err
		}
	}
	a.behind = nil
	return ctx.Err()
}

func (a *alone) Standing() Standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.standing
}

func (a *alone) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// stand has the node win an election, or know of no leader.
func (a *alone) stand(leads bool) {
	if leads {
		a.follow(a.standing.MemberID)
	} else {
		a.follow(0)
	}
}

// follow has a member win an election; zero for no leader.
func (a *alone) follow(leader raft.NodeID) {
	a.set(func(at *Standing) {
		if at.Leader, at.Leads = leader, leader == at.MemberID; leader != 0 {
			at.Term++
		}
	})
}

func (a *alone) set(change func(*Standing)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.standing)
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *alone) proposed(k kv.CommandKind) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kinds[k]
}

func start(t *testing.T, o Options, version byte) (*Store, *alone) {
	t.Helper()
	s, n := open(t, o, version)
	run(t, s, n)
	return s, n
}

// open returns a store that does not run yet.
func open(t *testing.T, o Options, version byte) (*Store, *alone) {
	t.Helper()
	s := New(o)
	m, err := kv.Open(kv.Options{Disk: store.NewMemory(), Observer: s})
	if err != nil {
		t.Fatal(err)
	}
	n := &alone{machine: m, changed: make(chan struct{}), kinds: map[kv.CommandKind]int{}}
	n.standing.MemberID = 7
	if _, err := n.entry(raft.EntryClusterVersion, []byte{0, 0, 0, version}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return s, n
}

// run runs a store until the test ends.
func run(t *testing.T, s *Store, n *alone) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	running, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); s.Run(ctx, n, n.machine, running) }()
	<-running
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestLeasesEndOnlyWhereSomebodyLeads(t *testing.T) {
	ctx := context.Background()
	s, n := start(t, Options{}, 2)
	grant, err := s.LeaseGrant(ctx, 0, 1)
	if err != nil || grant.ID <= 0 || grant.TTL != 1 {
		t.Fatal(grant, err)
	}
	if _, err := s.Put(ctx, backend.PutRequest{Key: []byte("k"), Lease: grant.ID}); err != nil {
		t.Fatal(err)
	}
	at, err := s.LeaseTimeToLive(ctx, grant.ID, true)
	if err != nil || at.Remaining < 0 || at.Remaining > 1 || len(at.Keys) != 1 || string(at.Keys[0]) != "k" {
		t.Fatal(at, err)
	}
	eventually(t, "its time is over", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		left, _ := s.deadlines.Remaining(grant.ID, s.now())
		return left < 0
	})
	if n.proposed(kv.CommandLeaseExpire) != 0 {
		t.Fatal("a lease ends where nobody leads")
	}
	n.stand(true)
	eventually(t, "the lease and its key are gone", func() bool {
		_, ok := n.machine.Lease(grant.ID)
		got, err := s.Range(ctx, backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.All()}})
		return !ok && err == nil && len(got.Items) == 0
	})
	if at, err := s.LeaseTimeToLive(ctx, grant.ID, false); err != nil || at.Remaining != -1 {
		t.Fatal(at, err)
	}
	if r, err := s.LeaseKeepAlive(ctx, grant.ID); err != nil || r.TTL != 0 {
		t.Fatal(r, err)
	}
	if _, err := s.LeaseRevoke(ctx, grant.ID); !errors.Is(err, kv.ErrLeaseNotFound) {
		t.Fatal(err)
	}
}

// TestRenewalsGoTogether: many keep-alives need few entries.
func TestRenewalsGoTogether(t *testing.T) {
	ctx := context.Background()
	s, n := start(t, Options{}, 2)
	const leases = 500
	for id := range kv.LeaseID(leases) {
		if _, err := s.LeaseGrant(ctx, id+1, 60); err != nil {
			t.Fatal(err)
		}
	}
	var calls sync.WaitGroup
	for id := range kv.LeaseID(leases) {
		calls.Go(func() {
			if r, err := s.LeaseKeepAlive(ctx, id+1); err != nil || r.TTL != 60 {
				t.Error(r, err)
			}
		})
	}
	calls.Wait()
	if got := n.proposed(kv.CommandLeaseRenew); got > leases/5 {
		t.Errorf("%d entries for %d renewals", got, leases)
	}
	n.mu.Lock()
	n.refuse = fmt.Errorf("%w: no leader", backend.ErrUnavailable)
	n.mu.Unlock()
	if _, err := s.LeaseKeepAlive(ctx, 1); !errors.Is(err, backend.ErrUnavailable) {
		t.Error(err)
	}
}

// TestFullStore: deletions, compaction and reads go through, and the alarm clears by itself.
func TestFullStore(t *testing.T) {
	ctx := context.Background()
	s, n := start(t, Options{QuotaBytes: 200_000}, 2)
	put := func(i int) error {
		_, err := s.Put(ctx, backend.PutRequest{Key: fmt.Appendf(nil, "k%d", i%50), Value: make([]byte, 4000)})
		return err
	}
	for i := 0; len(n.machine.Alarms()) == 0; i++ {
		if err := put(i); err != nil && !errors.Is(err, backend.ErrNoSpace) {
			t.Fatal(err)
		}
	}
	if err := put(0); !errors.Is(err, backend.ErrNoSpace) {
		t.Fatal(err)
	}
	write := kv.Put([]byte("k"), nil)
	if err := s.room(&write); err == nil || !strings.Contains(err.Error(), "--quota-backend-bytes") || !strings.Contains(err.Error(), "spec.storage.quota") {
		t.Errorf("what is to be done is not said to all: %v", err)
	}
	// Another member, which has room, refuses too.
	s.used.Store(0)
	if err := put(0); !errors.Is(err, backend.ErrNoSpace) {
		t.Fatal(err)
	}
	if status, err := s.Status(ctx); err != nil || len(status.Errors) == 0 {
		t.Fatal(status, err)
	}
	if _, err := s.DeleteRange(ctx, backend.DeleteRequest{Keys: kv.All()}); err != nil {
		t.Fatal(err)
	}
	revision, _ := n.machine.Revision()
	if _, err := s.Compact(ctx, backend.CompactRequest{Revision: revision, Physical: true}); err != nil {
		t.Fatal(err)
	}
	// The alarm falls by itself a moment later. A client that lowers it, as etcd's do, finds room at once, though the size was measured before.
	s.used.Store(1 << 30)
	if err := s.Defragment(ctx); err != nil || s.used.Load() > 200_000 {
		t.Fatal(s.used.Load(), err)
	}
	s.used.Store(1 << 30)
	if _, err := s.Alarm(ctx, backend.AlarmRequest{Action: backend.AlarmLower}); err != nil {
		t.Fatal(err)
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	if alarms, err := s.Alarm(ctx, backend.AlarmRequest{}); err != nil || len(alarms) != 0 {
		t.Fatal(alarms, err)
	}
}

// TestAFullStoreTakesWritesOnceItsVolumeHasGrown, without a restart, and turns none away because the volume seems smaller or does not answer.
func TestAFullStoreTakesWritesOnceItsVolumeHasGrown(t *testing.T) {
	ctx := context.Background()
	var volume atomic.Int64 // negative for one that does not answer
	volume.Store(200_000)
	s, n := start(t, Options{QuotaBytes: 200_000, QuotaNow: func() (int64, error) {
		if now := volume.Load(); now >= 0 {
			return now, nil
		}
		return 1 << 40, errors.New("no answer")
	}}, 2)
	put := func(i int) error {
		_, err := s.Put(ctx, backend.PutRequest{Key: fmt.Appendf(nil, "k%d", i%50), Value: make([]byte, 4000)})
		return err
	}
	for i := range 100 {
		if err := put(i); err != nil && !errors.Is(err, backend.ErrNoSpace) {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for len(n.machine.Alarms()) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no alarm is raised")
		}
		runtime.Gosched()
	}
	volume.Store(100 << 20)
	for {
		err := put(0)
		if err == nil {
			break
		}
		if !errors.Is(err, backend.ErrNoSpace) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for _, later := range []int64{200_000, 0, -1} {
		volume.Store(later)
		s.measure()
		if status, err := s.Status(ctx); err != nil || status.QuotaBytes != 100<<20 {
			t.Fatalf("%d: %+v, %v", later, status, err)
		}
	}
}

func TestAlarmChange(t *testing.T) {
	for _, x := range []struct {
		used, quota       int64
		up, raise, lowers bool
	}{
		{100, 100, false, false, false}, {101, 100, false, true, false}, {101, 100, true, false, false}, {91, 100, true, false, false},
		{90, 100, true, false, true}, {90, 100, false, false, false}, {1 << 60, 0, false, false, false}, {0, 0, true, false, true},
	} {
		if raise, lowers := alarmChange(x.used, x.quota, x.up); raise != x.raise || lowers != x.lowers {
			t.Errorf("%+v: %t, %t", x, raise, lowers)
		}
	}
}

// TestTransactionsThatOnlyReadCostNoProposal, and see what those that write have written.
func TestTransactionsThatOnlyReadCostNoProposal(t *testing.T) {
	ctx := context.Background()
	s, n := start(t, Options{}, 2)
	write := kv.Txn{Success: []kv.Op{kv.PutOp([]byte("a"), []byte("1")), kv.PutOp([]byte("b"), []byte("2"))}}
	if r, err := s.Txn(ctx, backend.TxnRequest{Txn: write}); err != nil || r.Revision != 2 {
		t.Fatal(r, err)
	}
	before := n.proposed(kv.CommandTxn)
	read := kv.Txn{
		Compares: []kv.Compare{{Keys: kv.All(), Target: kv.TargetMod, Relation: kv.Equal, Number: 2}},
		Success:  []kv.Op{{Kind: kv.OpTxn, Txn: &kv.Txn{Success: []kv.Op{kv.RangeOp(kv.RangeRequest{Keys: kv.All(), Sort: kv.SortDescending})}}}},
	}
	r, err := s.Txn(ctx, backend.TxnRequest{Txn: read})
	if err != nil || !r.Succeeded || r.Revision != 2 || string(r.Ops[0].Txn.Ops[0].Range.Items[0].Key) != "b" {
		t.Fatal(r, err)
	}
	read.Success[0].Txn.Success[0].Range.Revision = 9
	if _, err := s.Txn(ctx, backend.TxnRequest{Txn: read}); !errors.Is(err, kv.ErrFutureRevision) {
		t.Fatal(err)
	}
	if n.proposed(kv.CommandTxn) != before {
		t.Error("a transaction that only reads was proposed")
	}
}

// TestASerializableReadWaitsForItsRevision, which the caller may have from a node that is ahead.
func TestASerializableReadWaitsForItsRevision(t *testing.T) {
	ctx := context.Background()
	s, n := start(t, Options{}, 2)
	if _, err := s.Put(ctx, backend.PutRequest{Key: []byte("k"), Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	at := func(revision uint64) kv.RangeRequest {
		return kv.RangeRequest{Keys: kv.One([]byte("k")), Revision: revision}
	}
	n.behind = []kv.Command{kv.Put([]byte("k"), []byte("2"))}
	if r, err := s.Range(ctx, backend.RangeRequest{RangeRequest: at(0), Serializable: true}); err != nil || string(r.Items[0].Value) != "1" {
		t.Fatalf("without a revision it answers at once: %v, %v", r, err)
	}
	if r, err := s.Range(ctx, backend.RangeRequest{RangeRequest: at(3), Serializable: true}); err != nil || string(r.Items[0].Value) != "2" {
		t.Fatalf("%v, %v", r, err)
	}
	n.behind = []kv.Command{kv.Put([]byte("k"), []byte("3"))}
	txn := kv.Txn{Success: []kv.Op{kv.RangeOp(at(4))}}
	if r, err := s.Txn(ctx, backend.TxnRequest{Txn: txn, Serializable: true}); err != nil || string(r.Ops[0].Range.Items[0].Value) != "3" {
		t.Fatalf("%v, %v", r, err)
	}
	if _, err := s.Range(ctx, backend.RangeRequest{RangeRequest: at(9), Serializable: true}); !errors.Is(err, kv.ErrFutureRevision) {
		t.Fatal(err)
	}
}

// TestOldClusterRefusesWhatItDoesNotKnow, and goes on with the rest.
func TestOldClusterRefusesWhatItDoesNotKnow(t *testing.T) {
	ctx := context.Background()
	s, n := start(t, Options{}, 1)
	if _, err := s.LeaseGrant(ctx, 1, 10); !errors.Is(err, backend.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := s.Put(ctx, backend.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Error(err)
	}
	if n.proposed(kv.CommandLeaseGrant) != 0 {
		t.Error("it was proposed")
	}
}

func TestRangeWithoutLimitIsWholeOrRefused(t *testing.T) {
	ctx := context.Background()
	s, _ := start(t, Options{MaxRangeBytes: 1000}, 2)
	for i := range 20 {
		if _, err := s.Put(ctx, backend.PutRequest{Key: fmt.Append(nil, i), Value: make([]byte, 100)}); err != nil {
			t.Fatal(err)
		}
	}
	var large *kv.TooLargeError
	if _, err := s.Range(ctx, backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.All()}}); !errors.As(err, &large) {
		t.Error(err)
	}
	if got, err := s.Range(ctx, backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.All(), Limit: 5}}); err != nil || len(got.Items) != 5 || !got.More {
		t.Error(got, err)
	}
}

func TestWatchThroughTheStore(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, _ := start(t, Options{}, 2)
	stream, err := s.Watch()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Watch(watch.Request{ID: watch.AutoID, Keys: kv.Prefix([]byte("k")), PrevKV: true}); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1", "2"} {
		if _, err := s.Put(ctx, backend.PutRequest{Key: []byte("key"), Value: []byte(v), PrevKV: true}); err != nil {
			t.Fatal(err)
		}
	}
	var events []kv.Event
	for len(events) < 2 {
		r, err := stream.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, r.Events...)
	}
	if events[0].Prev != nil || events[1].Prev == nil || string(events[1].Prev.Value) != "1" {
		t.Fatalf("%+v", events)
	}
}

// TestOneKeyIsReadAsARangeWouldBe, although it takes a shorter way.
func TestOneKeyIsReadAsARangeWouldBe(t *testing.T) {
	ctx := context.Background()
	s, n := start(t, Options{}, 2)
	for i, key := range []string{"a", "b", "a", "a"} { // revisions 2 to 5
		if _, err := s.Put(ctx, backend.PutRequest{Key: []byte(key), Value: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Compact(ctx, backend.CompactRequest{Revision: 3}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "c", ""} {
		for revision := range uint64(8) {
			for _, count := range []bool{false, true} {
				r := kv.RangeRequest{Keys: kv.One([]byte(key)), Revision: revision, Limit: 1, WithCount: count, Sort: kv.SortDescending, MaxBytes: 1}
				want, wantErr := n.machine.Range(ctx, r)
				got, err := s.Range(ctx, backend.RangeRequest{RangeRequest: r})
				if !reflect.DeepEqual(got, want) || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
					t.Errorf("%q at %d: %+v, %v; a range %+v, %v", key, revision, got, err, want, wantErr)
				}
			}
		}
	}
}
