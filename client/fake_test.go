package client

import (
	"context"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// fakeNode is a node whose answers a test decides.
type fakeNode struct {
	address string
	server  *rpc.Server

	mu      sync.Mutex
	member  uint64
	leader  uint64
	members []wire.Member
	write   func(*wire.WriteBatch) (*wire.Answer, error)
	read    func(*wire.ReadBatch) (*wire.Answer, error)
	open    func(*wire.SessionRequest) (*wire.SessionReply, error)
	// lease answers what is asked of leases, by the method.
	lease func(ctx context.Context, method string, r *wire.LeaseRequest) (*wire.LeaseReply, error)
	// updates is what WatchNext gives, failures how it fails; creates what WatchCreate was asked.
	updates  chan *wire.WatchUpdates
	failures chan error
	creates  chan *wire.WatchRequest
	// scrub is what Scrub answers.
	scrub *wire.Reply
	// refusal answers what WatchCreate was asked; nil makes every watch.
	refusal func(*wire.WatchRequest) wire.Status
}

// ok answers every item with success.
func ok(items int) *wire.Answer { return &wire.Answer{Results: make([]wire.Result, items)} }

func newFakeNode(t *testing.T, member uint64) *fakeNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := newUnlistedNode(t, member)
	n.address = l.Addr().String()
	go func() { _ = n.server.Serve(l) }()
	return n
}

// newUnlistedNode is one that listens nowhere: connections are given to its server.
func newUnlistedNode(t *testing.T, member uint64) *fakeNode {
	t.Helper()
	n := &fakeNode{
		server: rpc.NewServer(rpc.ServerOptions{}), member: member, scrub: &wire.Reply{},
		updates: make(chan *wire.WatchUpdates, 16), failures: make(chan error, 16), creates: make(chan *wire.WatchRequest, 16),
	}
	n.write = func(b *wire.WriteBatch) (*wire.Answer, error) { return ok(len(b.Items)), nil }
	n.read = func(b *wire.ReadBatch) (*wire.Answer, error) {
		a := ok(len(b.Items))
		for i := range a.Results {
			a.Results[i].Ops = []wire.OpResult{{Range: &wire.RangeResult{}}}
		}
		return a, nil
	}
	n.open = func(*wire.SessionRequest) (*wire.SessionReply, error) { return &wire.SessionReply{Session: 1}, nil }
	n.lease = func(_ context.Context, _ string, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
		return &wire.LeaseReply{ID: r.ID, TTL: r.TTL}, nil
	}
	leases := func(method string) func(context.Context, *wire.LeaseRequest) (*wire.LeaseReply, error) {
		return func(ctx context.Context, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
			n.mu.Lock()
			answer := n.lease
			n.mu.Unlock()
			return answer(ctx, method, r)
		}
	}
	service := wire.Service{
		LeaseGrant: leases("grant"), LeaseRevoke: leases("revoke"), LeaseKeepAlive: leases("keepAlive"), LeaseTimeToLive: leases("timeToLive"),
		OpenSession: func(_ context.Context, r *wire.SessionRequest) (*wire.SessionReply, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.open(r)
		},
		Write: func(_ context.Context, b *wire.WriteBatch) (*wire.Answer, error) {
			n.mu.Lock()
			answer := n.write
			n.mu.Unlock()
			return n.sign(answer(b))
		},
		Read: func(_ context.Context, b *wire.ReadBatch) (*wire.Answer, error) {
			n.mu.Lock()
			answer := n.read
			n.mu.Unlock()
			return n.sign(answer(b))
		},
		WatchCreate: func(_ context.Context, r *wire.WatchRequest) (*wire.Reply, error) {
			n.creates <- r
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.refusal != nil {
				return &wire.Reply{Status: n.refusal(r)}, nil
			}
			return &wire.Reply{}, nil
		},
		Scrub: func(context.Context, *wire.CompactRequest) (*wire.Reply, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.scrub, nil
		},
		WatchCancel: func(context.Context, *wire.WatchCancel) (*wire.Reply, error) { return &wire.Reply{}, nil },
		WatchNext: func(ctx context.Context, _ *wire.WatchPull) (*wire.WatchUpdates, error) {
			select {
			case u := <-n.updates:
				return u, nil
			case err := <-n.failures:
				return nil, err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Members: func(context.Context, *wire.MembersRequest) (*wire.MembersReply, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return &wire.MembersReply{Self: n.member, Leader: n.leader, Members: n.members}, nil
		},
	}
	fillIn(&service)
	if err := rpc.Register(n.server, wire.ServiceName, service); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.server.Close() })
	return n
}

// fillIn gives the methods that no test asks for an answer of zeros.
func fillIn(s *wire.Service) {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.IsNil() {
			f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value {
				return []reflect.Value{reflect.New(f.Type().Out(0).Elem()), reflect.Zero(f.Type().Out(1))}
			}))
		}
	}
}

func (n *fakeNode) sign(a *wire.Answer, err error) (*wire.Answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a != nil {
		a.Member, a.Leader = n.member, n.leader
	}
	return a, err
}

func (n *fakeNode) set(f func(*fakeNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func openTo(t *testing.T, nodes ...*fakeNode) *Client {
	t.Helper()
	cfg := Config{CallTimeout: patience, AttemptTimeout: patience}
	for _, n := range nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.address)
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
