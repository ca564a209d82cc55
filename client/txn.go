package client

import (
	"context"

	"github.com/raftkv/raftkv/client/wire"
)

// Cond is a condition of a transaction.
type Cond struct{ compare wire.Compare }

// The relations and targets have package kv's values.
const (
	relationEqual    = 1
	relationNotEqual = 2
	relationLess     = 3
	relationGreater  = 4

	targetVersion = 1
	targetCreate  = 2
	targetMod     = 3
	targetValue   = 4
	targetLease   = 5
)

func compare(keys Keys, target uint8, number uint64, value []byte) Compared {
	return Compared{wire.Compare{Key: []byte(keys.start), End: []byte(keys.end), Target: target, Number: number, Value: value}}
}

// Compared is one side of a condition; Is, IsNot, Below and Above make the condition.
type Compared struct{ compare wire.Compare }

// Value compares the values of keys. A key that does not exist has no value: every comparison of it fails. Over a range the condition must
// hold for every key that exists in it; if none does, it is taken of a key that does not exist.
func Value(keys Keys, value []byte) Compared { return compare(keys, targetValue, 0, value) }

// ModRevision compares the revision of the last write of keys; zero stands for a key that does not exist.
func ModRevision(keys Keys, revision uint64) Compared { return compare(keys, targetMod, revision, nil) }

// CreateRevision compares the revision at which keys were created; zero stands for a key that does not exist.
func CreateRevision(keys Keys, revision uint64) Compared {
	return compare(keys, targetCreate, revision, nil)
}

// Version compares the number of writes since keys were created; zero stands for a key that does not exist.
func Version(keys Keys, version uint64) Compared { return compare(keys, targetVersion, version, nil) }

// LeaseOf compares the lease that keys are attached to; zero stands for none.
func LeaseOf(keys Keys, id LeaseID) Compared { return compare(keys, targetLease, uint64(id), nil) }

func (c Compared) relation(r uint8) Cond {
	c.compare.Relation = r
	return Cond(c)
}

// Is holds if the key's is equal to the given.
func (c Compared) Is() Cond { return c.relation(relationEqual) }

// IsNot holds if the key's differs from the given.
func (c Compared) IsNot() Cond { return c.relation(relationNotEqual) }

// Below holds if the key's is less than the given.
func (c Compared) Below() Cond { return c.relation(relationLess) }

// Above holds if the key's is greater than the given.
func (c Compared) Above() Cond { return c.relation(relationGreater) }

// Missing holds if the key does not exist; of a range, if no key of it does.
func Missing(keys Keys) Cond { return CreateRevision(keys, 0).Is() }

// Exists holds if the key exists.
func Exists(key string) Cond { return CreateRevision(Key(key), 0).Above() }

// Op is one operation of a transaction.
type Op struct{ op wire.Op }

// OpPut writes a key.
func OpPut(key string, value []byte, options ...PutOption) Op {
	op := wire.Op{Kind: wire.OpPut, Key: []byte(key), Value: value}
	for _, o := range options {
		o.forPut(&op)
	}
	return Op{op}
}

// OpDelete deletes keys.
func OpDelete(keys Keys, options ...DeleteOption) Op {
	op := wire.Op{Kind: wire.OpDelete, Key: []byte(keys.start), End: []byte(keys.end)}
	for _, o := range options {
		o.forDelete(&op)
	}
	return Op{op}
}

// OpRange reads keys, as the transaction sees them: after the operations before it. WithSerializable means nothing here.
func OpRange(keys Keys, options ...ReadOption) Op {
	var s readSettings
	for _, o := range options {
		o.forRead(&s)
	}
	return Op{wire.Op{Kind: wire.OpRange, Key: []byte(keys.start), End: []byte(keys.end), Range: s.Range}}
}

// OpGet reads one key.
func OpGet(key string, options ...ReadOption) Op { return OpRange(Key(key), options...) }

// OpTxn is a transaction within another. Its conditions are decided before anything of the whole is written.
func OpTxn(conditions []Cond, then, otherwise []Op) Op {
	t := wireTxn(conditions, then, otherwise)
	return Op{wire.Op{Kind: wire.OpTxn, Txn: &t}}
}

func wireTxn(conditions []Cond, then, otherwise []Op) wire.Txn {
	t := wire.Txn{Compares: make([]wire.Compare, len(conditions)), Success: wireOps(then), Failure: wireOps(otherwise)}
	for i, c := range conditions {
		t.Compares[i] = c.compare
	}
	return t
}

func wireOps(ops []Op) []wire.Op {
	out := make([]wire.Op, len(ops))
	for i := range ops {
		out[i] = ops[i].op
	}
	return out
}

// Txn is a transaction that is being put together. It is not safe for concurrent use.
type Txn struct {
	client          *Client
	conditions      []Cond
	then, otherwise []Op
	serializable    bool
}

// Txn begins a transaction:
//
//	result, err := c.Txn().
//		If(client.Missing(client.Key("lock"))).
//		Then(client.OpPut("lock", me)).
//		Else(client.OpGet("lock")).
//		Commit(ctx)
func (c *Client) Txn() *Txn { return &Txn{client: c} }

// If adds conditions, all of which must hold for Then to run.
func (t *Txn) If(conditions ...Cond) *Txn {
	t.conditions = append(t.conditions, conditions...)
	return t
}

// Then adds operations that run if all conditions hold.
func (t *Txn) Then(ops ...Op) *Txn {
	t.then = append(t.then, ops...)
	return t
}

// Else adds operations that run if a condition does not hold.
func (t *Txn) Else(ops ...Op) *Txn {
	t.otherwise = append(t.otherwise, ops...)
	return t
}

// Serializable reads from the state of any one member, which may be behind that of others. It matters only if neither branch writes.
func (t *Txn) Serializable() *Txn {
	t.serializable = true
	return t
}

// Commit carries the transaction out, as one change of one revision, and at most once. Errors: ErrEmptyKey, ErrDuplicateKey,
// ErrKeyNotFound, ErrLeaseNotFound, ErrTooLarge, ErrNoSpace, ErrInvalid, ErrUnavailable, ErrUnknown, ErrResultLost; reads in it give
// ErrCompacted and ErrFutureRevision.
func (t *Txn) Commit(ctx context.Context) (TxnResult, error) {
	return t.client.commit(ctx, t)
}
