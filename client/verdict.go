package client

import (
	"errors"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

// verdict is what an attempt that brought no result says about a write.
type verdict int

const (
	// notDone: this attempt was surely not carried out, and another may be.
	notDone verdict = iota
	// perhapsDone: this attempt may have been carried out, or be yet.
	perhapsDone
	// decided: the state, in which the write has its number, has refused it. That holds for all attempts.
	decided
	// notTaken: this node did not propose the attempt. It says nothing of an earlier one that another node, which may have other limits, has taken.
	notTaken
)

// errNotTakenAgain ends a write of which an earlier attempt may have been carried out.
var errNotTakenAgain = errors.New("an attempt was made whose answer was lost, and no node takes the call again")

// judge is the verdict of a status that is not OK, nor that of an expired session.
func judge(s wire.Status) verdict {
	switch s {
	case wire.StatusUnavailable, wire.StatusBusy, wire.StatusLater:
		return notDone
	case wire.StatusResultLost, wire.StatusCompacted, wire.StatusFutureRevision, wire.StatusEmptyKey, wire.StatusDuplicateKey, wire.StatusKeyNotFound,
		wire.StatusLeaseNotFound, wire.StatusLeaseExists:
		return decided
	case wire.StatusNoSpace, wire.StatusUnsupported, wire.StatusTooLarge, wire.StatusTooMany, wire.StatusLeaseTTL, wire.StatusInvalid, wire.StatusRefused:
		return notTaken
	}
	return perhapsDone // StatusUnknown, StatusFailed, and what a later build may say
}

// judgeFailure is the verdict of a call that failed, and the refusal in it.
func judgeFailure(err error) (verdict, error) {
	if rpc.CodeOf(err) == rpc.CodeTooLarge && !rpc.NotSent(err) {
		return perhapsDone, err // the answer is what was too large
	}
	if refused := final(err); refused != nil {
		return notTaken, refused
	}
	if rpc.NotSent(err) || errors.Is(err, rpc.CodeExhausted) {
		return notDone, err
	}
	return perhapsDone, err
}

// judgeError is the verdict of a call that direct has made.
func judgeError(err error) verdict {
	var known *callError
	if errors.As(err, &known) && known.status != wire.StatusOK {
		return judge(known.status)
	}
	v, _ := judgeFailure(err)
	return v
}

// doubt is what is known of a write over all of its attempts.
type doubt struct {
	// uncertain says that one was made that may have been carried out.
	uncertain bool
	// avoid is the node that did not take the last one; refusals counts such nodes.
	avoid    *node
	refusals int
}

// note adds an attempt on a node. It returns the error of the call if there is to be no other.
func (d *doubt) note(c *Client, n *node, v verdict, err error) error {
	switch v {
	case notDone:
	case perhapsDone:
		d.uncertain = true
	case decided:
		return err
	case notTaken:
		if !d.uncertain {
			return err
		}
		// Another may take it, and its session then tells what became of the first.
		d.avoid = n
		if d.refusals++; d.refusals > len(*c.nodes.Load()) {
			return unknown(errNotTakenAgain, err)
		}
	}
	return nil
}
