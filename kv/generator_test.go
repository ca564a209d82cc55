package kv

import (
	"math/rand/v2"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// generator draws commands over a small alphabet of keys that is awkward to order.
type generator struct {
	*rand.Rand
	model *model
}

func (g *generator) key() []byte {
	alphabet := []byte{0, 1, 'a', 'b', 0xff}
	k := make([]byte, 1+g.IntN(3))
	for i := range k {
		k[i] = alphabet[g.IntN(len(alphabet))]
	}
	return k
}

func (g *generator) keys() KeyRange {
	switch g.IntN(5) {
	case 0:
		return One(g.key())
	case 1:
		return Prefix(g.key()[:1])
	case 2:
		return All()
	}
	return Span(g.key(), g.key())
}

// pastRevision is usually one that can be read, sometimes one that cannot.
func (g *generator) pastRevision() uint64 {
	switch g.IntN(8) {
	case 0:
		return 0
	case 1:
		return g.Uint64N(g.model.revision + 3)
	}
	return g.model.compacted + g.Uint64N(g.model.revision-g.model.compacted+1)
}

func (g *generator) rangeRequest() RangeRequest {
	r := RangeRequest{Keys: g.keys(), Revision: g.pastRevision()}
	if g.IntN(2) == 0 {
		r.Limit = g.IntN(6)
	}
	r.KeysOnly, r.CountOnly, r.WithCount = g.IntN(4) == 0, g.IntN(8) == 0, g.IntN(4) == 0
	if g.IntN(3) == 0 {
		r.Sort, r.Target = SortOrder(g.IntN(3)), SortTarget(g.IntN(5))
	}
	if g.IntN(6) == 0 {
		*r.bounds()[g.IntN(4)] = g.Uint64N(g.model.revision + 1)
	}
	return r
}

func (g *generator) value() []byte {
	v := make([]byte, g.IntN(40))
	for i := range v {
		v[i] = byte(g.IntN(4))
	}
	return v
}

func (g *generator) op(depth int) Op {
	switch n := g.IntN(10); {
	case n < 5:
		op := Op{Kind: OpPut, Keys: One(g.key()), Value: g.value(), PrevKV: g.IntN(2) == 0}
		if g.IntN(3) == 0 {
			op.Lease = g.lease()
		}
		if g.IntN(8) == 0 {
			op.IgnoreValue, op.Value = true, nil
		}
		if g.IntN(4) == 0 {
			op.IgnoreLease, op.Lease = true, 0
		}
		return op
	case n < 7:
		return Op{Kind: OpDelete, Keys: g.keys(), PrevKV: g.IntN(2) == 0}
	case n < 9 || depth == 0:
		return RangeOp(g.rangeRequest())
	}
	t := g.txn(depth - 1)
	return Op{Kind: OpTxn, Txn: &t}
}

func (g *generator) txn(depth int) Txn {
	var t Txn
	for range g.IntN(3) {
		c := Compare{Keys: g.keys(), Target: CompareTarget(1 + g.IntN(5)), Relation: Relation(1 + g.IntN(4)), Number: g.pastRevision()}
		if g.IntN(2) == 0 {
			c.Keys, c.Number = One(g.key()), uint64(g.IntN(3))
		}
		if c.Target == TargetValue {
			c.Value = g.value()
		}
		t.Compares = append(t.Compares, c)
	}
	for range g.IntN(4) {
		t.Success = append(t.Success, g.op(depth))
	}
	for range g.IntN(3) {
		t.Failure = append(t.Failure, g.op(depth))
	}
	return t
}

// readTxn is a transaction without writes.
func (g *generator) readTxn(depth int) Txn {
	t := g.txn(depth)
	t.readsOnly(g)
	return t
}

func (t *Txn) readsOnly(g *generator) {
	for _, ops := range [][]Op{t.Success, t.Failure} {
		for i := range ops {
			switch op := &ops[i]; op.Kind {
			case OpPut, OpDelete:
				*op = RangeOp(g.rangeRequest())
			case OpTxn:
				op.Txn.readsOnly(g)
			}
		}
	}
}

// lease is the ID of one that exists, mostly.
func (g *generator) lease() LeaseID { return LeaseID(g.IntN(4)) }

func (g *generator) leaseCommand() Command {
	switch n := g.IntN(10); {
	case n < 5:
		return GrantLease(g.lease(), int64(g.IntN(5)))
	case n < 6:
		return RevokeLease(g.lease())
	case n < 8:
		return RenewLeases([]LeaseID{g.lease(), g.lease()})
	}
	var expired []Lease
	for id := range LeaseID(4) {
		if l, ok := g.model.leases[id]; ok && g.IntN(2) == 0 {
			l.Renewed -= uint64(g.IntN(2))
			expired = append(expired, l)
		}
	}
	return ExpireLeases(expired)
}

func (g *generator) command() Command {
	switch n := g.IntN(26); {
	case n >= 21:
		return g.leaseCommand()
	case n == 20:
		a := Alarm{Member: raft.NodeID(1 + g.IntN(2)), Type: AlarmType(1 + g.IntN(2))}
		if g.IntN(3) == 0 {
			return RaiseAlarm(a)
		}
		return LowerAlarm(a)
	case n == 19 && g.IntN(2) == 0:
		return Transaction(Txn{Success: []Op{{Kind: OpPut, Keys: One(g.key()), Value: g.value(), Lease: g.lease()}}})
	case n < 9:
		return Put(g.key(), g.value())
	case n < 11:
		return Delete(g.key())
	case n < 12:
		return DeleteRange(g.keys())
	case n < 14:
		key := g.key()
		var mod uint64
		if v := g.model.at(string(key), g.model.revision); v != nil && g.IntN(3) > 0 {
			mod = v.mod
		}
		if g.IntN(2) == 0 {
			return CompareAndDelete(key, mod)
		}
		return CompareAndPut(key, mod, g.value())
	case n < 18:
		return Transaction(g.txn(2))
	case n < 19:
		return OpenSession(raft.Incarnation(g.IntN(3)), uint64(g.IntN(4)))
	}
	return Compact(g.pastRevision())
}

// header draws one of an open session, or none, or one that makes little sense.
func (g *generator) header() session.Header {
	if g.IntN(2) == 0 {
		return session.Header{}
	}
	// One by one, so that a seed always makes the same choice.
	for id := range g.model.index + 1 {
		s, ok := g.model.sessions[id]
		if !ok || g.IntN(2) == 0 {
			continue
		}
		low := s.low + uint64(g.IntN(2))
		h := session.Header{Session: id, Low: low, Sequence: low + uint64(g.IntN(6)) - uint64(g.IntN(2))}
		if g.IntN(4) == 0 {
			h.Low = 1
		}
		return h
	}
	return session.Header{Session: uint64(g.IntN(50)), Sequence: 1, Low: 1}
}
