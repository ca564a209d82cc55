//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	// fillCallers write fillOperations keys in each transaction; etcd takes 128 by default.
	fillCallers    = 8
	fillOperations = 100
	fillTimeout    = 20 * time.Minute
	// A question begins every servePause, which is how exact a time to serving is, and is given up after serveAttempt; so many are on their way at
	// most as fit into it.
	servePause   = 10 * time.Millisecond
	serveAttempt = time.Second
	// settlePause lets the members write behind what they do behind their answers, before memory is looked at.
	settlePause = 3 * time.Second
)

func fillKey(i int) string { return fmt.Sprintf("fill/%08d", i) }

// fill writes every key once, in an order that is nobody's.
func fill(s system, keys int) error {
	leader, err := settled(s)
	if err != nil {
		return err
	}
	c, err := dialEtcd(s.endpoint(leader))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), fillTimeout)
	defer cancel()
	order := rand.Perm((keys + fillOperations - 1) / fillOperations)
	var next atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, fillCallers)
	for range fillCallers {
		all.Go(func() {
			value := make([]byte, valueBytes)
			for i := range value {
				value[i] = byte(rand.Uint32())
			}
			for {
				at := int(next.Add(1)) - 1
				if at >= len(order) {
					return
				}
				first := order[at] * fillOperations
				var ops []clientv3.Op
				for i := first; i < min(first+fillOperations, keys); i++ {
					ops = append(ops, clientv3.OpPut(fillKey(i), string(value)))
				}
				if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}

// millionRows fill both systems, look at their memory and start them again.
func millionRows(o options, systems []system) ([]row, error) {
	for version := range o.fillVersions {
		for _, s := range systems {
			began := time.Now()
			if err := fill(s, o.fill); err != nil {
				return nil, fmt.Errorf("%s: fill: %w", s.name(), err)
			}
			progress("%d keys, version %d: %s: %v", o.fill, version+1, s.name(), time.Since(began).Round(time.Second))
		}
	}
	time.Sleep(settlePause)
	what := fmt.Sprintf("%d keys of %d bytes, %d versions", o.fill, valueBytes, o.fillVersions)
	resident, err := residentRow("memory resident, each member, "+what, systems, func(u loopback.Usage) int64 { return u.ResidentBytes })
	if err != nil {
		return nil, err
	}
	anonymous, err := residentRow("of it not pages of files", systems, func(u loopback.Usage) int64 { return u.AnonymousBytes })
	if err != nil {
		return nil, err
	}
	var one, all [2][]time.Duration
	for range o.restarts {
		for i, s := range systems {
			t, err := restartOne(s)
			if err != nil {
				return nil, err
			}
			one[i] = append(one[i], t)
		}
	}
	for range o.restarts {
		for i, s := range systems {
			t, err := restartAll(s)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], t)
		}
	}
	rows := []row{resident, anonymous}
	for _, x := range []struct {
		name  string
		times [2][]time.Duration
	}{{"one follower started, to its first linearizable answer", one}, {"all members started, to the first answer to a put", all}} {
		if o.restarts == 0 {
			break
		}
		slices.Sort(x.times[0])
		slices.Sort(x.times[1])
		progress("%s: raftkv %v, etcd %v", x.name, x.times[0], x.times[1])
		rows = append(rows, row{x.name + ", " + what, float64(percentile(x.times[0], 50)), float64(percentile(x.times[1], 50)), milliseconds, true})
	}
	return rows, nil
}

// restartOne stops a follower in good order and starts it again.
func restartOne(s system) (time.Duration, error) {
	leader, err := settled(s)
	if err != nil {
		return 0, err
	}
	follower := (leader + 1) % members
	p := s.processes()[follower]
	p.Stop()
	began := time.Now()
	if err := p.Start(); err != nil {
		return 0, err
	}
	return served(s, []int{follower}, began, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Get(ctx, fillKey(0))
		return err
	})
}

// restartAll stops all members in good order and starts them again.
func restartAll(s system) (time.Duration, error) {
	if _, err := settled(s); err != nil {
		return 0, err
	}
	var all sync.WaitGroup
	for _, p := range s.processes() {
		all.Go(p.Stop)
	}
	all.Wait()
	began := time.Now()
	at := make([]int, 0, members)
	for i, p := range s.processes() {
		if err := p.Start(); err != nil {
			return 0, err
		}
		at = append(at, i)
	}
	return served(s, at, began, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Put(ctx, fillKey(0), "started")
		return err
	})
}

// served tells how long it takes until one of the members answers. Questions go on beginning, each on a connection of its own: what a client adds by
// waiting before it tries again is left out.
func served(s system, at []int, began time.Time, ask func(context.Context, *clientv3.Client) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	answered := make(chan time.Duration, 1)
	asking := make(chan struct{}, len(at)*int(serveAttempt/servePause))
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	tick := time.NewTicker(servePause)
	defer tick.Stop()
	for {
		for _, member := range at {
			select {
			case asking <- struct{}{}:
			default:
				continue // too many wait already
			}
			all.Go(func() {
				defer func() { <-asking }()
				if askOnce(ctx, s.endpoint(member), ask) == nil {
					select {
					case answered <- time.Since(began):
					default: // another was first
					}
				}
			})
		}
		select {
		case t := <-answered:
			return t, nil
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("%s does not serve within %v of its start; the log of member %d ends with\n%s", s.name(), startTimeout, at[0], s.processes()[at[0]].LogTail())
		}
	}
}

func askOnce(ctx context.Context, endpoint string, ask func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, serveAttempt)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return err
	}
	_ = conn.Close() // that somebody listens was all that was asked
	c, err := dialEtcd(endpoint)
	if err != nil {
		return err
	}
	defer c.Close()
	return ask(ctx, c)
}
