package wire

import (
	"bytes"
	"encoding/binary"
)

// WatchRequest makes a watch on the connection's stream of watches.
type WatchRequest struct {
	// ID names the watch on this connection; the client chooses it, and each only once.
	ID            int64  `json:"id"`
	Key           []byte `json:"key"`
	End           []byte `json:"end,omitempty"`
	StartRevision uint64 `json:"startRevision,omitempty"`

	PrevKV         bool `json:"prevKV,omitempty"`
	NoPut          bool `json:"noPut,omitempty"`
	NoDelete       bool `json:"noDelete,omitempty"`
	ProgressNotify bool `json:"progressNotify,omitempty"`
}

// WatchCancel ends a watch; its last word is told by WatchNext.
type WatchCancel struct {
	ID int64 `json:"id"`
}

// WatchPull asks for what there is to tell of the connection's watches, and waits for it. One at a time is answered.
type WatchPull struct{}

// AppendBinary encodes nothing.
func (*WatchPull) AppendBinary(b []byte) ([]byte, error) { return b, nil }

// UnmarshalBinary decodes nothing.
func (*WatchPull) UnmarshalBinary(data []byte) error {
	if len(data) != 0 {
		return ErrMalformed
	}
	return nil
}

// MaxWatchBytes is about how much events are put into one answer; one event may be larger.
const MaxWatchBytes = 1 << 20

// WatchUpdates are what there is to tell, in order.
type WatchUpdates struct{ Updates []WatchUpdate }

// AllWatches is the ID in updates about the whole stream: each watch of it of which Created was told has had all that was written up to Revision. Clients that
// do not know it pass it over.
const AllWatches = -1

// WatchUpdate is one thing to tell of one watch, or of all.
type WatchUpdate struct {
	ID int64
	// Revision is that of the store. Without events, all that was written up to it, and that the watch is to see, was told before.
	Revision uint64
	// Created is set in a watch's first update, Canceled in its last: Status and Message say why.
	Created, Canceled bool
	// Fragment says that more events of the last one's revision follow.
	Fragment        bool
	Status          Status
	Message         string
	CompactRevision uint64
	Events          []Event
}

const watchVersion = 1

// WireVersion is that of the encoding.
func (*WatchUpdates) WireVersion() uint16 { return watchVersion }

const (
	updateCreated = 1 << iota
	updateCanceled
	updateFragment
)

// AppendBinary encodes the updates: ID, flags u8, revision, of a last one why, and the events, each as its type u8, whether there is a previous
// version u8, and those.
func (w *WatchUpdates) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(w.Updates)))
	for i := range w.Updates {
		b = appendUpdate(b, &w.Updates[i])
	}
	return b, nil
}

func appendUpdate(b []byte, u *WatchUpdate) []byte {
	b = binary.AppendVarint(b, u.ID)
	var flags byte
	if u.Created {
		flags |= updateCreated
	}
	if u.Canceled {
		flags |= updateCanceled
	}
	if u.Fragment {
		flags |= updateFragment
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, u.Revision)
	if u.Canceled {
		b = append(b, byte(u.Status))
		b = appendBytes(b, u.Message)
		b = binary.AppendUvarint(b, u.CompactRevision)
	}
	b = binary.AppendUvarint(b, uint64(len(u.Events)))
	for i := range u.Events {
		e := &u.Events[i]
		b = append(b, byte(e.Type), boolByte(e.Prev != nil))
		b = appendKeyValue(b, &e.KV)
		if e.Prev != nil {
			b = appendKeyValue(b, e.Prev)
		}
	}
	return b
}

const (
	leastUpdateBytes = 4
	leastEventBytes  = 2 + leastKeyValueBytes
)

// UnmarshalBinary decodes updates. It copies its input, once.
func (w *WatchUpdates) UnmarshalBinary(data []byte) error {
	d := decoder{data: bytes.Clone(data)}
	n := d.count(leastUpdateBytes, len(d.data))
	if n > 0 {
		w.Updates = make([]WatchUpdate, n)
	}
	for i := range w.Updates {
		d.update(&w.Updates[i])
	}
	return d.err()
}

func (d *decoder) update(u *WatchUpdate) {
	id, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail()
		return
	}
	u.ID, d.data = id, d.data[n:]
	flags := d.flags(updateCreated | updateCanceled | updateFragment)
	u.Created, u.Canceled, u.Fragment = flags&updateCreated != 0, flags&updateCanceled != 0, flags&updateFragment != 0
	u.Revision = d.uvarint()
	if u.Canceled {
		u.Status, u.Message, u.CompactRevision = Status(d.byte()), string(d.bytes()), d.uvarint()
	}
	if n := d.count(leastEventBytes, len(d.data)); n > 0 {
		u.Events = make([]Event, n)
	}
	for i := range u.Events {
		e := &u.Events[i]
		e.Type = EventType(d.flags(byte(EventDelete)))
		prev := d.flags(1) != 0
		d.keyValue(&e.KV)
		if prev {
			e.Prev = new(KeyValue)
			d.keyValue(e.Prev)
		}
	}
}
