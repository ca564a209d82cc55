package client

import "github.com/raftkv/raftkv/client/wire"

// PutOption changes what a put does.
type PutOption interface{ forPut(*wire.Op) }

// DeleteOption changes what a deletion returns.
type DeleteOption interface{ forDelete(*wire.Op) }

// ReadOption changes what Get and Range read.
type ReadOption interface{ forRead(*readSettings) }

type readSettings struct {
	wire.Range
	serializable bool
}

type putOption func(*wire.Op)

func (f putOption) forPut(op *wire.Op) { f(op) }

type readOption func(*readSettings)

func (f readOption) forRead(s *readSettings) { f(s) }

// WithLease attaches the key to a lease: it is deleted when the lease ends.
func WithLease(id LeaseID) PutOption { return putOption(func(op *wire.Op) { op.Lease = id }) }

// WithIgnoreValue keeps the value that the key has; the value given must be empty, and the key must exist.
func WithIgnoreValue() PutOption { return putOption(func(op *wire.Op) { op.IgnoreValue = true }) }

// WithIgnoreLease keeps the lease that the key has; the key must exist.
func WithIgnoreLease() PutOption { return putOption(func(op *wire.Op) { op.IgnoreLease = true }) }

// PrevKVOption is what WithPrevKV returns: an option of puts, deletions and watches.
type PrevKVOption struct{}

// WithPrevKV asks for the version before each write.
func WithPrevKV() PrevKVOption { return PrevKVOption{} }

func (PrevKVOption) forPut(op *wire.Op)            { op.PrevKV = true }
func (PrevKVOption) forDelete(op *wire.Op)         { op.PrevKV = true }
func (PrevKVOption) forWatch(w *wire.WatchRequest) { w.PrevKV = true }

// RevisionOption is what WithRevision returns: an option of reads and watches.
type RevisionOption struct{ revision uint64 }

// WithRevision reads at an older revision, or watches from that revision on; zero means the latest, for a watch what is written from now on.
func WithRevision(revision uint64) RevisionOption { return RevisionOption{revision} }

func (o RevisionOption) forRead(s *readSettings)       { s.Revision = o.revision }
func (o RevisionOption) forWatch(w *wire.WatchRequest) { w.StartRevision = o.revision }

// WithSerializable answers at once from the state of any one member, which may be behind that of others. Such reads are spread over all
// members. Without it a read sees every write that was acknowledged, anywhere, before it was called.
func WithSerializable() ReadOption {
	return readOption(func(s *readSettings) { s.serializable = true })
}

// WithLimit bounds the number of items; zero means no limit.
func WithLimit(n int) ReadOption {
	return readOption(func(s *readSettings) { s.Limit = uint64(max(n, 0)) })
}

// WithKeysOnly leaves the values out.
func WithKeysOnly() ReadOption { return readOption(func(s *readSettings) { s.KeysOnly = true }) }

// WithCountOnly returns no items, only their number.
func WithCountOnly() ReadOption { return readOption(func(s *readSettings) { s.CountOnly = true }) }

// WithCount asks for the number of keys in the range beside the items.
func WithCount() ReadOption { return readOption(func(s *readSettings) { s.WithCount = true }) }

// Order is that of a range's items.
type Order uint8

// The orders.
const (
	Ascending  Order = 1
	Descending Order = 2
)

// SortBy is what a range's items are sorted by.
type SortBy uint8

// What items can be sorted by; equal ones are in the order of their keys.
const (
	SortByKey            SortBy = 0
	SortByVersion        SortBy = 1
	SortByCreateRevision SortBy = 2
	SortByModRevision    SortBy = 3
	SortByValue          SortBy = 4
)

// WithSort sorts the items; a limit counts after sorting. What is sorted must fit into one answer, a few megabytes.
func WithSort(by SortBy, order Order) ReadOption {
	return readOption(func(s *readSettings) { s.Sort, s.Target = uint8(order), uint8(by) })
}

// WithModRevisions leaves out items that were last written before revision least or after most; zero means no bound. It does not change
// RangeResult.Count.
func WithModRevisions(least, most uint64) ReadOption {
	return readOption(func(s *readSettings) { s.MinModRevision, s.MaxModRevision = least, most })
}

// WithCreateRevisions is WithModRevisions for the write that created the key.
func WithCreateRevisions(least, most uint64) ReadOption {
	return readOption(func(s *readSettings) { s.MinCreateRevision, s.MaxCreateRevision = least, most })
}

// WatchOption changes what a watch tells.
type WatchOption interface{ forWatch(*wire.WatchRequest) }

type watchOption func(*wire.WatchRequest)

func (f watchOption) forWatch(w *wire.WatchRequest) { f(w) }

// WithoutPuts leaves puts out.
func WithoutPuts() WatchOption { return watchOption(func(w *wire.WatchRequest) { w.NoPut = true }) }

// WithoutDeletes leaves deletions out.
func WithoutDeletes() WatchOption {
	return watchOption(func(w *wire.WatchRequest) { w.NoDelete = true })
}

// WithProgress asks for batches without events, which tell only how far the watch has come, when there was none for a while.
func WithProgress() WatchOption {
	return watchOption(func(w *wire.WatchRequest) { w.ProgressNotify = true })
}
