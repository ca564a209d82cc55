package wire

// KeyValue is one version of one key. Its slices must not be changed: they may share memory with others of the same answer.
type KeyValue struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
	// CreateRevision is the revision of the write that created the key, ModRevision that of the write that made this version.
	CreateRevision uint64 `json:"createRevision"`
	ModRevision    uint64 `json:"modRevision"`
	// Version counts the writes since the key was created, from 1.
	Version uint64 `json:"version"`
	// Lease is the lease that the key is deleted with, zero for none.
	Lease int64 `json:"lease,omitempty"`
}

// EventType says what happened to a key.
type EventType uint8

// The types of events. The values are part of the format.
const (
	EventPut    EventType = 0
	EventDelete EventType = 1
)

// Event is one write. Of a deletion, KV holds the key and, as ModRevision, the revision of the deletion.
type Event struct {
	Type EventType `json:"type"`
	KV   KeyValue  `json:"kv"`
	// Prev is the version that was replaced or deleted: nil if there was none, if it was not asked for, or if it has been compacted away.
	Prev *KeyValue `json:"prev,omitempty"`
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

// Op is one operation. An empty End means the single key Key, End {0} everything from Key on, any other End is the first key behind the range.
type Op struct {
	Kind     OpKind
	Key, End []byte
	// Value, Lease and the two Ignores are those of a put.
	Value                    []byte
	Lease                    int64
	IgnoreValue, IgnoreLease bool
	// PrevKV asks a put or a deletion for what it replaces.
	PrevKV bool
	// Range holds the settings of a range.
	Range Range
	// Txn is set for OpTxn.
	Txn *Txn
}

// Range says what to read of the keys.
type Range struct {
	Revision uint64
	Limit    uint64
	// KeysOnly leaves the values out, CountOnly returns no items, WithCount counts beside the items.
	KeysOnly, CountOnly, WithCount bool
	// Sort and Target have the values of package kv, as have the bounds of revisions.
	Sort, Target                         uint8
	MinModRevision, MaxModRevision       uint64
	MinCreateRevision, MaxCreateRevision uint64
}

// selects tells whether anything beyond revision, limit and the three flags is set.
func (r *Range) selects() bool {
	return r.Sort != 0 || r.Target != 0 || r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision != 0
}

// Txn runs Success if all compares hold, and Failure if not.
type Txn struct {
	Compares         []Compare
	Success, Failure []Op
}

// Writes tells whether either branch holds a write.
func (t *Txn) Writes() bool {
	for _, ops := range [][]Op{t.Success, t.Failure} {
		for i := range ops {
			switch ops[i].Kind {
			case OpPut, OpDelete:
				return true
			case OpTxn:
				if ops[i].Txn.Writes() {
					return true
				}
			}
		}
	}
	return false
}

// Compare is one condition. Target and Relation have the values of package kv.
type Compare struct {
	Key, End []byte
	Target   uint8
	Relation uint8
	// Number is compared with all targets but the value; a lease as its two's complement.
	Number uint64
	Value  []byte
}

// Result is what became of one operation of a batch.
type Result struct {
	// Status is OK, or says why the operation was refused, with Message in words.
	Status  Status
	Message string
	// Revision is that of the store right after it.
	Revision uint64
	// Succeeded tells whether a transaction's compares held.
	Succeeded bool
	// Repeated says that this is the remembered answer of an earlier attempt, of which Ops is not kept.
	Repeated bool
	// Deleted is the number of keys that were deleted.
	Deleted uint64
	// Ops holds one result for each operation of the branch that ran, as far as they have any; of a put, deletion or range that is no
	// transaction, one.
	Ops []OpResult
}

// OpResult is what one operation of a transaction did.
type OpResult struct {
	Deleted uint64
	// Prev holds what was replaced or deleted, if that was asked for. PrevTruncated says that there was more than fits.
	Prev          []KeyValue
	PrevTruncated bool
	Range         *RangeResult
	Txn           *TxnResult
}

// RangeResult is what a range holds.
type RangeResult struct {
	Items []KeyValue
	// More says that the range holds keys behind the last item.
	More  bool
	Count uint64
}

// TxnResult is what a nested transaction did.
type TxnResult struct {
	Succeeded bool
	Ops       []OpResult
}
