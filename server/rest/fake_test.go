package rest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/backend/local"
)

// alone is a cluster of one without a log, in memory, below the store that a node has: what is proposed is applied at once.
type alone struct {
	*local.Store
	machine *kv.Machine

	mu       sync.Mutex
	index    raft.Index
	barriers int
	// proposeErr and barrierErr, when set, are returned instead; hang makes both wait for the context.
	proposeErr, barrierErr error
	hang                   bool
	// repeated lets the next transaction be a repeat of one that was carried out before a change of leaders.
	repeated bool
	// leaderless says that no leader is known.
	leaderless atomic.Bool
}

// wholeCluster is the cluster version at which everything is served.
const wholeCluster = 2

func newStore(t testing.TB, version byte) *alone {
	t.Helper()
	s := local.New(local.Options{Limits: kv.Limits{MaxKeyBytes: 64, MaxValueBytes: 1000, MaxTxnOps: 16, MaxRequestBytes: 4000}})
	m, err := kv.Open(kv.Options{Disk: store.NewMemory(), Observer: s})
	if err != nil {
		t.Fatal(err)
	}
	a := &alone{Store: s, machine: m}
	if _, err := a.entry(raft.EntryClusterVersion, []byte{0, 0, 0, version}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	running, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); s.Run(ctx, node{a}, m, running) }()
	<-running
	t.Cleanup(func() {
		cancel()
		<-done
		if err := m.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
			t.Error(err)
		}
	})
	return a
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

// set changes how the store behaves.
func (a *alone) set(change func(*alone)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// node is alone as its store's node.
type node struct{ *alone }

func (a node) Propose(ctx context.Context, c kv.Command) (*kv.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.hang:
		<-ctx.Done()
		return nil, ctx.Err()
	case a.proposeErr != nil:
		return nil, a.proposeErr
	}
	data, err := kv.AppendProposal(nil, session.Header{}, c)
	if err != nil {
		return nil, err
	}
	r, err := a.entry(raft.EntryNormal, data)
	if err == nil && a.repeated {
		r.Repeated, r.Ops = true, nil
	}
	return r, err
}

func (a node) ProposeInTerm(ctx context.Context, _ raft.Term, c kv.Command) (*kv.Result, error) {
	return a.Propose(ctx, c)
}

func (a node) ReadBarrier(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.barriers++
	if a.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.barrierErr
}

func (a node) Standing() local.Standing {
	if a.leaderless.Load() {
		return local.Standing{Header: backend.Header{ClusterID: 1, MemberID: 7, Term: 1}}
	}
	return local.Standing{Header: backend.Header{ClusterID: 1, MemberID: 7, Term: 1}, Leader: 7, Leads: true}
}

func (a node) Changed() <-chan struct{} { return nil }

// value reads a key behind the front end's back.
func (a *alone) value(t testing.TB, key string) (string, bool) {
	t.Helper()
	got, err := a.machine.Get(context.Background(), []byte(key), 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(got.Value), got.Found
}
