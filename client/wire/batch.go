package wire

import (
	"encoding/binary"
)

// batchVersion is that of the encodings of batches and their answers.
const batchVersion = 1

// Item is one operation of a batch.
type Item struct {
	// Sequence numbers the writes of a session; zero for reads.
	Sequence uint64
	// Body is the encoded operation, where a batch is sent; Op is what came, where it is received.
	Body []byte
	Op   *Op
}

// WriteBatch is a batch of puts, deletions and transactions, each of which stands for itself. Session zero gives no protection against repeats.
type WriteBatch struct {
	Session uint64
	// Low is below or equal to the session's lowest sequence that may still be asked for.
	Low   uint64
	Items []Item
}

// WireVersion is that of the encoding.
func (*WriteBatch) WireVersion() uint16 { return batchVersion }

// SizeHint is about what the encoding takes.
func (w *WriteBatch) SizeHint() int { return itemsSize(w.Items) }

func itemsSize(items []Item) int {
	n := 4 * binary.MaxVarintLen64
	for i := range items {
		n += len(items[i].Body) + binary.MaxVarintLen64
	}
	return n
}

// AppendBinary encodes session, low, and the items, each as its sequence and its body.
func (w *WriteBatch) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, w.Session)
	b = binary.AppendUvarint(b, w.Low)
	return appendItems(b, w.Items), nil
}

func appendItems(b []byte, items []Item) []byte {
	b = binary.AppendUvarint(b, uint64(len(items)))
	for i := range items {
		b = binary.AppendUvarint(b, items[i].Sequence)
		b = append(b, items[i].Body...)
	}
	return b
}

// UnmarshalBinary decodes a batch, whose operations share memory with data.
func (w *WriteBatch) UnmarshalBinary(data []byte) error {
	d := decoder{data: data, ops: MaxOps}
	w.Session, w.Low = d.uvarint(), d.uvarint()
	w.Items = d.items()
	return d.err()
}

func (d *decoder) items() []Item {
	n := d.count(1+leastOpBytes, MaxBatch)
	if n == 0 {
		return nil
	}
	items, ops := make([]Item, n), make([]Op, n)
	for i := range items {
		items[i].Sequence, items[i].Op = d.uvarint(), &ops[i]
		d.op(items[i].Op, MaxDepth)
	}
	return items
}

// ReadBatch is a batch of ranges, and of transactions that write nothing.
type ReadBatch struct {
	// Serializable reads the node's own state at once.
	Serializable bool
	Items        []Item
}

// WireVersion is that of the encoding.
func (*ReadBatch) WireVersion() uint16 { return batchVersion }

// SizeHint is about what the encoding takes.
func (r *ReadBatch) SizeHint() int { return itemsSize(r.Items) }

// AppendBinary encodes a flag and the items.
func (r *ReadBatch) AppendBinary(b []byte) ([]byte, error) {
	return appendItems(append(b, boolByte(r.Serializable)), r.Items), nil
}

// UnmarshalBinary decodes a batch, whose operations share memory with data.
func (r *ReadBatch) UnmarshalBinary(data []byte) error {
	d := decoder{data: data, ops: MaxOps}
	r.Serializable = d.flags(1) != 0
	r.Items = d.items()
	return d.err()
}

// Answer is that of a batch: one result for each item, in their order.
type Answer struct {
	// Member is who answers, zero if the node is no member.
	Member uint64
	// Leader is the member that the node believes to lead, zero if it knows none.
	Leader  uint64
	Results []Result
}

// WireVersion is that of the encoding.
func (*Answer) WireVersion() uint16 { return batchVersion }

// AppendBinary encodes member, leader and the results.
func (a *Answer) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, a.Member)
	b = binary.AppendUvarint(b, a.Leader)
	b = binary.AppendUvarint(b, uint64(len(a.Results)))
	for i := range a.Results {
		b = appendResult(b, &a.Results[i])
	}
	return b, nil
}

// UnmarshalBinary decodes an answer. It copies what it keeps.
func (a *Answer) UnmarshalBinary(data []byte) error {
	d := decoder{data: data, ops: MaxOps}
	a.Member, a.Leader = d.uvarint(), d.uvarint()
	n := d.count(leastResultBytes, MaxBatch)
	if n > 0 {
		a.Results = make([]Result, n)
	}
	for i := range a.Results {
		d.result(&a.Results[i])
	}
	return d.err()
}
