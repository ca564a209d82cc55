package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/raftkv/raftkv/client/wire"
)

const (
	// maxWatches bounds the watches of one client.
	maxWatches = 64 << 10
	// watchPause bounds the pauses between attempts to reach a node for the watches.
	watchPause = time.Second
	// leastRefusedPause and mostRefusedPause bound the pauses, which double, before a watch that a node refuses is asked for again.
	leastRefusedPause = 50 * time.Millisecond
	mostRefusedPause  = 10 * time.Second
)

// watchHub keeps the client's watches on one node, over a connection of its own, and moves them to another when that is lost.
type watchHub struct {
	client *Client

	mu     sync.Mutex
	closed bool
	all    map[*Watcher]struct{}
	// made are those that exist on the present node, by their IDs there; wanted are those that are to be made.
	made   map[int64]*Watcher
	wanted []*Watcher
	// unwanted are the IDs of those that are to be cancelled there.
	unwanted []int64
	nextID   int64
	// work has a place for one word: something is wanted or unwanted.
	work chan struct{}
}

func newWatchHub(c *Client) *watchHub {
	return &watchHub{client: c, all: map[*Watcher]struct{}{}, made: map[int64]*Watcher{}, work: make(chan struct{}, 1)}
}

func (h *watchHub) poke() {
	select {
	case h.work <- struct{}{}:
	default:
	}
}

func (h *watchHub) add(w *Watcher) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return ErrClosed
	case len(h.all) >= maxWatches:
		return &callError{kind: ErrTooMany, text: fmt.Sprintf("this client has %d watches, which is the most: close some", maxWatches)}
	}
	h.all[w] = struct{}{}
	h.wanted = append(h.wanted, w)
	h.poke()
	return nil
}

// again makes a watch again that was given up for its consumer's slowness, or refused.
func (h *watchHub) again(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.stopRetry()
	if _, there := h.all[w]; there {
		h.wanted = append(h.wanted, w)
		h.poke()
	}
}

func (h *watchHub) remove(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.all[w]; !there {
		return
	}
	delete(h.all, w)
	w.stopRetry()
	h.leave(w, w.request.ID)
}

// leave has the present node forget a watch that was made under an ID. The caller holds mu.
func (h *watchHub) leave(w *Watcher, id int64) {
	if h.made[id] == w {
		delete(h.made, id)
		h.unwanted = append(h.unwanted, id)
		h.poke()
	}
}

// run serves the watches until the client is closed.
func (h *watchHub) run() {
	defer h.close()
	pause := leastPause
	for {
		select {
		case <-h.client.ctx.Done():
			return
		case <-h.work:
		}
		if !h.anyone() {
			continue
		}
		n := h.client.choose(h.client.ctx, staleReads, nil)
		began := time.Now()
		err := h.serve(n)
		if h.client.ctx.Err() != nil {
			return
		}
		if time.Since(began) > watchPause {
			pause = leastPause // others may turn watches away as soon as they are asked, as nodes do that know no leader
		}
		h.client.failed(n)
		h.client.config.Logger.Debug("the watches move to another node", "endpoint", n.address, "reason", err)
		h.startOver()
		select {
		case <-h.client.ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, watchPause)
		}
	}
}

func (h *watchHub) anyone() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all) > 0
}

func (h *watchHub) close() {
	h.mu.Lock()
	h.closed = true
	all := h.all
	h.all = nil
	for w := range all {
		w.stopRetry()
	}
	h.mu.Unlock()
	for w := range all {
		w.end(ErrClosed)
	}
}

// startOver wants all watches again, on whichever node is next, but for those that wait for their consumers.
func (h *watchHub) startOver() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made, h.unwanted, h.wanted = map[int64]*Watcher{}, nil, h.wanted[:0]
	for w := range h.all {
		w.stopRetry()
		w.mu.Lock()
		paused := w.paused
		w.mu.Unlock()
		if !paused {
			h.wanted = append(h.wanted, w)
		}
	}
	h.poke()
}

// serve keeps the watches on a node until its connection is lost, or it ends them.
func (h *watchHub) serve(n *node) error {
	ctx, cancel := context.WithCancel(h.client.ctx)
	defer cancel()
	dialing, stop := h.client.attempt(ctx)
	service, hangUp, err := h.client.connect(dialing, n.address)
	stop()
	if err != nil {
		return err
	}
	defer hangUp()
	failed := make(chan error, 2)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	loops.Go(func() { failed <- h.pull(ctx, service) })
	loops.Go(func() { failed <- h.push(ctx, service) })
	return <-failed
}

// push makes and cancels watches on the node.
func (h *watchHub) push(ctx context.Context, service *wire.Service) error {
	for {
		wanted, unwanted := h.takeWork()
		for _, id := range unwanted {
			if err := h.call(ctx, func(ctx context.Context) error {
				_, err := direct(ctx, service, watchCancelMethod, &wire.WatchCancel{ID: id})
				return err
			}); err != nil {
				return err
			}
		}
		for _, w := range wanted {
			request := h.prepare(w)
			if request == nil {
				continue
			}
			if err := h.call(ctx, func(ctx context.Context) error {
				_, err := direct(ctx, service, watchCreateMethod, request)
				return err
			}); err != nil && !h.refused(w, request.ID, err) {
				return err
			}
		}
		select {
		case <-h.work:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refused tells whether a node has refused that one watch, which is nothing to the others. One that has never existed ends with that; one that has is asked for
// again after a pause: what it goes on from may be had by then, there or on another node.
func (h *watchHub) refused(w *Watcher, id int64, err error) bool {
	if !ofTheWatch(err) {
		return false
	}
	h.mu.Lock()
	delete(h.made, id)
	if _, there := h.all[w]; !there {
		h.mu.Unlock()
		return true
	}
	existed := w.existed()
	if existed {
		w.retryLater()
	} else {
		delete(h.all, w)
	}
	h.mu.Unlock()
	if existed {
		h.client.config.Logger.Debug("a node refuses a watch that is to be made again; it is asked again", "reason", err)
	} else {
		w.end(err)
	}
	return true
}

// ofTheWatch tells whether an error is what a node says of one watch. Others are of the connection or the node.
func ofTheWatch(err error) bool {
	var said *callError
	if !errors.As(err, &said) {
		return false
	}
	switch {
	case errors.Is(said.kind, ErrUnavailable), errors.Is(said.kind, ErrBusy), errors.Is(said.kind, ErrUnknown):
		return false
	case errors.Is(said.kind, ErrRefused):
		return said.status != wire.StatusOK // else the node takes no such call, or none from this client
	}
	return true
}

// call bounds a call to the node.
func (h *watchHub) call(ctx context.Context, f func(context.Context) error) error {
	limited, cancel := h.client.attempt(ctx)
	defer cancel()
	return f(limited)
}

func (h *watchHub) takeWork() (wanted []*Watcher, unwanted []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wanted, unwanted = h.wanted, h.unwanted
	h.wanted, h.unwanted = nil, nil
	return wanted, unwanted
}

// prepare enters a watch under a new ID, and gives the request that makes it.
func (h *watchHub) prepare(w *Watcher) *wire.WatchRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.all[w]; !there {
		return nil
	}
	h.nextID++
	w.mu.Lock()
	defer w.mu.Unlock()
	// It may have been wanted twice, by its consumer and because a connection was lost: there is one at a time.
	h.leave(w, w.request.ID)
	w.place.begin()
	w.request.ID, w.request.StartRevision = h.nextID, w.place.next
	h.made[h.nextID] = w
	request := w.request
	return &request
}

// pull takes what the node tells.
func (h *watchHub) pull(ctx context.Context, service *wire.Service) error {
	for {
		updates, err := service.WatchNext(ctx, &wire.WatchPull{})
		if err != nil {
			return err
		}
		for i := range updates.Updates {
			u := &updates.Updates[i]
			if u.ID == wire.AllWatches {
				h.reached(u.Revision)
				continue
			}
			h.mu.Lock()
			w := h.made[u.ID]
			h.mu.Unlock()
			if w != nil {
				h.deliver(w, u)
			}
		}
	}
}

// reached notes that all watches which the node has told to be made have had what was written up to a revision: elsewhere they go on behind it, and need no
// history from before.
func (h *watchHub) reached(revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, w := range h.made {
		w.mu.Lock()
		if w.live == id {
			w.place.reach(revision)
		}
		w.mu.Unlock()
	}
}

// deliver hands an update to its watch.
func (h *watchHub) deliver(w *Watcher, u *wire.WatchUpdate) {
	if u.Canceled {
		h.canceled(w, u)
		return
	}
	w.mu.Lock()
	if u.ID != w.request.ID {
		w.mu.Unlock() // it was made again since, from where it was
		return
	}
	events := w.place.take(u)
	if len(events) > 0 || w.request.ProgressNotify && !u.Created && len(u.Events) == 0 {
		w.keep(WatchBatch{Events: events, Revision: w.place.next - 1, Partial: u.Fragment})
	}
	if u.Created {
		w.live, w.pause = u.ID, 0
		if w.told == 0 {
			w.told = w.place.next - 1
		}
	}
	full := w.bytes > watchBuffer && !w.paused
	w.paused = w.paused || full
	w.mu.Unlock()
	if u.Created {
		w.exists()
	}
	w.poke()
	if full {
		h.mu.Lock()
		h.leave(w, u.ID)
		h.mu.Unlock()
	}
}

// canceled is the end of a watch on the node, which may be none of its own.
func (h *watchHub) canceled(w *Watcher, u *wire.WatchUpdate) {
	h.mu.Lock()
	delete(h.made, u.ID)
	again := u.Status == wire.StatusUnavailable || u.Status == wire.StatusBusy || u.Status == wire.StatusUnknown
	if again {
		h.wanted = append(h.wanted, w)
		h.poke()
	} else {
		delete(h.all, w)
	}
	h.mu.Unlock()
	switch {
	case again:
	case u.Status == wire.StatusCompacted:
		w.end(&CompactedError{Revision: u.CompactRevision})
	case u.Status == wire.StatusOK:
		w.end(ErrClosed)
	default:
		w.end(refusal(u.Status, u.Message))
	}
}
