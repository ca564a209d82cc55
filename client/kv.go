package client

import (
	"context"
	"fmt"

	"github.com/raftkv/raftkv/client/wire"
)

// maxPages bounds the answers that one Range without a limit is put together from.
const maxPages = 1 << 20

// Put writes a key. Errors: ErrEmptyKey, ErrTooLarge, ErrNoSpace, ErrLeaseNotFound, ErrKeyNotFound (something was to be kept of a key that does not
// exist), ErrInvalid, ErrUnavailable, ErrUnknown, and ErrResultLost with WithPrevKV.
func (c *Client) Put(ctx context.Context, key string, value []byte, options ...PutOption) (PutResult, error) {
	op := wire.Op{Value: value}
	for _, o := range options {
		o.forPut(&op)
	}
	x := c.getCall()
	x.body = wire.AppendPut(x.body, key, &op)
	r, err := c.write(ctx, x)
	if err != nil {
		return PutResult{}, err
	}
	out := PutResult{Revision: r.Revision}
	if !op.PrevKV {
		return out, nil
	}
	if r.Repeated {
		return out, ErrResultLost
	}
	if len(r.Ops) > 0 && len(r.Ops[0].Prev) > 0 {
		out.Prev = &r.Ops[0].Prev[0]
	}
	return out, nil
}

// Delete deletes keys. Errors: ErrEmptyKey, ErrTooLarge, ErrUnavailable, ErrUnknown, and ErrResultLost with WithPrevKV.
func (c *Client) Delete(ctx context.Context, keys Keys, options ...DeleteOption) (DeleteResult, error) {
	op := OpDelete(keys, options...).op
	x := c.getCall()
	x.body = wire.AppendOp(x.body, &op)
	r, err := c.write(ctx, x)
	if err != nil {
		return DeleteResult{}, err
	}
	out := DeleteResult{Revision: r.Revision, Deleted: r.Deleted}
	if !op.PrevKV {
		return out, nil
	}
	if r.Repeated || len(r.Ops) > 0 && r.Ops[0].PrevTruncated {
		return out, ErrResultLost
	}
	if len(r.Ops) > 0 {
		out.Prev = r.Ops[0].Prev
	}
	return out, nil
}

// Get reads a key. Of the options, those count that are about one key. Errors: ErrCompacted, ErrFutureRevision, ErrUnavailable.
func (c *Client) Get(ctx context.Context, key string, options ...ReadOption) (GetResult, error) {
	var s readSettings
	for _, o := range options {
		o.forRead(&s)
	}
	page, revision, err := c.readPage(ctx, Key(key), &s)
	if err != nil {
		return GetResult{}, err
	}
	out := GetResult{Revision: revision}
	if len(page.Items) > 0 {
		out.Found, out.KV = true, page.Items[0]
	}
	return out, nil
}

// Range reads keys. What is more than one answer holds is asked for in several, all at the revision of the first, so that the result is that of one
// moment; if that is compacted away meanwhile the error is ErrCompacted. Errors: ErrCompacted, ErrFutureRevision, ErrTooLarge (sorted, and more
// than one answer holds), ErrUnavailable.
func (c *Client) Range(ctx context.Context, keys Keys, options ...ReadOption) (RangeResult, error) {
	var s readSettings
	for _, o := range options {
		o.forRead(&s)
	}
	page, revision, err := c.readPage(ctx, keys, &s)
	if err != nil {
		return RangeResult{}, err
	}
	out := RangeResult{Items: page.Items, More: page.More, Count: page.Count, Revision: revision}
	limit := s.Limit
	if s.Revision == 0 {
		s.Revision = revision
	}
	s.WithCount = false
	for range maxPages {
		if !out.More || s.CountOnly || limit != 0 && uint64(len(out.Items)) >= limit {
			return out, nil
		}
		if s.Sort != 0 || s.Target != 0 {
			return RangeResult{}, &callError{kind: ErrTooLarge, text: "what is to be sorted does not fit into one answer: ask for less, or in the order of the keys"}
		}
		if len(out.Items) == 0 {
			return RangeResult{}, &callError{kind: errFailed, text: "the node says that there is more and gives nothing"}
		}
		if limit != 0 {
			s.Limit = limit - uint64(len(out.Items))
		}
		keys.start = string(out.Items[len(out.Items)-1].Key) + "\x00"
		if page, _, err = c.readPage(ctx, keys, &s); err != nil {
			return RangeResult{}, err
		}
		out.Items, out.More = append(out.Items, page.Items...), page.More && len(page.Items) > 0
	}
	return RangeResult{}, &callError{kind: ErrTooLarge, text: fmt.Sprintf("the range takes more than %d answers", maxPages)}
}

// readPage reads as much as one answer holds.
func (c *Client) readPage(ctx context.Context, keys Keys, s *readSettings) (*wire.RangeResult, uint64, error) {
	x := c.getCall()
	x.body = wire.AppendRange(x.body, keys.start, keys.end, &s.Range)
	r, err := c.read(ctx, s.purpose(), x)
	if err != nil {
		return nil, 0, err
	}
	if len(r.Ops) != 1 || r.Ops[0].Range == nil {
		return nil, 0, &callError{kind: errFailed, text: "the answer to a range holds none"}
	}
	return r.Ops[0].Range, r.Revision, nil
}

func (s *readSettings) purpose() purpose {
	if s.serializable {
		return staleReads
	}
	return reads
}

// commit carries a transaction out.
func (c *Client) commit(ctx context.Context, t *Txn) (TxnResult, error) {
	body := wireTxn(t.conditions, t.then, t.otherwise)
	// What cannot be decoded is refused here: it would take others with it that travel in the same batch.
	ops, err := measure(&body, 1)
	if err != nil {
		return TxnResult{}, err
	}
	x := c.getCall()
	x.ops = ops
	x.body = wire.AppendOp(x.body, &wire.Op{Kind: wire.OpTxn, Txn: &body})
	var r wire.Result
	switch {
	case body.Writes():
		r, err = c.write(ctx, x)
	case t.serializable:
		r, err = c.read(ctx, staleReads, x)
	default:
		r, err = c.read(ctx, reads, x)
	}
	if err != nil {
		return TxnResult{}, err
	}
	out := TxnResult{Revision: r.Revision, Succeeded: r.Succeeded}
	if !r.Repeated {
		out.Results = opResults(r.Ops, r.Revision)
		return out, nil
	}
	ran := body.Failure
	if r.Succeeded {
		ran = body.Success
	}
	if tells(ran) {
		return out, ErrResultLost
	}
	out.Results = make([]OpResult, len(ran))
	return out, nil
}

// measure counts the operations and compares of a transaction, itself included.
func measure(t *wire.Txn, depth int) (ops int, err error) {
	if depth > wire.MaxDepth {
		return 0, &callError{kind: ErrInvalid, text: fmt.Sprintf("transactions are nested more than %d deep", wire.MaxDepth)}
	}
	ops = 1 + len(t.Compares)
	for _, list := range [][]wire.Op{t.Success, t.Failure} {
		for i := range list {
			inner := 1
			if list[i].Kind == wire.OpTxn {
				if inner, err = measure(list[i].Txn, depth+1); err != nil {
					return 0, err
				}
			}
			ops += inner
		}
	}
	if ops > wire.MaxOps {
		return 0, &callError{kind: ErrTooLarge, text: fmt.Sprintf("a transaction of %d operations, at most %d fit into a message", ops, wire.MaxOps)}
	}
	return ops, nil
}

// tells tells whether operations return anything that the remembered result of a transaction does not.
func tells(ops []wire.Op) bool {
	for i := range ops {
		if ops[i].Kind != wire.OpPut || ops[i].PrevKV {
			return true
		}
	}
	return false
}

func opResults(in []wire.OpResult, revision uint64) []OpResult {
	out := make([]OpResult, len(in))
	for i := range in {
		out[i] = OpResult{Deleted: in[i].Deleted, Prev: in[i].Prev}
		if r := in[i].Range; r != nil {
			out[i].Range = &RangeResult{Items: r.Items, More: r.More, Count: r.Count, Revision: revision}
		}
		if t := in[i].Txn; t != nil {
			out[i].Txn = &TxnResult{Revision: revision, Succeeded: t.Succeeded, Results: opResults(t.Ops, revision)}
		}
	}
	return out
}

// Compact gives up the history before a revision, and returns the store's. physical waits until its space is free for use again on the node that
// was asked, as long as ctx, or Config.CallTimeout, allows. Errors: ErrCompacted (also when a lost first attempt has done it), ErrFutureRevision, ErrUnavailable,
// ErrUnknown, and ErrResultLost: it was compacted, but the wait for the space failed.
func (c *Client) Compact(ctx context.Context, revision uint64, physical bool) (uint64, error) {
	reply, err := invoke(ctx, c, writes, compactMethod, &wire.CompactRequest{Revision: revision})
	if err != nil {
		return 0, err
	}
	if physical {
		// A call of its own, since it takes as long as it takes.
		if _, err := at(ctx, c, writes, "", scrubMethod, &wire.CompactRequest{Revision: revision}); err != nil {
			return reply.Revision, &callError{kind: ErrResultLost, text: "the history was compacted, but its space could not be waited for: " + err.Error()}
		}
	}
	return reply.Revision, nil
}
