package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

// Sequences of answers that mislead a client which does not keep apart what a node says of its own attempt and what that says of an earlier one.

// script answers the attempts of one write, on whichever nodes they arrive, one step after the other; the last step repeats.
type script struct {
	mu    sync.Mutex
	steps []any // an error, a wire.Status or a wire.Result
	nodes []uint64
	marks []string // session and sequence
}

func (s *script) next(n *fakeNode, w *wire.WriteBatch) (*wire.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step := s.steps[min(len(s.nodes), len(s.steps)-1)]
	s.nodes = append(s.nodes, n.member)
	s.marks = append(s.marks, fmt.Sprint(w.Session, "/", w.Items[0].Sequence))
	switch x := step.(type) {
	case error:
		return nil, x
	case wire.Status:
		return &wire.Answer{Results: []wire.Result{{Status: x, Message: "said so"}}}, nil
	case wire.Result:
		return &wire.Answer{Results: []wire.Result{x}}, nil
	}
	panic("a step that is nothing")
}

func (s *script) play(t *testing.T, nodes int) *Client {
	t.Helper()
	var all []*fakeNode
	for i := range nodes {
		n := newFakeNode(t, uint64(i+1))
		n.set(func(n *fakeNode) {
			n.leader = 1
			n.write = func(w *wire.WriteBatch) (*wire.Answer, error) { return s.next(n, w) }
		})
		all = append(all, n)
	}
	return openTo(t, all...)
}

func TestARefusalIsNotTakenForTheFateOfAnEarlierAttempt(t *testing.T) {
	lost := rpc.Errorf(rpc.CodeUnavailable, "the connection broke")
	done := wire.Result{Revision: 7, Repeated: true}
	for name, x := range map[string]struct {
		steps []any
		want  error
	}{
		"lost, then too large for another node, then told by the session": {[]any{lost, wire.StatusTooLarge, done}, nil},
		"lost, then invalid to another node, then told by the session":    {[]any{lost, wire.StatusInvalid, done}, nil},
		"lost, then refused by a call that fails, then told":              {[]any{lost, rpc.Errorf(rpc.CodeRefused, "no"), done}, nil},
		"lost, then too large for all":                                    {[]any{lost, wire.StatusTooLarge}, ErrUnknown},
		"lost, then unsupported by all":                                   {[]any{lost, wire.StatusUnsupported}, ErrUnknown},
		"lost, then full":                                                 {[]any{lost, wire.StatusNoSpace}, ErrUnknown},
		"lost, then refused by calls that fail":                           {[]any{lost, rpc.Errorf(rpc.CodeInvalid, "no")}, ErrUnknown},
		"lost, then a session that has expired":                           {[]any{lost, wire.StatusExpired}, ErrUnknown},
		"the node failed, then too large for all":                         {[]any{wire.StatusFailed, wire.StatusTooLarge}, ErrUnknown},
		"a status of a later build, then too large for all":               {[]any{wire.Status(200), wire.StatusTooLarge}, ErrUnknown},
		"lost, then refused by the state, which is the fate of all":       {[]any{lost, wire.StatusLeaseNotFound}, ErrLeaseNotFound},
		"lost, then done with a lost result":                              {[]any{lost, wire.StatusResultLost}, ErrResultLost},
		"too large":                                                       {[]any{wire.StatusTooLarge}, ErrTooLarge},
		"busy, then too large":                                            {[]any{wire.StatusBusy, wire.StatusTooLarge}, ErrTooLarge},
		"put off, then done":                                              {[]any{wire.StatusLater, done}, nil},
		"a call that the node found invalid":                              {[]any{rpc.Errorf(rpc.CodeInvalid, "no")}, ErrInvalid},
		"a call that the node refused":                                    {[]any{rpc.Refusal("why", "no")}, ErrRefused},
		"a call that the node does not know":                              {[]any{rpc.Errorf(rpc.CodeNotFound, "no")}, ErrRefused},
		"a caller whom the node does not know":                            {[]any{rpc.Errorf(rpc.CodeUnauthenticated, "no")}, ErrRefused},
		"an expired session, then refused by a call that fails":           {[]any{wire.StatusExpired, rpc.Errorf(rpc.CodeInvalid, "no")}, ErrInvalid},
		// The answer, not the request, was too large: the write was carried out.
		"an answer that is too large to be sent": {[]any{rpc.Errorf(rpc.CodeTooLarge, "the answer takes too much"), wire.StatusTooLarge}, ErrUnknown},
	} {
		for _, nodes := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d nodes", name, nodes), func(t *testing.T) {
				t.Parallel()
				s := &script{steps: x.steps}
				r, err := s.play(t, nodes).Put(soon(t), "k", nil) // far less than the time of the call is needed
				if x.want == nil && (err != nil || r.Revision != 7) || x.want != nil && !errors.Is(err, x.want) {
					t.Errorf("%+v, %v, want %v", r, err, x.want)
				}
				for _, other := range []error{ErrTooLarge, ErrInvalid, ErrRefused, ErrNoSpace, ErrUnavailable} {
					if errors.Is(x.want, ErrUnknown) && errors.Is(err, other) {
						t.Errorf("it is said to be unknown and %v: %v", other, err)
					}
				}
				for i, n := range s.nodes {
					if i > 1 && nodes > 1 && n == s.nodes[i-1] {
						t.Errorf("the node that did not take it was asked again at once: %v", s.nodes)
					}
					if x.want == nil && s.marks[i] != s.marks[0] {
						t.Errorf("the numbers are %v", s.marks)
					}
				}
			})
		}
	}
}

func isAll(err error, wants []error) bool {
	for _, want := range wants {
		if !errors.Is(err, want) {
			return false
		}
	}
	return true
}

func TestWhatNobodyCouldTakeInTimeWasSurelyNotDone(t *testing.T) {
	for name, x := range map[string]struct {
		step  any
		wants []error
	}{
		"busy":                      {wire.StatusBusy, []error{ErrUnavailable, ErrBusy}},
		"a queue of the connection": {rpc.Errorf(rpc.CodeExhausted, "full"), []error{ErrUnavailable}},
		"without a leader":          {wire.StatusUnavailable, []error{ErrUnavailable}},
		"sessions that expire":      {wire.StatusExpired, []error{ErrUnavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Time is virtual, and an attempt takes none: it is never up in the middle of one, whose outcome would rightly be unknown.
			synctest.Test(t, func(t *testing.T) {
				s := &script{steps: []any{x.step}}
				var nodes []*fakeNode
				for i := range 2 {
					n := newUnlistedNode(t, uint64(i+1))
					n.leader = 1
					n.write = func(w *wire.WriteBatch) (*wire.Answer, error) { return s.next(n, w) }
					nodes = append(nodes, n)
				}
				c := pipes(t, Config{CallTimeout: patience, AttemptTimeout: patience}, func(_ *fakeNode, c net.Conn) net.Conn { return c }, nodes...)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Nanosecond)
				defer cancel()
				_, err := c.Put(ctx, "k", nil)
				if !isAll(err, append(x.wants, context.DeadlineExceeded)) || errors.Is(err, ErrUnknown) {
					t.Errorf("surely not done, and yet %v, want %v", err, x.wants)
				}
			})
		})
	}
}

// A cluster that takes another's place does not know its sessions: a write that was not sent yet goes on in a new one.
func TestAClusterThatTookTheOthersPlaceGetsASessionOfItsOwn(t *testing.T) {
	n := newFakeNode(t, 1)
	var mu sync.Mutex
	current := uint64(10)
	var nonces []uint64
	n.set(func(n *fakeNode) {
		n.open = func(r *wire.SessionRequest) (*wire.SessionReply, error) {
			mu.Lock()
			defer mu.Unlock()
			nonces = append(nonces, r.Nonce)
			return &wire.SessionReply{Session: current}, nil
		}
		n.write = func(w *wire.WriteBatch) (*wire.Answer, error) {
			mu.Lock()
			defer mu.Unlock()
			a := ok(len(w.Items))
			for i := range a.Results {
				if w.Session != current {
					a.Results[i].Status = wire.StatusExpired
				} else if w.Low > w.Items[i].Sequence {
					t.Errorf("sequence %d below %d", w.Items[i].Sequence, w.Low)
				}
			}
			return a, nil
		}
	})
	c := openTo(t, n)
	if _, err := c.Put(soon(t), "k", nil); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	current = 20
	mu.Unlock()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if _, err := c.Put(soon(t), "k", nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(nonces) != 2 || nonces[0] == nonces[1] {
		t.Errorf("sessions were opened with %v", nonces)
	}
}

func TestWhatIsKnownOfALeaseIsSaid(t *testing.T) {
	lost := rpc.Errorf(rpc.CodeUnavailable, "the connection broke")
	for name, x := range map[string]struct {
		steps []any
		call  func(context.Context, *Client) error
		want  error
	}{
		"granted, lost, then there":             {[]any{lost, wire.StatusLeaseExists, wire.StatusOK}, grantAny, nil},
		"granted, lost, there, then not":        {[]any{lost, wire.StatusLeaseExists, wire.StatusLeaseNotFound}, grantAny, ErrUnknown},
		"granted, lost, then full":              {[]any{lost, wire.StatusNoSpace}, grantAny, ErrUnknown},
		"granted, lost, then too many":          {[]any{lost, wire.StatusTooMany}, grantAny, ErrUnknown},
		"granted, the node failed":              {[]any{wire.StatusFailed}, grantAny, ErrUnknown},
		"granted, too many":                     {[]any{wire.StatusTooMany}, grantAny, ErrTooMany},
		"granted, refused by a call that fails": {[]any{rpc.Errorf(rpc.CodeInvalid, "no")}, grantAny, ErrInvalid},
		"of an ID, lost, then there":            {[]any{lost, wire.StatusLeaseExists}, grantSeven, ErrUnknown},
		"of an ID, there":                       {[]any{wire.StatusLeaseExists}, grantSeven, ErrLeaseExists},
		"revoked, lost, then gone":              {[]any{lost, wire.StatusLeaseNotFound}, revokeSeven, nil},
		"revoked, gone":                         {[]any{wire.StatusLeaseNotFound}, revokeSeven, ErrLeaseNotFound},
		"revoked, lost, then unsupported":       {[]any{lost, wire.StatusUnsupported}, revokeSeven, ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			asked := 0
			var nodes []*fakeNode
			for i := range 3 {
				n := newFakeNode(t, uint64(i+1))
				n.set(func(n *fakeNode) {
					n.lease = func(_ context.Context, _ string, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
						mu.Lock()
						defer mu.Unlock()
						step := x.steps[min(asked, len(x.steps)-1)]
						asked++
						if err, failed := step.(error); failed {
							return nil, err
						}
						return &wire.LeaseReply{Reply: wire.Reply{Status: step.(wire.Status)}, ID: r.ID, TTL: 9}, nil
					}
				})
				nodes = append(nodes, n)
			}
			if err := x.call(soon(t), openTo(t, nodes...)); x.want == nil && err != nil || x.want != nil && !errors.Is(err, x.want) {
				t.Errorf("%v, want %v", err, x.want)
			}
		})
	}
}

func grantAny(ctx context.Context, c *Client) error {
	_, err := c.Grant(ctx, 9*time.Second)
	return err
}

func grantSeven(ctx context.Context, c *Client) error {
	_, err := c.GrantID(ctx, 7, 9*time.Second)
	return err
}

func revokeSeven(ctx context.Context, c *Client) error {
	_, err := c.Revoke(ctx, 7)
	return err
}

// TestALeaseOutlivesALeaderThatDoesNotAnswer: the leader takes renewals and says nothing, for longer than the lease has time. Others are asked
// before it is over.
func TestALeaseOutlivesALeaderThatDoesNotAnswer(t *testing.T) {
	const ttl = 6
	silent, well := newFakeNode(t, 1), newFakeNode(t, 2)
	renewed, asked := make(chan struct{}, 100), make(chan struct{}, 100)
	renew := func(_ context.Context, _ string, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
		renewed <- struct{}{}
		return &wire.LeaseReply{ID: r.ID, TTL: ttl}, nil
	}
	for _, n := range []*fakeNode{silent, well} {
		n.set(func(n *fakeNode) { n.leader, n.lease = 1, renew })
	}
	c := openTo(t, silent, well) // an attempt has a minute
	if _, err := c.Put(soon(t), "k", nil); err != nil {
		t.Fatal(err)
	}
	k := c.KeepAlive(7)
	defer k.Close()
	<-renewed
	silent.set(func(n *fakeNode) {
		n.lease = func(ctx context.Context, _ string, _ *wire.LeaseRequest) (*wire.LeaseReply, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("the leader is not asked")
	}
	select {
	case <-renewed:
	case <-time.After(patience / 2): // an attempt on the silent node would take a minute
		t.Fatal("nobody else was asked")
	}
	select {
	case <-k.Done():
		t.Errorf("it is not kept alive any more: %v", k.Err())
	default:
	}
}

// A node whose store is damaged fails reads until it has stopped: others answer them.
func TestAReadGoesOnWhereANodeFails(t *testing.T) {
	sick, well := newFakeNode(t, 1), newFakeNode(t, 2)
	failing := func(b *wire.ReadBatch) (*wire.Answer, error) {
		return &wire.Answer{Results: []wire.Result{{Status: wire.StatusFailed, Message: "damaged"}}}, nil
	}
	for _, n := range []*fakeNode{sick, well} {
		n.set(func(n *fakeNode) { n.leader = 1 })
	}
	sick.set(func(n *fakeNode) { n.read = failing })
	c := openTo(t, sick, well)
	for range 20 {
		for _, o := range [][]ReadOption{nil, {WithSerializable()}} {
			if _, err := c.Get(soon(t), "k", o...); err != nil {
				t.Fatal(err)
			}
		}
	}
	well.set(func(n *fakeNode) { n.read = failing })
	if _, err := c.Get(soon(t), "k"); !errors.Is(err, errFailed) {
		t.Errorf("all fail: %v", err)
	}
}

// A node that never answers the read, and never refuses it either, does not keep its caller beyond the time of the call.
func TestAReadThatIsPutOffForeverEnds(t *testing.T) {
	n := newFakeNode(t, 1)
	n.set(func(n *fakeNode) {
		n.read = func(b *wire.ReadBatch) (*wire.Answer, error) {
			return &wire.Answer{Results: []wire.Result{{Status: wire.StatusLater}}}, nil
		}
	})
	c, err := Open(Config{Endpoints: []string{n.address}, CallTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Get(context.Background(), "k"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// TestANodeThatHangsIsNotWaitedFor: connections are made to it, as through a port-forward to a machine that is gone, and nothing comes back.
func TestANodeThatHangsIsNotWaitedFor(t *testing.T) {
	for _, wellFirst := range []bool{true, false} {
		hanging, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = hanging.Close() })
		n := newFakeNode(t, 1)
		endpoints := []string{hanging.Addr().String(), n.address, "127.0.0.1:1"}
		if wellFirst {
			endpoints[0], endpoints[1] = endpoints[1], endpoints[0]
		}
		for name, use := range map[string]func(*Client) error{
			"write": func(c *Client) error { _, err := c.Put(soon(t), "k", nil); return err },
			"read":  func(c *Client) error { _, err := c.Get(soon(t), "k"); return err },
			"lease": func(c *Client) error { _, err := c.Grant(soon(t), time.Minute); return err },
			"state": func(c *Client) error { _, err := c.Status(soon(t), ""); return err },
			"hash":  func(c *Client) error { _, err := c.Hash(soon(t), "", 0); return err },
			"watch": func(c *Client) error {
				go func() { // a node tells of no watch that it was not asked for: the client would take no notice
					r := <-n.creates
					n.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true}}}
				}()
				w, err := c.Watch(soon(t), All())
				if err == nil {
					w.Close()
				}
				return err
			},
		} {
			// Whoever waits for the other one waits longer than the test.
			c, err := Open(Config{Endpoints: endpoints, DialTimeout: 2 * patience, AttemptTimeout: 2 * patience, CallTimeout: 2 * patience, StaticEndpoints: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := use(c); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
