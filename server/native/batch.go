package native

import (
	"context"
	"fmt"
	"math"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/server/backend"
)

// OpenSession is that of wire.Service.
func (s *service) OpenSession(ctx context.Context, r *wire.SessionRequest) (*wire.SessionReply, error) {
	store, err := s.opened()
	if err == nil && (r.Origin == 0 || r.Nonce == 0) {
		err = refusal{wire.StatusInvalid, "origin and nonce of a session must not be zero"}
	}
	var id uint64
	if err == nil {
		ctx, cancel := bounded(ctx)
		defer cancel()
		if id, err = store.OpenSession(ctx, raft.Incarnation(r.Origin), r.Nonce); err == nil {
			id = outside(id, store.Header().ClusterID)
		}
	}
	return &wire.SessionReply{Reply: replyOf(0, err), Session: id}, nil
}

// answer is an empty answer to a batch.
func (s *service) answer(store Store, results int) *wire.Answer {
	a := &wire.Answer{Results: make([]wire.Result, results)}
	if store != nil {
		a.Member, a.Leader = uint64(store.Header().MemberID), uint64(store.Leader())
	}
	return a
}

// refuse answers all of a batch alike.
func refuse(a *wire.Answer, err error) *wire.Answer {
	for i := range a.Results {
		a.Results[i].Status, a.Results[i].Message = statusOf(err)
	}
	return a
}

// Write is that of wire.Service.
func (s *service) Write(ctx context.Context, b *wire.WriteBatch) (*wire.Answer, error) {
	store, err := s.opened()
	a := s.answer(store, len(b.Items))
	if err != nil {
		return refuse(a, err), nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	batch, places := commands(b, outside(b.Session, store.Header().ClusterID), a)
	store.WriteAll(ctx, batch)
	room := maxAnswerBytes
	for i := range batch {
		room -= written(&a.Results[places[i]], b.Items[places[i]].Op, &batch[i], room)
	}
	if !s.count(ctx, maxAnswerBytes-room) {
		lose(a)
	}
	return a, nil
}

// lose leaves of the results of writes only that they were carried out, where they return more.
func lose(a *wire.Answer) {
	for i := range a.Results {
		if r := &a.Results[i]; len(r.Ops) > 0 {
			*r = wire.Result{Status: wire.StatusResultLost, Message: fmt.Sprintf("it was carried out at revision %d, but this node has no room for what it returns, since other answers are not taken yet", r.Revision)}
		}
	}
}

// commands makes the store's writes in a session out of the operations of a batch, and answers those that are none.
func commands(b *wire.WriteBatch, in uint64, a *wire.Answer) (batch []backend.Write, places []int) {
	batch, places = make([]backend.Write, 0, len(b.Items)), make([]int, 0, len(b.Items))
	// One piece of memory for what the commands are made of.
	txns, ops := make([]kv.Txn, len(b.Items)), make([]kv.Op, len(b.Items))
	for i := range b.Items {
		item := &b.Items[i]
		write := backend.Write{Mark: session.Header{Session: in, Sequence: item.Sequence, Low: b.Low}}
		switch {
		case (b.Session == 0) != (item.Sequence == 0):
			a.Results[i].Status, a.Results[i].Message = wire.StatusInvalid, "a write has a sequence in a session, or neither"
			continue
		case b.Session == 0:
			write.Mark = session.Header{}
		}
		switch {
		case item.Op.Kind == wire.OpTxn && item.Op.Txn.Writes() && wellFormed(item.Op):
			write.Command = kv.Transaction(*convertTxn(item.Op.Txn))
		case item.Op.Kind == wire.OpPut, item.Op.Kind == wire.OpDelete:
			convertOp(item.Op, &ops[i])
			txns[i].Success = ops[i : i+1 : i+1]
			write.Command = kv.Command{Kind: kv.CommandTxn, Txn: &txns[i]}
		default:
			a.Results[i].Status, a.Results[i].Message = wire.StatusInvalid, "an operation in a batch of writes writes nothing, or is malformed"
			continue
		}
		batch, places = append(batch, write), append(places, i)
	}
	return batch, places
}

// written is what became of a write; it returns what its answer takes beyond a few bytes, which is at most room.
func written(out *wire.Result, op *wire.Op, w *backend.Write, room int) (size int) {
	err := w.Err
	if err == nil {
		err = w.Result.Err
	}
	if err != nil {
		out.Status, out.Message = statusOf(err)
		return len(out.Message)
	}
	r := w.Result
	out.Revision, out.Succeeded, out.Repeated, out.Deleted = r.Revision, r.Succeeded, r.Repeated, r.Deleted
	if op.Kind != wire.OpTxn && !op.PrevKV {
		return 0
	}
	out.Ops = opResults(r.Ops)
	if size = sizeOf(out.Ops); size > room {
		*out = wire.Result{Status: wire.StatusResultLost, Message: fmt.Sprintf("it was carried out at revision %d, but what it returns is more than one answer holds", r.Revision)}
		return len(out.Message)
	}
	return size
}

// Read is that of wire.Service.
func (s *service) Read(ctx context.Context, b *wire.ReadBatch) (*wire.Answer, error) {
	store, err := s.opened()
	a := s.answer(store, len(b.Items))
	if err != nil {
		return refuse(a, err), nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if !b.Serializable {
		// One barrier for all of them, after which this node's own state is recent enough.
		if err := store.Barrier(ctx); err != nil {
			return refuse(a, err), nil
		}
	}
	size := 0
	for i := range b.Items {
		if size >= wire.MaxAnswerBytes {
			a.Results[i].Status = wire.StatusLater
			continue
		}
		size += s.read(ctx, store, &b.Items[i], &a.Results[i])
	}
	if !s.count(ctx, size) {
		return refuse(s.answer(store, len(b.Items)), errNoRoom), nil
	}
	return a, nil
}

// errNoRoom refuses reads whose results this node cannot keep.
var errNoRoom = fmt.Errorf("%w: this node holds as many answers as it may that their clients have not taken yet", backend.ErrBusy)

// read carries out one read, and returns what its answer takes.
func (s *service) read(ctx context.Context, store Store, item *wire.Item, out *wire.Result) int {
	var err error
	switch {
	case item.Sequence != 0 || !wellFormed(item.Op):
		err = refusal{wire.StatusInvalid, "malformed read"}
	case item.Op.Kind == wire.OpRange:
		err = readRange(ctx, store, item.Op, out)
	case item.Op.Kind == wire.OpTxn && !item.Op.Txn.Writes():
		var r backend.TxnResult
		if r, err = store.Txn(ctx, backend.TxnRequest{Txn: *convertTxn(item.Op.Txn), Serializable: true}); err == nil {
			out.Revision, out.Succeeded, out.Ops = r.Revision, r.Succeeded, opResults(r.Ops)
		}
	default:
		err = refusal{wire.StatusInvalid, "an operation in a batch of reads writes"}
	}
	size := sizeOf(out.Ops)
	if err == nil && size > maxAnswerBytes-wire.MaxAnswerBytes {
		err = fmt.Errorf("%w: what the transaction reads is more than one answer holds", backend.ErrTooLarge)
	}
	if err != nil {
		*out = wire.Result{}
		out.Status, out.Message = statusOf(err)
		return len(out.Message)
	}
	return size
}

func readRange(ctx context.Context, store Store, op *wire.Op, out *wire.Result) error {
	r := backend.RangeRequest{RangeRequest: convertRange(op), Serializable: true}
	r.MaxBytes = wire.MaxAnswerBytes
	// A part of the range is an answer if it can go on behind that, which what is sorted cannot.
	most := math.MaxInt32
	if r.Sort == kv.SortNone && op.Range.Target == 0 {
		most = maxItems
	}
	if r.Limit == 0 || r.Limit > most {
		r.Limit = most
	}
	if len(op.Key) == 0 && len(op.End) == 0 {
		return kv.ErrEmptyKey
	}
	result, err := store.Range(ctx, r)
	if err != nil {
		return err
	}
	out.Revision, out.Ops = result.Revision, []wire.OpResult{{Range: rangeResult(&result)}}
	return nil
}

// Compact is that of wire.Service.
func (s *service) Compact(ctx context.Context, r *wire.CompactRequest) (*wire.Reply, error) {
	return s.compact(ctx, r, false)
}

// Scrub is that of wire.Service.
func (s *service) Scrub(ctx context.Context, r *wire.CompactRequest) (*wire.Reply, error) {
	return s.compact(ctx, r, true)
}

func (s *service) compact(ctx context.Context, r *wire.CompactRequest, scrub bool) (*wire.Reply, error) {
	store, err := s.opened()
	if err != nil {
		reply := replyOf(0, err)
		return &reply, nil
	}
	var revision uint64
	if scrub {
		if err = store.Barrier(ctx); err == nil { // the compaction may not have come here yet
			err = store.Scrub(ctx, r.Revision)
		}
	} else {
		ctx, cancel := bounded(ctx)
		defer cancel()
		revision, err = store.Compact(ctx, backend.CompactRequest{Revision: r.Revision})
	}
	reply := replyOf(revision, err)
	return &reply, nil
}
