package kv

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
)

// state is what one applied index looks like. It is never changed once it is published; its overlays are added to, but
// only with revisions that are later than it.
type state struct {
	logical
	sessions uint64 // the digest of the table of sessions
	leases   uint64 // the digest of the table of leases
	active   layer
	frozen   *layer // being flushed; nil when nothing is
	store    store.Store
	// origin is the store that the state was loaded from: a defragmentation copies what it has, perhaps damage too, a snapshot
	// brings another.
	origin store.Store
}

// logical is the part of the state that is the same on every member and is stored as one record.
type logical struct {
	meta      raft.SnapshotMeta
	revision  uint64
	compacted uint64
	// running is a checksum of all that was applied since the cluster version allowed it, or since more goes into it.
	running uint64
	alarms  []Alarm // in the order of member and type; never changed, only replaced
}

// The keys of the meta bucket.
var (
	metaMagic   = []byte("magic")
	metaFormat  = []byte("format")
	metaCluster = []byte("cluster")
	metaState   = []byte("state")
	metaScrub   = []byte("scrub")
)

const (
	storeMagic = "raftkv state machine"
	// storeFormat is the latest that this build reads. Format 2 adds leases, alarms and the running checksum; it is written once the
	// cluster version is leaseVersion.
	storeFormat      = 2
	firstStoreFormat = 1
)

// leaseVersion is the cluster version from which on there are leases, alarms, a running checksum and commands of format 2.
const leaseVersion = 2

// CompareVersion is the cluster version from which on the running checksum covers what members are compared by (RunningHash).
const CompareVersion = 3

// format is that in which a store or snapshot with this state is written.
func (l *logical) format() uint32 {
	if l.meta.ClusterVersion >= leaseVersion {
		return storeFormat
	}
	return firstStoreFormat
}

// encode returns the record: index, term, cluster version and membership as raft writes them, length first; revision;
// compacted; from format 2 on the running checksum and the alarms, their number first, each with member and type; checksum.
func (l *logical) encode() ([]byte, error) {
	meta, err := l.meta.AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("encode the applied state: %w", err)
	}
	b := appendBytes(nil, meta)
	b = binary.AppendUvarint(b, l.revision)
	b = binary.AppendUvarint(b, l.compacted)
	if l.format() > firstStoreFormat {
		b = binary.AppendUvarint(b, l.running)
		b = binary.AppendUvarint(b, uint64(len(l.alarms)))
		for _, a := range l.alarms {
			b = binary.AppendUvarint(b, uint64(a.Member))
			b = append(b, byte(a.Type))
		}
	}
	return seal(metaState, b), nil
}

func decodeLogical(data []byte) (logical, error) {
	var l logical
	body, ok := unseal(metaState, data)
	if !ok {
		return l, &CorruptError{What: "record of the applied state", Reason: "the checksum does not match"}
	}
	d := decoder{data: body}
	meta := d.bytes()
	l.revision, l.compacted = d.uvarint(), d.uvarint()
	if len(d.data) > 0 {
		l.running = d.uvarint()
		for n := d.uvarint(); n > 0 && !d.failed; n-- {
			l.alarms = append(l.alarms, Alarm{Member: raft.NodeID(d.uvarint()), Type: AlarmType(d.byte())})
		}
	}
	if d.failed || len(d.data) != 0 {
		return l, &CorruptError{What: "record of the applied state", Reason: "the record cannot be decoded"}
	}
	if err := l.meta.UnmarshalBinary(meta); err != nil {
		return l, &CorruptError{What: "record of the applied state", Reason: err.Error()}
	}
	return l, nil
}

// scrub is how far the versions that compaction gave up are removed. It is this member's own affair.
type scrub struct {
	// done is the compacted revision up to which all is removed.
	done uint64
	// mod and sub are the place of the next record to look at.
	mod uint64
	sub uint32
}

func (s scrub) encode() []byte {
	b := binary.AppendUvarint(nil, s.done)
	b = binary.AppendUvarint(b, s.mod)
	return seal(metaScrub, binary.AppendUvarint(b, uint64(s.sub)))
}

func decodeScrub(data []byte) (scrub, error) {
	var s scrub
	if data == nil {
		return s, nil
	}
	body, ok := unseal(metaScrub, data)
	d := decoder{data: body}
	s.done, s.mod, s.sub = d.uvarint(), d.uvarint(), uint32(d.uvarint())
	if !ok || d.failed || len(d.data) != 0 {
		return scrub{}, &CorruptError{What: "record of the compaction's progress", Reason: "the checksum does not match"}
	}
	return s, nil
}

// header is what the meta bucket tells about the store as a whole.
type header struct {
	cluster raft.ClusterID
	logical logical
	scrub   scrub
}

// readHeader reads the meta bucket; a store that was never written to has none.
func readHeader(v store.View) (h header, fresh bool, err error) {
	magic := v.Get(bucketMeta, metaMagic)
	if magic == nil {
		h.logical.revision = FirstRevision
		return h, true, nil
	}
	if string(magic) != storeMagic {
		return h, false, fmt.Errorf("not a store of this program: its magic is %q, not %q", magic, storeMagic)
	}
	format, cluster := v.Get(bucketMeta, metaFormat), v.Get(bucketMeta, metaCluster)
	if len(format) != 4 || len(cluster) != 8 {
		return h, false, &CorruptError{What: "header", Reason: "the format or the cluster ID is missing"}
	}
	if f := binary.BigEndian.Uint32(format); f < firstStoreFormat || f > storeFormat {
		return h, false, fmt.Errorf("the store has format %d, this build reads formats %d to %d: use a build that reads format %d", f, firstStoreFormat, storeFormat, f)
	}
	h.cluster = raft.ClusterID(binary.BigEndian.Uint64(cluster))
	if h.logical, err = decodeLogical(v.Get(bucketMeta, metaState)); err != nil {
		return h, false, err
	}
	h.scrub, err = decodeScrub(v.Get(bucketMeta, metaScrub))
	return h, false, err
}

// rereadHeader reads the header of a store that is open. What would have kept it from being opened is damage by now.
func rereadHeader(v store.View) (header, error) {
	h, _, err := readHeader(v)
	var corrupt *CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		err = &CorruptError{What: "header", Reason: err.Error()}
	}
	return h, err
}

// put adds the whole header to a batch.
func (h *header) put(b *store.Batch) error {
	b.Put(bucketMeta, metaMagic, []byte(storeMagic))
	b.Put(bucketMeta, metaFormat, binary.BigEndian.AppendUint32(nil, h.logical.format()))
	b.Put(bucketMeta, metaCluster, binary.BigEndian.AppendUint64(nil, uint64(h.cluster)))
	b.Put(bucketMeta, metaScrub, h.scrub.encode())
	state, err := h.logical.encode()
	if err != nil {
		return err
	}
	b.Put(bucketMeta, metaState, state)
	return nil
}

// ClusterError says that a store or snapshot belongs to another cluster.
type ClusterError struct {
	What      string
	Got, Want raft.ClusterID
}

func (e *ClusterError) Error() string {
	return fmt.Sprintf("%s belongs to cluster %s, this node to cluster %s: point the node at its own data directory",
		e.What, e.Got, e.Want)
}
