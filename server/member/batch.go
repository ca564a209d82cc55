package member

import (
	"context"
	"fmt"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/server/backend"
	"github.com/raftkv/raftkv/server/backend/local"
)

var _ local.Batcher = carrier{}

// ProposeAll is that of local.Batcher.
func (m carrier) ProposeAll(ctx context.Context, batch []backend.Write) {
	began := time.Now()
	proposed, places := m.encode(batch)
	m.replica.ReplicateAll(ctx, proposed)
	for i := range proposed {
		p, w := &proposed[i], &batch[places[i]]
		w.Result, w.Err = resultFrom(p.Result, p.Err)
	}
	took := time.Since(began)
	for i := range batch {
		m.options.Metrics.Proposed(resultOf(batch[i].Err), took)
	}
}

// encode makes proposals of the writes that may be proposed, and tells which are whose. Their data share one piece of memory: they are in the log, and
// leave it, at about the same time.
func (m carrier) encode(batch []backend.Write) (proposed []node.Proposed, places []int) {
	proposed, places = make([]node.Proposed, 0, len(batch)), make([]int, 0, len(batch))
	size := 0
	for i := range batch {
		size += sizeOf(&batch[i].Command) + headerRoomBytes
	}
	room := make([]byte, 0, size)
	for i := range batch {
		w := &batch[i]
		if w.Err != nil {
			continue
		}
		start := len(room)
		room, w.Err = m.appendWrite(room, w)
		if w.Err != nil {
			room = room[:start]
			continue
		}
		data := room[start:len(room):len(room)]
		proposed = append(proposed, node.Proposed{Session: w.Mark.Session, Sequence: w.Mark.Sequence, Data: data})
		places = append(places, i)
	}
	return proposed, places
}

// headerRoomBytes is what a session's header may take, or what surrounds an operation.
const headerRoomBytes = 30

// sizeOf is about what a command takes; of one that is nested, too little.
func sizeOf(c *kv.Command) int {
	size := 0
	if c.Txn == nil {
		return size
	}
	for i := range c.Txn.Compares {
		x := &c.Txn.Compares[i]
		size += len(x.Keys.Start) + len(x.Keys.End) + len(x.Value) + headerRoomBytes
	}
	for _, ops := range [][]kv.Op{c.Txn.Success, c.Txn.Failure} {
		for i := range ops {
			size += len(ops[i].Keys.Start) + len(ops[i].Keys.End) + len(ops[i].Value) + headerRoomBytes
		}
	}
	return size
}

func (m carrier) appendWrite(b []byte, w *backend.Write) ([]byte, error) {
	var err error
	if w.Mark != (session.Header{}) {
		if b, err = w.Mark.AppendBinary(b); err != nil {
			return b, err
		}
	}
	start := len(b)
	if b, err = w.Command.AppendBinary(b); err != nil {
		return b, err
	}
	return b, m.limits.CheckSize(b[start:])
}

func resultFrom(answer any, err error) (*kv.Result, error) {
	if err != nil {
		return nil, translate(err)
	}
	result, ok := answer.(*kv.Result)
	if !ok {
		return nil, fmt.Errorf("%w: the state jumped over the write by a snapshot", backend.ErrUnknown)
	}
	return result, nil
}

// Batches is Store with its service for front ends whose clients have sessions.
func (m *Member) Batches() *local.Store { return m.store }
