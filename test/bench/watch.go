//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	watchers         = 1000
	watchConnections = 10
	// perEvents is the unit in which processor time for events is told.
	perEvents = 1_000_000
)

// watchOutcome is what one writer and all watchers of its key have seen.
type watchOutcome struct {
	events, puts      float64 // in a second
	storeCPU, loadCPU float64 // seconds for perEvents
}

func dialEtcd(endpoint string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: dialTimeout, Logger: zap.NewNop()})
}

// watchRows measure both systems.
func watchRows(o options, systems []system) ([]row, error) {
	outcomes := make([][]watchOutcome, len(systems))
	for round := range o.rounds {
		for j := range systems {
			which := (j + round) % len(systems)
			out, err := measureWatch(systems[which], o.duration)
			if err != nil {
				return nil, fmt.Errorf("%s: watch: %w", systems[which].name(), err)
			}
			progress("round %d: watch: %s: %s events, %s puts", round+1, systems[which].name(), perSecond(out.events), perSecond(out.puts))
			outcomes[which] = append(outcomes[which], out)
		}
	}
	line := func(what string, of func(watchOutcome) float64, format func(float64) string, lowerIsBetter bool) row {
		name := fmt.Sprintf("watch, one writer, %d watchers of its key: %s", watchers, what)
		return row{name, middle(outcomes[0], of), middle(outcomes[1], of), format, lowerIsBetter}
	}
	return []row{
		line("events", func(o watchOutcome) float64 { return o.events }, perSecond, false),
		line("puts", func(o watchOutcome) float64 { return o.puts }, perSecond, false),
		line("CPU of the store per 1M events", func(o watchOutcome) float64 { return o.storeCPU }, seconds, true),
		line("CPU of the load per 1M events", func(o watchOutcome) float64 { return o.loadCPU }, seconds, true),
	}, nil
}

// measureWatch has one caller put one key, again and again, at the leader, where all watchers are too. The watchers understand gRPC's messages and
// no more, since what they use is missing to the store.
func measureWatch(s system, duration time.Duration) (watchOutcome, error) {
	leader, err := settled(s)
	if err != nil {
		return watchOutcome{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var events, puts atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, watchConnections+1)
	created := make(chan struct{}, watchers)
	run := func(f func(*clientv3.Client) error) error {
		c, err := dialEtcd(s.endpoint(leader))
		if err != nil {
			return err
		}
		all.Go(func() {
			defer func() { _ = c.Close() }() // nothing more is wanted of it
			if err := f(c); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
		return nil
	}
	defer all.Wait()
	defer cancel()
	for range watchConnections {
		if err := run(func(c *clientv3.Client) error { return watchMany(ctx, c, created, &events) }); err != nil {
			return watchOutcome{}, err
		}
	}
	for range watchers {
		select {
		case <-created:
		case err := <-failed:
			return watchOutcome{}, err
		case <-time.After(startTimeout):
			return watchOutcome{}, errors.New("not all watches were created in time")
		}
	}
	value := string(make([]byte, valueBytes))
	if err := run(func(c *clientv3.Client) error {
		for {
			if _, err := c.Put(ctx, keyName(0), value); err != nil {
				return err
			}
			puts.Add(1)
		}
	}); err != nil {
		return watchOutcome{}, err
	}

	time.Sleep(warmUp)
	used, load, err := snapshotUsage(s)
	if err != nil {
		return watchOutcome{}, err
	}
	begin, e, p := time.Now(), events.Load(), puts.Load()
	select {
	case <-time.After(duration):
	case err := <-failed:
		return watchOutcome{}, err
	}
	e, p = events.Load()-e, puts.Load()-p
	elapsed := time.Since(begin).Seconds()
	usedAfter, loadAfter, err := snapshotUsage(s)
	if err != nil {
		return watchOutcome{}, err
	}
	if e == 0 {
		return watchOutcome{}, errors.New("no event came")
	}
	return watchOutcome{
		events: float64(e) / elapsed, puts: float64(p) / elapsed,
		storeCPU: (usedAfter.CPU - used.CPU).Seconds() / float64(e) * perEvents, loadCPU: (loadAfter - load).Seconds() / float64(e) * perEvents,
	}, nil
}

// watchMany watches the key as often as is one connection's share, and counts what comes.
func watchMany(ctx context.Context, c *clientv3.Client, created chan<- struct{}, events *atomic.Int64) error {
	stream, err := pb.NewWatchClient(c.ActiveConnection()).Watch(ctx)
	if err != nil {
		return err
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte(keyName(0))}}}
	for range watchers / watchConnections {
		if err := stream.Send(create); err != nil {
			return err
		}
	}
	for {
		r, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case r.Canceled:
			return fmt.Errorf("a watch was cancelled: %s", r.CancelReason)
		case r.Created:
			created <- struct{}{}
		}
		events.Add(int64(len(r.Events)))
	}
}

// residentRow tells one kind of memory of the members, in the mean.
func residentRow(measure string, systems []system, of func(loopback.Usage) int64) (row, error) {
	r := row{measure: measure, format: mebibytes, lowerIsBetter: true}
	for i, s := range systems {
		u, err := totals(s)
		if err != nil {
			return r, err
		}
		*[]*float64{&r.raftkv, &r.peer}[i] = float64(of(u)) / members
	}
	return r, nil
}
