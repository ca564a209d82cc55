package sockets

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft/sim/scenario"
	"github.com/raftkv/raftkv/replica"
)

const (
	// attemptTimeout bounds one attempt of a client that may go elsewhere.
	attemptTimeout = 2 * time.Second
	// clientPause is between two operations, or attempts, of a client.
	clientPause = 10 * time.Millisecond
	// randomKeys is how many registers the random clients share.
	randomKeys = 6
	// firstFreshValue is where values of random clients begin; those of orders are below.
	firstFreshValue = 1 << 32
)

func orderedKey(register int) string { return "ordered-" + strconv.Itoa(register) }

func encodeValue(v uint64) []byte { return strconv.AppendUint(nil, v, 10) }

// read takes a register from a machine's own state; one that was never written is zero.
func read(ctx context.Context, s *kv.Machine, key string) (value, modRevision uint64, err error) {
	got, err := s.Get(ctx, []byte(key), 0)
	if err != nil || !got.Found {
		return 0, 0, err
	}
	value, err = strconv.ParseUint(string(got.Value), 10, 64)
	return value, got.ModRevision, err
}

// answer is a scenario.Answer.
type answer struct {
	done    atomic.Bool
	value   uint64
	swapped bool
}

func (a *answer) Done() bool    { return a.done.Load() }
func (a *answer) Value() uint64 { return a.value }
func (a *answer) Swapped() bool { return a.swapped }

func (c *cluster) Put(register int, value uint64, at int) (scenario.Answer, error) {
	return c.order(opWrite, register, value, 0, at)
}

func (c *cluster) Get(register int, at int) (scenario.Answer, error) {
	return c.order(opRead, register, 0, 0, at)
}

func (c *cluster) Swap(register int, old, value uint64, at int) (scenario.Answer, error) {
	return c.order(opSwap, register, value, old, at)
}

// order has an operation done until it is answered, by one machine only if at is not zero.
func (c *cluster) order(kind opKind, register int, value, old uint64, at int) (scenario.Answer, error) {
	a := &answer{}
	c.running.Go(func() {
		if v, swapped, ok := c.insist(kind, orderedKey(register), value, old, at); ok {
			a.value, a.swapped = v, swapped
			a.done.Store(true)
		}
	})
	return a, c.failure()
}

// insist asks until it is answered; ok is false when the test ends before.
//
// After an unknown outcome a swap that finds its own value was made: nobody else writes it.
func (c *cluster) insist(kind opKind, key string, value, old uint64, at int) (found uint64, swapped, ok bool) {
	unknown := false
	for {
		op := c.history.begin(kind, key, value, old)
		found, swapped, err := c.attempt(op, at)
		switch {
		case err == nil:
			c.history.answered(op, found, swapped)
			return found, swapped || unknown && found == value, true
		case kind == opRead || !errors.Is(err, replica.ErrUnknown):
			c.history.drop(op)
		default:
			unknown = true
		}
		if !c.pause(clientPause) {
			return 0, false, false
		}
	}
}

// pause waits unless the test ends.
func (c *cluster) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// attempt does an operation at a machine, by chance at any if at is zero. An error that is not replica.ErrUnknown says that
// surely nothing came of it.
func (c *cluster) attempt(op *operation, at int) (found uint64, swapped bool, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, attemptTimeout)
	defer cancel()
	if at == 0 {
		at = c.choose()
	}
	r, s := c.machine(at).running()
	if r == nil || s == nil || r.Node() == nil {
		return 0, false, replica.ErrStopped
	}
	switch op.kind {
	case opRead:
		if err := r.Barrier(ctx); err != nil {
			return 0, false, err
		}
		found, _, err = read(ctx, s, op.key)
		return found, false, err
	case opWrite:
		_, err := propose(ctx, r, kv.Put([]byte(op.key), encodeValue(op.value)))
		return 0, false, err
	}
	for {
		if err := r.Barrier(ctx); err != nil {
			return 0, false, err
		}
		now, revision, err := read(ctx, s, op.key)
		if err != nil || now != op.old {
			return now, false, err
		}
		result, err := propose(ctx, r, kv.CompareAndPut([]byte(op.key), revision, encodeValue(op.value)))
		if err != nil || result.Succeeded {
			return 0, true, err
		}
	}
}

// choose picks a machine by chance; half the time one that says that it leads, if there is one.
func (c *cluster) choose() int {
	if rand.IntN(2) == 0 {
		for _, n := range rand.Perm(len(c.machines)) {
			if r, _ := c.machines[n].running(); r != nil && r.Status().Leads() {
				return n + 1
			}
		}
	}
	return 1 + rand.IntN(len(c.machines))
}

func propose(ctx context.Context, r *replica.Replica, command kv.Command) (*kv.Result, error) {
	data, err := command.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	x, err := r.Replicate(ctx, data)
	if err != nil {
		return nil, err
	}
	result, ok := x.(*kv.Result)
	if !ok || result == nil {
		return nil, replica.ErrUnknown
	}
	return result, result.Err
}

// clients do random operations on registers of their own.
type clients struct {
	cluster  *cluster
	mu       sync.Mutex
	stop     chan struct{} // closed to end those that run
	running  atomic.Int64
	finished []*atomic.Int64
	fresh    atomic.Uint64
	recent   [randomKeys]atomic.Uint64
}

func (c *cluster) StartClients(n int) error {
	x := &c.clients
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop == nil {
		x.stop = make(chan struct{})
	}
	stop := x.stop
	for range n {
		count := new(atomic.Int64)
		x.finished = append(x.finished, count)
		x.running.Add(1)
		c.running.Go(func() {
			defer x.running.Add(-1)
			for x.operate() {
				count.Add(1)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	return c.failure()
}

// operate does one operation, and returns false when the test ends.
func (x *clients) operate() bool {
	k := rand.IntN(randomKeys)
	key := "random-" + strconv.Itoa(k)
	kind, value, old := opRead, uint64(0), uint64(0)
	if p := rand.Float64(); p > 0.4 {
		value = firstFreshValue + x.fresh.Add(1)
		kind = opWrite
		if p > 0.85 {
			kind, old = opSwap, x.recent[k].Load()
		}
		x.recent[k].Store(value)
	}
	_, _, ok := x.cluster.insist(kind, key, value, old, 0)
	return ok && x.cluster.pause(clientPause)
}

func (c *cluster) StopClients() {
	x := &c.clients
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop != nil {
		close(x.stop)
		x.stop = nil
	}
}

func (c *cluster) Waiting() int { return int(c.clients.running.Load()) }

func (c *cluster) Finished() (all, least int) {
	x := &c.clients
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, n := range x.finished {
		all += int(n.Load())
		if i == 0 || int(n.Load()) < least {
			least = int(n.Load())
		}
	}
	return all, least
}

// Check judges what all clients saw.
func (c *cluster) Check() error {
	if err := c.failure(); err != nil {
		return err
	}
	if err := c.history.check(); err != nil {
		return fmt.Errorf("linearizability: %w", err)
	}
	return nil
}
