//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// A probe starts at each surviving member every probeInterval, which is how exact the result is, and is given up after
	// probeTimeout; so many are on their way at most as fit into it.
	probeInterval = 5 * time.Millisecond
	probeTimeout  = 2 * time.Second
	// failoverTimeout bounds the wait for the first acknowledgement.
	failoverTimeout = 30 * time.Second
)

// failover kills the leader's process and returns the time from then to the first acknowledged write that began after it. What
// a client's own retries would add is left out: a new request begins all the time. The member is started again.
func failover(s system, run int) (time.Duration, error) {
	leader, err := settled(s)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), failoverTimeout)
	defer cancel()
	acknowledged := make(chan time.Time, 1)
	probes := make(chan struct{}, members*int(probeTimeout/probeInterval))
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()

	began := time.Now()
	s.processes()[leader].kill()
	var first time.Time
	for i := 0; first.IsZero(); i++ {
		for member := range members {
			if member == leader {
				continue
			}
			probes <- struct{}{}
			go func() {
				defer func() { <-probes }()
				ctx, cancel := context.WithTimeout(ctx, probeTimeout)
				defer cancel()
				if s.probe(ctx, member, fmt.Sprintf("failover/%d/%d/%d", run, member, i), []byte("probe")) != nil {
					return
				}
				select {
				case acknowledged <- time.Now():
				default: // a later one
				}
			}()
		}
		select {
		case first = <-acknowledged:
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: no write was acknowledged within %v of the leader's death", s.name(), failoverTimeout)
		}
	}
	cancel()
	for range cap(probes) { // until the last has ended
		probes <- struct{}{}
	}
	if err := s.processes()[leader].start(); err != nil {
		return 0, err
	}
	_, err = settled(s)
	return first.Sub(began), err
}
