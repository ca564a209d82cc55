//go:build linux

package chaos

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A leader that is asked to stop, under load, hands over: every request is answered, or refused so that it may be sent again.
func TestLeaderStopsUnderLoad(t *testing.T) {
	const writers, stops = 8, 3
	c := newCluster(t, 3, t.TempDir())
	c.start(c.nodes...)
	c.awaitReady()
	h := newHistory()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() { writeFresh(ctx, c, h, i) })
	}
	defer func() { cancel(); running.Wait() }()
	n := &nemesis{t: t, cluster: c, history: h}
	n.awaitWrites("before any stop", 0)
	for range stops {
		leader := c.leader()
		from := h.now()
		leader.process.terminate(t)
		c.network.shut(leader.index)
		stopped := h.now() - from
		n.awaitWrites("after the leader has stopped", h.now())
		t.Logf("%s stopped after %v; longest time without an acknowledged write %v", leader.name,
			stopped.Round(time.Millisecond), h.longestGap(from).Round(time.Millisecond))
		c.start(leader)
		c.awaitReady()
	}
	cancel()
	running.Wait()
	held := c.converge(convergenceTimeout)
	h.finish(held, h.now(), h.now())
	h.check(t)
	// A connection that the kernel had taken in when the listener closed breaks. Nothing else may be left without an answer.
	const tolerated = stops
	var broken []*operation
	for _, all := range h.byKey {
		for _, o := range all {
			if o.reply.outcome == unknown && o.reply.status == 0 {
				broken = append(broken, o)
			}
		}
	}
	t.Logf("connections that broke: %d", len(broken))
	if len(broken) > tolerated {
		t.Errorf("%d connections broke, at most %d can have waited to be accepted; one: %s", len(broken), tolerated, broken[0].reply.text)
	}
}

// writeFresh writes one new key after another, each over a connection of its own, to all nodes in turn.
func writeFresh(ctx context.Context, c *cluster, h *history, number int) {
	cl := newClient(false)
	cl.http.Timeout = patience // an answer that a busy machine gives late is no connection that broke
	defer cl.close()
	pace := time.NewTicker(clientPause)
	defer pace.Stop()
	for i := number; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		o := &operation{client: number, kind: put, key: fmt.Sprintf("handover/%d/%06d", number, i), value: fmt.Sprintf("%d-%d", number, i)}
		o.call = h.now()
		o.reply = cl.do(context.WithoutCancel(ctx), c.nodes[i%len(c.nodes)], http.MethodPut, o.key, o.value, nil)
		o.done = h.now()
		h.add(o)
	}
}
