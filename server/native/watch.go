package native

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/leaderless"
)

const (
	// maxUpdates bounds the updates in one answer.
	maxUpdates = 4096
	// maxUpdateBytes is what an answer of a single update can have: a frame, less its header.
	maxUpdateBytes = rpc.DefaultMaxFrameBytes - 4<<10
	// reachPause is how often a client is told how far its watches are, whether there is anything for them or not. One that goes on at another node goes on from
	// there: a watch in which nothing happens would else need history from its last event on, which may be compacted.
	reachPause = 5 * time.Second
)

// ended is a context that has ended: with it, a stream gives what it has at hand and does not wait.
var ended = sync.OnceValue(func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
})

// WatchCreate is that of wire.Service.
func (s *service) WatchCreate(ctx context.Context, r *wire.WatchRequest) (*wire.Reply, error) {
	err := s.watch(ctx, r)
	reply := replyOf(0, err)
	return &reply, nil
}

func (s *service) watch(ctx context.Context, r *wire.WatchRequest) error {
	store, err := s.opened()
	if err != nil {
		return err
	}
	if r.ID <= 0 {
		return refusal{wire.StatusInvalid, "the ID of a watch is above zero, and the client's to choose"}
	}
	if s.leaders.Lost() {
		return errLeaderless
	}
	if r.StartRevision == 0 {
		// From now on is from what was acknowledged before now, anywhere.
		ctx, cancel := bounded(ctx)
		defer cancel()
		if err := store.Barrier(ctx); err != nil {
			return err
		}
	}
	stream, err := s.attached.of(ctx).stream(store)
	if err != nil {
		return err
	}
	_, err = stream.Watch(watch.Request{
		ID: r.ID, Keys: kv.KeyRange{Start: r.Key, End: r.End}, StartRevision: r.StartRevision, PrevKV: r.PrevKV, NoPut: r.NoPut, NoDelete: r.NoDelete,
		Fragment: true, ProgressNotify: r.ProgressNotify,
	})
	return err
}

// stream is that of the connection's watches, which the first one opens.
func (x *attached) stream(store Store) (watch.Stream, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.ended:
		return nil, watch.ErrClosed
	case x.watches != nil && x.store != store:
		return nil, watch.ErrClosed // the member that the watches are of has ended: they are to be made anew, on another connection
	case x.watches == nil:
		stream, err := store.Watch()
		if err != nil {
			return nil, err
		}
		x.watches, x.store, x.over = stream, store, make(chan struct{})
		go ask(stream, x.over)
	}
	return x.watches, nil
}

// ask has a stream tell how far it is, now and then, until over is closed.
func ask(stream watch.Stream, over <-chan struct{}) {
	ticker := time.NewTicker(reachPause)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			stream.RequestProgress()
		case <-over:
			return
		}
	}
}

// WatchCancel is that of wire.Service.
func (s *service) WatchCancel(ctx context.Context, r *wire.WatchCancel) (*wire.Reply, error) {
	x := s.attached.of(ctx)
	x.mu.Lock()
	stream := x.watches
	x.mu.Unlock()
	if stream != nil {
		stream.Cancel(r.ID)
	}
	return &wire.Reply{}, nil
}

// WatchNext is that of wire.Service: it waits for something to tell, and tells all there is, up to a bound.
func (s *service) WatchNext(ctx context.Context, _ *wire.WatchPull) (*wire.WatchUpdates, error) {
	store, err := s.opened()
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	x := s.attached.of(ctx)
	stream, err := x.stream(store)
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if !x.beginPull() {
		return nil, rpc.Errorf(rpc.CodeInvalid, "another WatchNext waits on this connection")
	}
	defer x.endPull()
	if s.leaders.Lost() {
		return nil, movedOn(leaderless.ErrLost)
	}
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave, ok := s.leaders.Enter(cancel, true)
	if !ok {
		return nil, movedOn(leaderless.ErrStopped)
	}
	defer leave()
	r, err := x.next(waiting, stream)
	if err != nil {
		cause := context.Cause(waiting)
		switch {
		case errors.Is(cause, leaderless.ErrLost), errors.Is(cause, leaderless.ErrStopped):
			err = movedOn(cause)
		case errors.Is(err, watch.ErrClosed):
			err = movedOn(err)
		}
		return nil, err
	}
	out := new(wire.WatchUpdates)
	for size := 0; ; {
		u := update(&r)
		n := overheadBytes + sizeOfEvents(u.Events)
		if n > maxUpdateBytes { // it is one event, with the version before
			stream.Cancel(r.ID)
			u = wire.WatchUpdate{ID: r.ID, Revision: r.Revision, Canceled: true, Status: wire.StatusTooLarge, Message: fmt.Sprintf(
				"the event of revision %d has %d bytes, a message %d at most: watch without the versions before", r.Events[0].KV.ModRevision, n, maxUpdateBytes)}
			n = overheadBytes
		}
		if len(out.Updates) > 0 && size+n > maxAnswerBytes {
			x.held = &r
			return out, nil
		}
		size += n
		out.Updates = append(out.Updates, u)
		if size >= wire.MaxWatchBytes || len(out.Updates) >= maxUpdates {
			return out, nil
		}
		if r, err = x.next(ended(), stream); err != nil {
			return out, nil //nolint:nilerr // there is no more at hand; whatever else it is, the next call finds it
		}
	}
}

// movedOn tells a client that its watches end here, and go on elsewhere.
func movedOn(why error) error {
	return rpc.Errorf(rpc.CodeUnavailable, "the node ends its watches, make them on another: %v", why)
}

// next is what the answer before had no room for, or else the stream's, but that it is as far as it was, which only a watch that is new has to hear again. It is for
// who pulls.
func (x *attached) next(ctx context.Context, stream watch.Stream) (watch.Response, error) {
	if held := x.held; held != nil {
		x.held = nil
		return *held, nil
	}
	for {
		r, err := stream.Next(ctx)
		if err != nil || r.ID != watch.NoID || r.Revision > x.reached {
			switch {
			case r.ID == watch.NoID:
				x.reached = max(x.reached, r.Revision)
			case r.Created:
				x.reached = 0
			}
			return r, err
		}
	}
}

func (x *attached) beginPull() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.pulling {
		return false
	}
	x.pulling = true
	return true
}

func (x *attached) endPull() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pulling = false
}

func update(r *watch.Response) wire.WatchUpdate {
	if r.ID == watch.NoID {
		return wire.WatchUpdate{ID: wire.AllWatches, Revision: r.Revision}
	}
	u := wire.WatchUpdate{ID: r.ID, Revision: r.Revision, Created: r.Created, Canceled: r.Canceled, Fragment: r.Fragment, CompactRevision: r.CompactRevision}
	if r.Canceled {
		u.Status, u.Message = statusOf(r.Err)
	}
	if len(r.Events) > 0 {
		u.Events = make([]wire.Event, len(r.Events))
	}
	for i := range r.Events {
		e := &r.Events[i]
		u.Events[i] = wire.Event{Type: wire.EventType(e.Type), KV: keyValue(&e.KV)}
		if e.Prev != nil {
			prev := keyValue(e.Prev)
			u.Events[i].Prev = &prev
		}
	}
	return u
}

func sizeOfEvents(events []wire.Event) int {
	size := 0
	for i := range events {
		size += len(events[i].KV.Key) + len(events[i].KV.Value) + overheadBytes
		if p := events[i].Prev; p != nil {
			size += len(p.Key) + len(p.Value) + overheadBytes
		}
	}
	return size
}
