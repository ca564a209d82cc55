package client

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

const (
	// leastPause and longestPause bound the pauses between the attempts of a call, which double.
	leastPause   = time.Millisecond
	longestPause = 100 * time.Millisecond
	// mostDoublings bounds the patience of a call.
	mostDoublings = 6
	// lotDivisor is by how much fewer calls go together each time that they were cut off: an answer that holds one of them in time is progress.
	lotDivisor = 8
	// leastFlow is how many bytes of a connection during an attempt are taken for a part of an answer. Pings are far less.
	leastFlow = 16 << 10
)

// tolerance is what a call has learned from attempts that ended by their own time while bytes came: with as little time for as much, each further
// one would be cut off like the one before. The silent are not met with patience. The zero value is that of the first attempt.
type tolerance struct {
	// doublings of the time of an attempt.
	doublings int
	// lot is how many calls of a lane may go together; zero means as many as fit.
	lot int
}

func (p tolerance) of(first time.Duration) time.Duration { return first << p.doublings }

func (p tolerance) most() int {
	if p.lot == 0 {
		return wire.MaxBatch
	}
	return p.lot
}

// allowance is what a call knows of its time.
type allowance struct {
	client *Client
	ctx    context.Context
	// end is set by the first failure if the context has no deadline.
	end       time.Time
	pause     time.Duration
	tolerance tolerance
}

// wait waits before the next attempt, and returns why there must be none.
func (p *allowance) wait() error {
	if err := p.over(); err != nil {
		return err
	}
	if p.end.IsZero() {
		if _, ok := p.ctx.Deadline(); !ok {
			p.end = time.Now().Add(p.client.config.CallTimeout)
		} else {
			p.end = time.Now().AddDate(1, 0, 0)
		}
	}
	p.pause = min(max(2*p.pause, leastPause), longestPause)
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return p.over()
	case <-p.ctx.Done():
	case <-p.client.ctx.Done():
	}
	return p.over()
}

func (p *allowance) over() error {
	switch {
	case p.client.ctx.Err() != nil:
		return ErrClosed
	case p.ctx.Err() != nil:
		return p.ctx.Err()
	case !p.end.IsZero() && time.Now().After(p.end):
		return context.DeadlineExceeded
	}
	return nil
}

// learn makes the call more patient if an attempt was cut off.
func (p *allowance) learn(failure *attemptError) {
	if failure.cutOff == 0 {
		return
	}
	p.tolerance.doublings = min(p.tolerance.doublings+1, mostDoublings)
	p.tolerance.lot = max(failure.cutOff/lotDivisor, 1)
}

// within is the context of an attempt whose request takes so many bytes. A patient one, or a large one, ends with the call; others have no time for
// more than that anyway.
func (p *allowance) within(size int) (context.Context, context.CancelFunc) {
	if _, ok := p.ctx.Deadline(); ok || p.tolerance.doublings == 0 && size < largeRequest {
		return p.ctx, func() {}
	}
	if p.end.IsZero() {
		p.end = time.Now().Add(p.client.config.CallTimeout)
	}
	return context.WithDeadline(p.ctx, p.end)
}

// spend has the call carried out once. Unless it was answered, ended says why the answer was not waited for.
func (p *allowance) spend(l *lane, x *call) (known fate, ended error) {
	within, done := p.within(len(x.body))
	defer done()
	x.tolerance = p.tolerance
	known = l.do(within, x)
	return known, within.Err()
}

// cutOff tells whether an attempt under ctx ended by its own time.
func cutOff(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() == nil && rpc.CodeOf(err) == rpc.CodeDeadline
}

// flow is how much had come over a connection at some moment.
type flow struct {
	client *rpc.Client
	bytes  uint64
}

func (cn *conn) flow() flow {
	if c := cn.peer.Client(); c != nil {
		return flow{client: c, bytes: c.Received()}
	}
	return flow{}
}

// flowedSince tells whether more than signs of life came since then.
func (cn *conn) flowedSince(before flow) bool {
	now := cn.flow()
	if now.client == before.client {
		now.bytes -= before.bytes
	}
	return now.bytes >= leastFlow
}
