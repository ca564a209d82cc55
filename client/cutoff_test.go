package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

// connectedTo waits until the client has a connection to all of its nodes.
func connectedTo(t *testing.T, c *Client) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		all := true
		for _, n := range *c.nodes.Load() {
			all = all && n.connected()
		}
		switch {
		case all:
			return
		case time.Now().After(end):
			t.Fatal("some node is not connected to")
		}
	}
}

// A leader that was cut off from the others answers at once that it knows none. The others know the next one: who asks the old one again and again, since it
// led, gets nothing done until somebody happens to ask another.
func TestALeaderThatKnowsNoneAnyMoreIsLeftForOthers(t *testing.T) {
	for _, kind := range []string{"put", "get"} {
		t.Run(kind, func(t *testing.T) {
			old, next := newFakeNode(t, 1), newFakeNode(t, 2)
			for _, n := range []*fakeNode{old, next} {
				n.set(func(n *fakeNode) { n.leader = 1 })
			}
			c := openTo(t, old, next)
			connectedTo(t, c)
			for c.leader.Load() != 1 {
				if _, err := c.Put(soon(t), "k", nil); err != nil {
					t.Fatal(err)
				}
			}
			refusals := make(chan struct{}, 1<<16)
			refuse := func(items int) (*wire.Answer, error) {
				refusals <- struct{}{}
				a := ok(items)
				for i := range a.Results {
					a.Results[i].Status = wire.StatusUnavailable
				}
				return a, nil
			}
			old.set(func(n *fakeNode) {
				n.leader = 0
				n.write = func(b *wire.WriteBatch) (*wire.Answer, error) { return refuse(len(b.Items)) }
				n.read = func(b *wire.ReadBatch) (*wire.Answer, error) { return refuse(len(b.Items)) }
			})
			next.set(func(n *fakeNode) { n.leader = 2 })
			var err error
			if kind == "put" {
				_, err = c.Put(soon(t), "k", nil)
			} else {
				_, err = c.Get(soon(t), "k")
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := len(refusals); n > 4 { // it is asked again only by who was held up for half a second
				t.Errorf("the old leader was asked %d times", n)
			}
		})
	}
}

// A node that has known no leader for a while ends its watches, and turns new ones away: they go on at another, and nobody asks in a hurry where all do so.
func TestAWatchMovesFromANodeWithoutALeader(t *testing.T) {
	lost, well := newFakeNode(t, 1), newFakeNode(t, 2)
	c := openTo(t, lost, well)
	made := make(chan *Watcher, 1)
	go func() {
		w, err := c.Watch(soon(t), Key("k"))
		if err != nil {
			t.Error(err)
		}
		made <- w
	}()
	var r *wire.WatchRequest
	select {
	case r = <-lost.creates:
	case r = <-well.creates:
		lost, well = well, lost
	}
	lost.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true, Revision: 4}}}
	w := <-made
	lost.set(func(n *fakeNode) { n.refusal = func(*wire.WatchRequest) wire.Status { return wire.StatusUnavailable } })
	lost.failures <- rpc.Errorf(rpc.CodeUnavailable, "no leader is known")
	if r = <-well.creates; r.StartRevision != 5 {
		t.Errorf("made again from revision %d", r.StartRevision)
	}
	well.updates <- &wire.WatchUpdates{Updates: []wire.WatchUpdate{{ID: r.ID, Created: true, Revision: 5}, {ID: r.ID, Revision: 5, Events: eventsAt(5)}}}
	if batch, err := w.Next(soon(t)); err != nil || batch.Events[0].KV.ModRevision != 5 {
		t.Fatalf("%+v, %v", batch, err)
	}
}

// A member that comes back under another address is reached there, though the one that it had is among the configured endpoints, which are kept.
func TestAMemberIsFollowedToAnotherAddress(t *testing.T) {
	before, other, after := newFakeNode(t, 1), newFakeNode(t, 2), newFakeNode(t, 1)
	members := []wire.Member{{ID: 1, ClientAddress: before.address}, {ID: 2, ClientAddress: other.address}}
	for _, n := range []*fakeNode{before, other, after} {
		n.set(func(n *fakeNode) { n.leader, n.members = 1, members })
	}
	c := openTo(t, before, other)
	connectedTo(t, c)
	for c.leader.Load() != 1 {
		if _, err := c.Put(soon(t), "k", nil); err != nil {
			t.Fatal(err)
		}
	}
	moved := []wire.Member{{ID: 1, ClientAddress: after.address}, {ID: 2, ClientAddress: other.address}}
	written := make(chan struct{}, 1<<10)
	after.set(func(n *fakeNode) {
		n.members = moved
		n.write = func(b *wire.WriteBatch) (*wire.Answer, error) {
			written <- struct{}{}
			return ok(len(b.Items)), nil
		}
	})
	other.set(func(n *fakeNode) { n.members = moved })
	_ = before.server.Close()
	for end := time.Now().Add(patience); len(written) == 0; {
		if _, err := c.Put(soon(t), "k", nil); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("the member is not asked at its new address; the client knows %v", c.Endpoints())
		}
		c.look()
	}
	// And once it is, its old address is not waited for.
	for range 20 {
		if n := c.route(writes, nil); n.address != after.address {
			t.Errorf("a write goes to %s", n.address)
		}
	}
}

func TestMoreWatchesThanThereMayBeAreNotAClosedClient(t *testing.T) {
	n := newFakeNode(t, 1)
	c := openTo(t, n)
	c.watches.mu.Lock()
	for range maxWatches {
		c.watches.all[new(Watcher)] = struct{}{}
	}
	c.watches.mu.Unlock()
	if _, err := c.Watch(soon(t), Key("k")); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	c.watches.mu.Lock()
	clear(c.watches.all)
	c.watches.mu.Unlock()
	_ = c.Close()
	if _, err := c.Watch(soon(t), Key("k")); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// A compaction that was made is made, whatever becomes of the wait for its space.
func TestACompactionWhoseSpaceIsNotWaitedForWasMade(t *testing.T) {
	n := newFakeNode(t, 1)
	n.set(func(n *fakeNode) { n.scrub = &wire.Reply{Status: wire.StatusUnavailable, Message: "stopping"} })
	c := openTo(t, n)
	_, err := c.Compact(soon(t), 5, true)
	if !errors.Is(err, ErrResultLost) || errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// Whoever holds something by a lease learns from the client alone that it may hold it no more: nobody tells who is cut off.
func TestAKeepAliveTellsUntilWhenTheLeaseLives(t *testing.T) {
	n := newFakeNode(t, 1)
	var asked time.Time
	renewals, silent := make(chan struct{}, 16), make(chan struct{})
	n.set(func(n *fakeNode) {
		n.lease = func(ctx context.Context, _ string, r *wire.LeaseRequest) (*wire.LeaseReply, error) {
			select {
			case <-silent:
				<-ctx.Done()
				return nil, ctx.Err()
			default:
			}
			asked = time.Now()
			renewals <- struct{}{}
			return &wire.LeaseReply{ID: r.ID, TTL: 3600}, nil
		}
	})
	c := openTo(t, n)
	before := time.Now()
	k := c.KeepAlive(7)
	defer k.Close()
	<-renewals
	for end := time.Now().Add(patience); k.Until().IsZero(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the renewal is not told")
		}
	}
	if until := k.Until(); until.Before(before.Add(time.Hour)) || until.After(asked.Add(time.Hour)) {
		t.Errorf("the lease lives until %v; the renewal was asked for between %v and %v", until, before, asked)
	}
	close(silent)
	if k.Err() != nil {
		t.Error(k.Err())
	}
}
