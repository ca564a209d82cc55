package kv

import (
	"fmt"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// Default limits of the front ends.
const (
	DefaultMaxKeyBytes   = 4 << 10
	DefaultMaxValueBytes = 1 << 20
	DefaultMaxTxnOps     = 128
)

// MaxKeyBytes, MaxCommandOps and MaxTxnDepth are bounds of the format, far above the limits of the front ends: a command
// that is past them is malformed.
const (
	MaxKeyBytes   = 15 << 10
	MaxCommandOps = 4096 // compares and operations together, nested ones included
	MaxTxnDepth   = 8
)

// MaxTxnReadBytes bounds what the ranges and previous values of one transaction return together; what is
// beyond it is left out and RangeResult.More or OpResult.PrevTruncated is set.
const MaxTxnReadBytes = 64 << 20

// CommandKind tells commands apart. The values are part of the format.
type CommandKind uint8

// The kinds of commands.
const (
	CommandTxn         CommandKind = 1
	CommandOpenSession CommandKind = 2
	CommandCompact     CommandKind = 3
	// These came with format 2.
	CommandLeaseGrant  CommandKind = 4
	CommandLeaseRevoke CommandKind = 5
	CommandLeaseRenew  CommandKind = 6
	CommandLeaseExpire CommandKind = 7
	CommandAlarm       CommandKind = 8
)

// Command is what an entry asks the state machine to do. Make one with Put, Delete and so on.
type Command struct {
	Kind CommandKind
	// Txn is set for CommandTxn.
	Txn *Txn
	// Incarnation and Nonce are the origin of CommandOpenSession.
	Incarnation raft.Incarnation
	Nonce       uint64
	// Revision is that of CommandCompact.
	Revision uint64
	// Leases are those of the commands about leases: one to be granted or revoked, at most MaxRenewals to be renewed or to expire.
	Leases []Lease
	// Alarm is raised, or lowered if Lower is set, by CommandAlarm.
	Alarm Alarm
	Lower bool

	// format is that in which the command was read.
	format byte
}

// Txn runs Success if all compares hold and Failure if not, as one change of one revision.
type Txn struct {
	Compares []Compare
	Success  []Op
	Failure  []Op
}

// CompareTarget is what of a key is compared. The values are part of the format.
type CompareTarget uint8

// The targets. A key that does not exist has zero for all numbers, and no value: a comparison of its value fails.
const (
	TargetVersion CompareTarget = 1
	TargetCreate  CompareTarget = 2
	TargetMod     CompareTarget = 3
	TargetValue   CompareTarget = 4
	TargetLease   CompareTarget = 5
)

// Relation is how the key's target must relate to the given one. The values are part of the format.
type Relation uint8

// The relations.
const (
	Equal    Relation = 1
	NotEqual Relation = 2
	Less     Relation = 3
	Greater  Relation = 4
)

// Compare is one condition. Over a range it must hold for every key that exists in it; if none does, it is
// taken of a key that does not exist.
type Compare struct {
	Keys     KeyRange
	Target   CompareTarget
	Relation Relation
	// Number is compared with all targets but TargetValue; a lease as its two's complement.
	Number uint64
	// Value is compared with TargetValue.
	Value []byte
}

// OpKind tells operations apart. The values are part of the format.
type OpKind uint8

// The kinds of operations.
const (
	OpPut    OpKind = 1
	OpDelete OpKind = 2
	OpRange  OpKind = 3
	OpTxn    OpKind = 4
)

// Op is one operation of a transaction. Operations see what earlier ones of the same transaction wrote.
type Op struct {
	Kind OpKind
	// Keys of OpDelete and OpRange; OpPut writes Keys.Start.
	Keys  KeyRange
	Value []byte // of OpPut
	// Lease of OpPut is the lease that the key is attached to, zero for none.
	Lease LeaseID
	// IgnoreValue and IgnoreLease of OpPut keep what the key has; it must exist then.
	IgnoreValue, IgnoreLease bool
	// PrevKV asks OpPut and OpDelete for the versions that they replace.
	PrevKV bool
	// Range holds the settings of OpRange; its Keys are unused.
	Range RangeRequest
	// Txn is set for OpTxn.
	Txn *Txn
}

// PutOp writes a key.
func PutOp(key, value []byte) Op { return Op{Kind: OpPut, Keys: One(key), Value: value} }

// DeleteOp deletes the keys of a range.
func DeleteOp(keys KeyRange) Op { return Op{Kind: OpDelete, Keys: keys} }

// RangeOp reads a range.
func RangeOp(r RangeRequest) Op { return Op{Kind: OpRange, Keys: r.Keys, Range: r} }

// Put writes a key.
func Put(key, value []byte) Command {
	return Transaction(Txn{Success: []Op{PutOp(key, value)}})
}

// Delete deletes a key, if it exists.
func Delete(key []byte) Command { return DeleteRange(One(key)) }

// DeleteRange deletes the keys of a range.
func DeleteRange(keys KeyRange) Command {
	return Transaction(Txn{Success: []Op{DeleteOp(keys)}})
}

// CompareAndPut writes a key if its mod revision is modRevision; zero means that it must not exist.
func CompareAndPut(key []byte, modRevision uint64, value []byte) Command {
	return compareAnd(key, modRevision, PutOp(key, value))
}

// CompareAndDelete deletes a key if its mod revision is modRevision.
func CompareAndDelete(key []byte, modRevision uint64) Command {
	return compareAnd(key, modRevision, DeleteOp(One(key)))
}

// compareAnd fails with a keys-only read of the key, from which Result.Current is filled.
func compareAnd(key []byte, modRevision uint64, op Op) Command {
	return Transaction(Txn{
		Compares: []Compare{{Keys: One(key), Target: TargetMod, Relation: Equal, Number: modRevision}},
		Success:  []Op{op},
		Failure:  []Op{RangeOp(RangeRequest{Keys: One(key), KeysOnly: true})},
	})
}

// Transaction runs a general transaction.
func Transaction(t Txn) Command { return Command{Kind: CommandTxn, Txn: &t} }

// OpenSession opens a session for the process that drew nonce in the data directory incarnation. Opening twice
// from the same origin with a nonce that is not zero returns the same session.
func OpenSession(incarnation raft.Incarnation, nonce uint64) Command {
	return Command{Kind: CommandOpenSession, Incarnation: incarnation, Nonce: nonce}
}

// Compact gives up the history before revision: reads at revision and later remain possible.
func Compact(revision uint64) Command { return Command{Kind: CommandCompact, Revision: revision} }

// GrantLease makes a lease. The ID is chosen by whoever asks, and not zero; TTL is in seconds.
func GrantLease(id LeaseID, ttl int64) Command {
	return Command{Kind: CommandLeaseGrant, Leases: []Lease{{ID: id, TTL: ttl}}}
}

// RevokeLease deletes a lease and its keys.
func RevokeLease(id LeaseID) Command {
	return Command{Kind: CommandLeaseRevoke, Leases: []Lease{{ID: id}}}
}

// RenewLeases begins the time of leases anew; those that do not exist are passed over.
func RenewLeases(ids []LeaseID) Command {
	c := Command{Kind: CommandLeaseRenew, Leases: make([]Lease, len(ids))}
	for i, id := range ids {
		c.Leases[i].ID = id
	}
	return c
}

// ExpireLeases revokes leases whose time is over, those of them that were not renewed since Renewed.
func ExpireLeases(leases []Lease) Command { return Command{Kind: CommandLeaseExpire, Leases: leases} }

// RaiseAlarm makes an alarm known to the cluster.
func RaiseAlarm(a Alarm) Command { return Command{Kind: CommandAlarm, Alarm: a} }

// LowerAlarm takes an alarm back.
func LowerAlarm(a Alarm) Command { return Command{Kind: CommandAlarm, Alarm: a, Lower: true} }

// WithPrevKV returns the command with the previous versions asked for in every write at its top level.
func (c Command) WithPrevKV() Command {
	if c.Kind != CommandTxn {
		return c
	}
	t := *c.Txn
	t.Success, t.Failure = withPrevKV(t.Success), withPrevKV(t.Failure)
	c.Txn = &t
	return c
}

func withPrevKV(ops []Op) []Op {
	out := append([]Op(nil), ops...)
	for i := range out {
		if out[i].Kind == OpPut || out[i].Kind == OpDelete {
			out[i].PrevKV = true
		}
	}
	return out
}

// Limits are what a front end lets pass.
type Limits struct {
	MaxKeyBytes, MaxValueBytes, MaxTxnOps int
	// MaxRequestBytes bounds a whole command, as it is encoded; zero means no bound.
	MaxRequestBytes int
}

// DefaultLimits returns the Default* constants.
func DefaultLimits() Limits {
	return Limits{MaxKeyBytes: DefaultMaxKeyBytes, MaxValueBytes: DefaultMaxValueBytes, MaxTxnOps: DefaultMaxTxnOps}
}

// CheckLimits returns ErrEmptyKey, ErrDuplicateKey, ErrMalformed or a *TooLargeError for a command that a front end must not propose.
func (c Command) CheckLimits(l Limits) error {
	if c.Kind != CommandTxn {
		return nil
	}
	if err := c.Txn.checkLimits(l, MaxTxnDepth); err != nil {
		return err
	}
	if n := c.Txn.countOps(); n > MaxCommandOps {
		return &TooLargeError{What: "the transaction", Unit: "operations and compares", Size: n, Most: MaxCommandOps}
	}
	return c.Txn.checkWrites()
}

// CheckSize returns a *TooLargeError for an encoded command that is too large.
func (l Limits) CheckSize(encoded []byte) error {
	if l.MaxRequestBytes > 0 && len(encoded) > l.MaxRequestBytes {
		return &TooLargeError{What: "the request", Unit: "bytes", Size: len(encoded), Most: l.MaxRequestBytes}
	}
	return nil
}

func (t *Txn) checkLimits(l Limits, depth int) error {
	if depth == 0 {
		return ErrMalformed
	}
	for _, n := range []int{len(t.Compares), len(t.Success), len(t.Failure)} {
		if n > l.MaxTxnOps {
			return &TooLargeError{What: "the transaction", Unit: "operations in one list", Size: n, Most: l.MaxTxnOps}
		}
	}
	for i := range t.Compares {
		c := &t.Compares[i]
		if err := checkSizes(l, c.Keys, c.Value); err != nil {
			return err
		}
	}
	for _, ops := range [][]Op{t.Success, t.Failure} {
		for i := range ops {
			op := &ops[i]
			if op.Kind == OpTxn {
				if err := op.Txn.checkLimits(l, depth-1); err != nil {
					return err
				}
				continue
			}
			if op.Kind != OpRange && op.Keys.single() && len(op.Keys.Start) == 0 {
				return ErrEmptyKey
			}
			if op.Kind == OpPut && (op.IgnoreValue && len(op.Value) > 0 || op.IgnoreLease && op.Lease != 0) {
				return fmt.Errorf("%w: a put gives what it asks to ignore", ErrMalformed)
			}
			if err := checkSizes(l, op.Keys, op.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// countOps counts compares and operations, nested ones included, as the format does.
func (t *Txn) countOps() int {
	n := len(t.Compares) + len(t.Success) + len(t.Failure)
	for _, ops := range [][]Op{t.Success, t.Failure} {
		for i := range ops {
			if ops[i].Kind == OpTxn {
				n += ops[i].Txn.countOps()
			}
		}
	}
	return n
}

func checkSizes(l Limits, keys KeyRange, value []byte) error {
	switch {
	case len(keys.Start) > l.MaxKeyBytes:
		return &TooLargeError{What: "the key", Unit: "bytes", Size: len(keys.Start), Most: l.MaxKeyBytes}
	case len(keys.End) > l.MaxKeyBytes+1:
		return &TooLargeError{What: "the end of the range", Unit: "bytes", Size: len(keys.End), Most: l.MaxKeyBytes + 1}
	case len(value) > l.MaxValueBytes:
		return &TooLargeError{What: "the value", Unit: "bytes", Size: len(value), Most: l.MaxValueBytes}
	}
	return nil
}

// AppendProposal appends the data of an entry: the session header and the command.
func AppendProposal(b []byte, h session.Header, c Command) ([]byte, error) {
	b, err := h.AppendBinary(b)
	if err != nil {
		return b, err
	}
	return c.AppendBinary(b)
}
