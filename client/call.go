package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

const (
	// mostLater is how often a read is put off before pauses are made. A batch of many is answered in parts, each of one at least.
	mostLater = wire.MaxBatch
	// pooledBodyBytes is the largest encoded operation whose memory is used again.
	pooledBodyBytes = 64 << 10
)

// getCall gives a call of one operation whose body is empty.
func (c *Client) getCall() *call {
	x, pooled := c.calls.Get().(*call)
	if !pooled {
		x = &call{done: make(chan struct{}, 1)}
	}
	x.body, x.ops = x.body[:0], 1
	return x
}

func (c *Client) putCall(x *call) {
	if cap(x.body) > pooledBodyBytes {
		x.body = nil
	}
	x.session, x.result, x.failure, x.tolerance = nil, wire.Result{}, nil, tolerance{}
	c.calls.Put(x)
}

// read has a call that reads carried out, on as many nodes as need be. It takes the call over.
func (c *Client) read(ctx context.Context, p purpose, x *call) (wire.Result, error) {
	left := allowance{client: c, ctx: ctx}
	x.session, x.sequence = nil, 0
	failures, later := 0, 0
	for {
		if err := left.over(); err != nil {
			return wire.Result{}, unavailable(err, nil)
		}
		cn := c.choose(ctx, p, nil).pick()
		lane := &cn.reads
		if p == staleReads {
			lane = &cn.stale
		}
		if known, ended := left.spend(lane, x); known != answered {
			return wire.Result{}, unavailable(ended, nil)
		}
		var last error
		if x.failure != nil {
			left.learn(x.failure)
			if last = final(x.failure.err); last != nil {
				return wire.Result{}, last
			}
			last = x.failure.err
		} else {
			result := x.result
			switch result.Status {
			case wire.StatusOK:
				c.putCall(x)
				return result, nil
			case wire.StatusUnavailable, wire.StatusBusy, wire.StatusUnknown:
				last = refusal(result.Status, result.Message)
				if result.Status == wire.StatusUnavailable {
					c.failed(cn.node) // another may know a leader
				}
			case wire.StatusLater:
				if later++; later <= mostLater {
					continue
				}
				last = refusal(result.Status, "the node puts the read off again and again")
			case wire.StatusFailed:
				// The others may be well.
				last = refusal(result.Status, result.Message)
				if failures++; failures >= len(*c.nodes.Load()) {
					return wire.Result{}, last
				}
				c.failed(cn.node)
			default:
				c.putCall(x)
				return wire.Result{}, refusal(result.Status, result.Message)
			}
		}
		if err := left.wait(); err != nil {
			return wire.Result{}, unavailable(err, last)
		}
	}
}

// write has a write carried out at most once. It takes the call over.
func (c *Client) write(ctx context.Context, x *call) (wire.Result, error) {
	left := allowance{client: c, ctx: ctx}
	x.session = nil
	defer func() {
		if x != nil && x.session != nil {
			x.session.giveBack(x.sequence)
		}
	}()
	var d doubt
	fail := func(err, last error) (wire.Result, error) {
		if d.uncertain {
			return wire.Result{}, unknown(err, last)
		}
		return wire.Result{}, unavailable(err, last)
	}
	for {
		if err := left.over(); err != nil {
			return fail(err, nil)
		}
		if x.session == nil {
			if err := c.enlist(ctx, x); err != nil {
				return fail(err, nil)
			}
		}
		cn := c.choose(ctx, writes, d.avoid).pick()
		if known, ended := left.spend(&cn.writes, x); known != answered {
			d.uncertain = d.uncertain || known == lost
			session, sequence := x.session, x.sequence
			x = nil // the lane may still have it
			session.giveBack(sequence)
			return fail(ended, nil)
		}
		if x.failure != nil {
			left.learn(x.failure)
		}
		var v verdict
		var last error
		switch result := x.result; {
		case x.failure != nil && x.failure.surelyNot && final(x.failure.err) == nil:
			v, last = notDone, x.failure.err
		case x.failure != nil:
			v, last = judgeFailure(x.failure.err)
		case result.Status == wire.StatusOK:
			x.session.giveBack(x.sequence)
			c.putCall(x)
			x = nil
			return result, nil
		case result.Status == wire.StatusExpired:
			c.sessions.expired(x.session)
			if d.uncertain {
				return wire.Result{}, unknown(errors.New("the session has expired, so that asking again tells nothing"), nil)
			}
			x.session.giveBack(x.sequence)
			x.session = nil // after a pause, and within the time of the call: sessions may go as fast as they come
			v, last = notDone, refusal(result.Status, result.Message)
		default:
			v, last = judge(result.Status), refusal(result.Status, result.Message)
			if result.Status == wire.StatusUnavailable {
				c.failed(cn.node) // another may know a leader
			}
		}
		if err := d.note(c, cn.node, v, last); err != nil {
			return wire.Result{}, err
		}
		if err := left.wait(); err != nil {
			return fail(err, last)
		}
	}
}

// enlist gives a write its place in the session.
func (c *Client) enlist(ctx context.Context, x *call) error {
	s, err := c.sessions.get(ctx, c.openSession)
	if err != nil {
		return err
	}
	sequence, err := s.take(ctx)
	if err != nil {
		return err
	}
	x.session, x.sequence = s, sequence
	return nil
}

// openSession may be asked twice: it opens the same session. Like a read it has no outcome that matters but its answer.
func (c *Client) openSession(ctx context.Context, r *wire.SessionRequest) (uint64, error) {
	reply, err := invoke(ctx, c, reads, openSessionMethod, r)
	if err != nil {
		return 0, err
	}
	return reply.Session, nil
}

// final is the error of a call for which no other node need be asked; nil if another may well do better.
func final(err error) error {
	switch rpc.CodeOf(err) {
	case rpc.CodeTooLarge:
		return &callError{kind: ErrTooLarge, text: err.Error(), cause: err}
	case rpc.CodeInvalid:
		return &callError{kind: ErrInvalid, text: err.Error(), cause: err}
	case rpc.CodeRefused, rpc.CodeNotFound, rpc.CodeUnauthenticated:
		return &callError{kind: ErrRefused, text: err.Error(), cause: err}
	}
	return nil
}

// unavailable is the error of a call that was surely not carried out. why ended it, last is what the last attempt came to.
func unavailable(why, last error) error { return outcome(ErrUnavailable, why, last) }

func unknown(why, last error) error { return outcome(ErrUnknown, why, last) }

func outcome(kind, why, last error) error {
	switch {
	case errors.Is(why, kind):
		return why
	case errors.Is(why, ErrClosed) && errors.Is(kind, ErrUnavailable):
		return ErrClosed
	}
	text := why.Error()
	if last != nil {
		text = fmt.Sprintf("%s; the last attempt: %v", text, last)
	}
	if errors.Is(kind, ErrUnavailable) && errors.Is(last, ErrBusy) {
		why = errors.Join(why, ErrBusy) // which is what kept it from being carried out
	}
	return &callError{kind: kind, text: text, cause: why}
}

// replier is an answer that tells a refusal by its status.
type replier interface{ Refused() *wire.Reply }

// method is one of the service.
type method[Q any, A replier] func(*wire.Service) func(context.Context, *Q) (A, error)

// invoke makes a call that may be made twice, on as many nodes as need be.
func invoke[Q any, A replier](ctx context.Context, c *Client, p purpose, m method[Q, A], request *Q) (A, error) {
	answer, _, err := attempts(ctx, c, p, c.config.AttemptTimeout, m, request)
	return answer, err
}

// attempts is invoke, with a bound for each attempt (of a read, for the first), and tells whether one was made of which it is not known whether it was carried out.
func attempts[Q any, A replier](ctx context.Context, c *Client, p purpose, each time.Duration, m method[Q, A], request *Q) (answer A, uncertain bool, err error) {
	var none A
	var d doubt
	left := allowance{client: c, ctx: ctx}
	fail := func(err, last error) (A, bool, error) {
		if d.uncertain {
			return none, true, unknown(err, last)
		}
		return none, false, unavailable(err, last)
	}
	for {
		if err := left.over(); err != nil {
			return fail(err, nil)
		}
		n := c.choose(ctx, p, d.avoid)
		limit := each
		if p != writes { // whose answers are small, and a renewal must leave time for others
			limit = left.tolerance.of(each)
		}
		answer, err := once(&left, n, limit, m, request)
		switch {
		case err == nil:
			return answer, d.uncertain, nil
		case p != writes && !retriable(err):
			return none, false, err
		case p == writes && errors.Is(err, errFailed):
			return none, true, unknown(err, nil) // it would fail again
		case p == writes:
			if over := d.note(c, n, judgeError(err), err); over != nil {
				return none, d.uncertain, over
			}
		}
		if ctx.Err() == nil && retriable(err) {
			c.failed(n)
		}
		if over := left.wait(); over != nil {
			return fail(over, err)
		}
	}
}

// retriable tells whether another attempt may do better.
func retriable(err error) bool {
	var known *callError
	if !errors.As(err, &known) {
		return true
	}
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrBusy) || errors.Is(err, ErrUnknown)
}

// once makes a call on one node.
func once[Q any, A replier](left *allowance, n *node, limit time.Duration, m method[Q, A], request *Q) (A, error) {
	within, done := left.within(0)
	defer done()
	limited, cancel := context.WithTimeout(within, limit)
	defer cancel()
	cn := n.pick()
	before := cn.flow()
	answer, err := direct(limited, cn.service, m, request)
	if cutOff(within, err) && cn.flowedSince(before) {
		left.learn(&attemptError{cutOff: 1})
	}
	return answer, err
}

// direct makes a call on a service.
func direct[Q any, A replier](ctx context.Context, s *wire.Service, m method[Q, A], request *Q) (A, error) {
	var none A
	answer, err := m(s)(ctx, request)
	if err != nil {
		if refused := final(err); refused != nil {
			return none, refused
		}
		return none, err
	}
	if r := answer.Refused(); r.Status != wire.StatusOK {
		return none, refusal(r.Status, r.Message)
	}
	return answer, nil
}
