//go:build linux

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

const (
	clientCount = 6
	// slotCount is how many keys are in use at a time.
	slotCount = 6
	// A key is given up for a new one after so many operations, or so many of unknown outcome: an order of them is to be
	// found quickly.
	maxOperationsPerKey = 60
	maxUnknownPerKey    = 5
	// clientPause is between two requests of a client: a stream, not a load test.
	clientPause = 6 * time.Millisecond
	// refusedPause is how long a client leaves the store alone after it was refused.
	refusedPause = 30 * time.Millisecond
)

// workload is a number of clients that write and read until they are stopped.
type workload struct {
	cluster *cluster
	history *history
	stop    context.CancelFunc
	running sync.WaitGroup
	slots   [slotCount]slot
}

// slot is the place of one key after another.
type slot struct {
	mu                 sync.Mutex
	key                string
	generation         int
	operations, doubts int
	// value and revision are what someone saw last.
	value    string
	revision uint64
}

func startWorkload(t *testing.T, c *cluster, seed uint64) *workload {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &workload{cluster: c, history: newHistory(), stop: cancel}
	for i := range clientCount {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		w.running.Go(func() { w.client(ctx, i, random) })
	}
	t.Cleanup(w.end)
	return w
}

func (w *workload) end() {
	w.stop()
	w.running.Wait()
}

func (w *workload) client(ctx context.Context, number int, random *rand.Rand) {
	c := newClient(true)
	defer c.close()
	pace := time.NewTimer(clientPause)
	defer pace.Stop()
	nodes := w.cluster.nodes
	// Half of the clients go to any node each time; the others stay with one until it fails them.
	loyal, target := number%2 == 0, nodes[number/2%len(nodes)]
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		o := &operation{client: number}
		slot := random.IntN(slotCount)
		header := w.slots[slot].draw(o, slot, random)
		o.value = fmt.Sprintf("%d-%d", number, n)
		method, body := http.MethodPut, o.value
		switch o.kind {
		case read:
			method, body = http.MethodGet, ""
		case remove:
			method, body = http.MethodDelete, ""
		}
		if !loyal {
			target = nodes[random.IntN(len(nodes))]
		}
		o.call = w.history.now()
		// A request that was begun is finished: what is cut off is of unknown outcome.
		o.reply = c.do(context.WithoutCancel(ctx), target, method, o.key, body, header)
		o.done = w.history.now()
		w.slots[slot].learn(o)
		w.history.add(o)
		if o.reply.outcome == answered {
			pace.Reset(clientPause)
			continue
		}
		pace.Reset(refusedPause)
		target = nodes[(target.index+1)%len(nodes)]
	}
}

// draw chooses what to do, and with which key.
func (s *slot) draw(o *operation, number int, random *rand.Rand) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == "" || s.operations >= maxOperationsPerKey || s.doubts >= maxUnknownPerKey {
		s.generation, s.operations, s.doubts, s.value, s.revision = s.generation+1, 0, 0, "", 0
		s.key = fmt.Sprintf("chaos/%d/%05d", number, s.generation)
	}
	o.key = s.key
	header := http.Header{}
	const percent = 100
	switch x := random.IntN(percent); {
	case x < 40:
		o.kind = read
	case x < 65:
		o.kind = put
	case x < 75:
		o.kind = create
		header.Set("If-None-Match", "*")
	case x < 92 && s.revision != 0:
		o.kind, o.oldValue = swap, s.value
		header.Set("If-Match", fmt.Sprintf(`"%d"`, s.revision))
	case x < 92:
		o.kind = put
	default:
		o.kind = remove
	}
	return header
}

// learn remembers the newest value with its revision, which a swap may expect.
func (s *slot) learn(o *operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.key != s.key {
		return // it was given up meanwhile
	}
	if o.reply.outcome != refused {
		s.operations++
	}
	if o.reply.outcome == unknown && o.kind != read {
		s.doubts++
	}
	if o.reply.outcome != answered || o.reply.status != http.StatusOK || o.kind == remove || o.reply.revision <= s.revision {
		return
	}
	s.value, s.revision = o.value, o.reply.revision
	if o.kind == read {
		s.value = o.reply.value
	}
}
