package etcd

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	sessions "github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/backend/local"
)

// alone is a cluster of one without a log, in memory, below the store that a node has: what is proposed is applied at once.
type alone struct {
	*local.Store
	machine *kv.Machine

	mu    sync.Mutex
	index raft.Index
	// proposing, if not nil, is called before a command is applied, and reading before each barrier.
	proposing, reading func(context.Context) error
}

func newAlone(t *testing.T) *alone {
	t.Helper()
	s := local.New(local.Options{})
	m, err := kv.Open(kv.Options{Disk: store.NewMemory(), Observer: s})
	if err != nil {
		t.Fatal(err)
	}
	a := &alone{Store: s, machine: m}
	if _, err := a.entry(raft.EntryClusterVersion, []byte{0, 0, 0, 2}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	running, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); s.Run(ctx, aloneNode{a}, m, running) }()
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
	a.mu.Lock()
	defer a.mu.Unlock()
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

// hook runs what is set to come before a step.
func (a *alone) hook(ctx context.Context, which func(*alone) func(context.Context) error) error {
	a.mu.Lock()
	f := which(a)
	a.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx)
}

// aloneNode is alone as its store's node.
type aloneNode struct{ *alone }

func (a aloneNode) Propose(ctx context.Context, c kv.Command) (*kv.Result, error) {
	hooked := a.hook(ctx, func(a *alone) func(context.Context) error { return a.proposing })
	data, err := kv.AppendProposal(nil, sessions.Header{}, c)
	if err != nil {
		return nil, err
	}
	r, err := a.entry(raft.EntryNormal, data)
	if hooked != nil {
		return nil, hooked // what is in the log is carried out, whoever hears of it
	}
	return r, err
}

func (a aloneNode) ProposeInTerm(ctx context.Context, _ raft.Term, c kv.Command) (*kv.Result, error) {
	return a.Propose(ctx, c)
}

func (a aloneNode) ReadBarrier(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.hook(ctx, func(a *alone) func(context.Context) error { return a.reading })
}

func (aloneNode) Standing() local.Standing {
	return local.Standing{Header: backend.Header{ClusterID: 1, MemberID: 7, Term: 1}, Leader: 7, Leads: true}
}

func (aloneNode) Changed() <-chan struct{} { return nil }

// keys are those below a prefix, in their order.
func (a *alone) keys(t *testing.T, prefix string) (out []string) {
	t.Helper()
	r, err := a.machine.Range(context.Background(), kv.RangeRequest{Keys: kv.Prefix([]byte(prefix)), KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Items {
		out = append(out, string(x.Key))
	}
	return out
}

// crowded is a store in which no transaction can sort a range, for there is too much of it.
type crowded struct{ *alone }

func (c crowded) Txn(ctx context.Context, r backend.TxnRequest) (backend.TxnResult, error) {
	out, err := c.alone.Txn(ctx, r)
	ran := branch(&r.Txn, &out.TxnResult)
	for i := range out.Ops {
		if out.Ops[i].Range != nil && ran[i].Range.Sort != kv.SortNone {
			out.Ops[i].Range = &kv.RangeResult{More: true} // as of kv.MaxTxnReadBytes on
		}
	}
	return out, err
}

// lease grants one that nobody needs to renew.
func (a *alone) lease(t *testing.T) kv.LeaseID {
	t.Helper()
	l, err := a.LeaseGrant(t.Context(), 0, 3600)
	if err != nil {
		t.Fatal(err)
	}
	return l.ID
}

// handedOut waits until no watch can be given anything but from the history.
func (a *alone) handedOut(t *testing.T) {
	t.Helper()
	s, err := a.Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.RequestProgress()
	if _, err := s.Next(within(t)); err != nil {
		t.Fatal(err)
	}
}
