//go:build linux

package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	// A probe starts at each surviving member every probeInterval, which is how exact the result is, and is given up after
	// probeTimeout; so many are on their way at most as fit into it.
	probeInterval = 5 * time.Millisecond
	probeTimeout  = 2 * time.Second
	// failoverTimeout bounds the wait for the first acknowledgement.
	failoverTimeout = 30 * time.Second
)

// ending is how a leader goes.
type ending struct {
	name string
	// strike begins it, with the process of the leader.
	strike func(*loopback.Process) error
	// graceful: the leader goes on for a while, so that there may be no pause before it is gone.
	graceful bool
}

// endings are those that are measured: a crash, whose connections are reset; a leader that stands still, of which nobody is told; and
// one that is stopped in good order.
var endings = []ending{
	{"leader killed", func(p *loopback.Process) error { p.Kill(); return nil }, false},
	{"leader frozen", func(p *loopback.Process) error { return p.Signal(syscall.SIGSTOP) }, false},
	{"leader stopped (SIGTERM)", func(p *loopback.Process) error { return p.Signal(syscall.SIGTERM) }, true},
}

// ackAfterEnd is how many writes are acknowledged after a leader's graceful end before the measurement is over.
const ackAfterEnd = 50

// failover has the leader end and returns the longest pause from then on between two acknowledgements of writes that began after it,
// until the first one without the leader. What a client's own retries would add is left out: a new request begins all the time. The
// member is started again.
func failover(s system, run int, how ending) (time.Duration, error) {
	leader, err := settled(s)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), failoverTimeout)
	defer cancel()
	acknowledged := make(chan time.Time, members*int(probeTimeout/probeInterval))
	probes := make(chan struct{}, cap(acknowledged))
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()

	p := s.processes()[leader]
	last := time.Now()
	if err := how.strike(p); err != nil {
		return 0, err
	}
	var pause time.Duration
	missing := 1
	if how.graceful {
		missing = ackAfterEnd
	}
	asked := 0
	ask := func() {
		asked++
		key := fmt.Sprintf("failover/%d/%d", run, asked)
		for member := range members {
			if member == leader {
				continue
			}
			probes <- struct{}{}
			go func() {
				defer func() { <-probes }()
				ctx, cancel := context.WithTimeout(ctx, probeTimeout)
				defer cancel()
				if s.probe(ctx, member, fmt.Sprintf("%s/%d", key, member), []byte("probe")) == nil {
					acknowledged <- time.Now() // as much room as there are probes; nobody looks at those after the last
				}
			}()
		}
	}
	for ask(); missing > 0; {
		select {
		case at := <-acknowledged:
			pause, last = max(pause, at.Sub(last)), at
			if !how.graceful || p.Ended() {
				missing--
			}
		case <-tick.C:
			ask()
		case <-ctx.Done():
			return 0, fmt.Errorf("%s, %s: no write was acknowledged within %v", s.name(), how.name, failoverTimeout)
		}
	}
	cancel()
	for range cap(probes) { // until the last has ended
		select {
		case probes <- struct{}{}:
		case <-acknowledged:
			probes <- struct{}{}
		}
	}
	p.Kill()
	if err := p.Start(); err != nil {
		return 0, err
	}
	_, err = settled(s)
	return pause, err
}
