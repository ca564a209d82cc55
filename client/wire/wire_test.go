package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// messages are one of each kind with an encoding of its own, with every field set somewhere.
func messages() map[string]interface {
	AppendBinary([]byte) ([]byte, error)
	UnmarshalBinary([]byte) error
} {
	kv := KeyValue{Key: []byte("k"), Value: []byte("v"), CreateRevision: 1, ModRevision: 1 << 40, Version: 3, Lease: 1 << 62}
	txn := &Txn{
		Compares: []Compare{{Key: []byte("a"), End: []byte("b"), Target: 3, Relation: 2, Number: 1 << 63}, {Key: []byte("a"), Target: 4, Relation: 1, Value: []byte("v")}},
		Success: []Op{
			{Kind: OpPut, Key: []byte("k"), Value: []byte("v"), Lease: -1, PrevKV: true},
			{Kind: OpPut, Key: []byte("k2"), IgnoreValue: true, IgnoreLease: true},
			{Kind: OpTxn, Txn: &Txn{Failure: []Op{{Kind: OpDelete, Key: []byte("k"), End: []byte{0}, PrevKV: true}}}},
		},
		Failure: []Op{{Kind: OpRange, Key: []byte("k"), End: []byte("l"), Range: Range{
			Revision: 7, Limit: 8, KeysOnly: true, CountOnly: true, WithCount: true, Sort: 2, Target: 4, MinModRevision: 1, MaxModRevision: 2, MinCreateRevision: 3, MaxCreateRevision: 4,
		}}},
	}
	op := Op{Kind: OpTxn, Txn: txn}
	body := AppendOp(nil, &op)
	return map[string]interface {
		AppendBinary([]byte) ([]byte, error)
		UnmarshalBinary([]byte) error
	}{
		"write batch": &WriteBatch{Session: 5, Low: 6, Items: []Item{{Sequence: 7, Body: body, Op: &op}}},
		"read batch":  &ReadBatch{Serializable: true, Items: []Item{{Body: body, Op: &op}}},
		"answer": &Answer{Member: 1, Leader: 2, Results: []Result{
			{Revision: 9},
			{Status: StatusCompacted, Message: "why"},
			{Revision: 10, Succeeded: true, Repeated: true, Deleted: 3, Ops: []OpResult{
				{Deleted: 1, Prev: []KeyValue{kv}, PrevTruncated: true},
				{Range: &RangeResult{Items: []KeyValue{kv, kv}, More: true, Count: 1 << 33}},
				{Txn: &TxnResult{Succeeded: true, Ops: []OpResult{{Deleted: 2}}}},
			}},
		}},
		"watch updates": &WatchUpdates{Updates: []WatchUpdate{
			{ID: 1, Created: true, Revision: 3},
			{ID: -1, Revision: 4, Fragment: true, Events: []Event{{Type: EventDelete, KV: kv, Prev: &kv}, {KV: kv}}},
			{ID: 2, Canceled: true, Status: StatusCompacted, Message: "gone", CompactRevision: 5},
		}},
		"snapshot chunk":  &SnapshotChunk{Offset: 1 << 40, Data: []byte("data")},
		"last chunk":      &SnapshotChunk{Offset: 5, Last: true, SHA256: [32]byte{1, 31: 2}},
		"refused chunk":   &SnapshotChunk{Status: StatusFailed, Message: "why"},
		"pull of updates": &WatchPull{},
	}
}

// strip takes away what only the sender has.
func strip(m any) {
	switch m := m.(type) {
	case *WriteBatch:
		for i := range m.Items {
			m.Items[i].Body = nil
		}
	case *ReadBatch:
		for i := range m.Items {
			m.Items[i].Body = nil
		}
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for name, m := range messages() {
		data, err := m.AppendBinary([]byte("before"))
		if err != nil || !strings.HasPrefix(string(data), "before") {
			t.Fatalf("%s: %v", name, err)
		}
		back := reflect.New(reflect.TypeOf(m).Elem()).Interface().(interface{ UnmarshalBinary([]byte) error })
		if err := back.UnmarshalBinary(data[len("before"):]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		strip(m)
		if !reflect.DeepEqual(m, back) {
			t.Errorf("%s came back as\n%+v, it was\n%+v", name, back, m)
		}
	}
}

func TestWhatIsCutShortOrTooLongIsRefused(t *testing.T) {
	for name, m := range messages() {
		data, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(data) {
			back := reflect.New(reflect.TypeOf(m).Elem()).Interface().(interface{ UnmarshalBinary([]byte) error })
			if err := back.UnmarshalBinary(data[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, the first %d of %d bytes: %v", name, n, len(data), err)
			}
		}
		back := reflect.New(reflect.TypeOf(m).Elem()).Interface().(interface{ UnmarshalBinary([]byte) error })
		if err := back.UnmarshalBinary(append(data, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

// An answer is what its caller keeps: it must not hold on to the memory that it came in.
func TestAnswersShareNoMemoryWithWhatTheyCameIn(t *testing.T) {
	for _, name := range []string{"answer", "watch updates", "snapshot chunk"} {
		m := messages()[name]
		data, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(m).Elem()).Interface().(interface{ UnmarshalBinary([]byte) error })
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		for i := range data {
			data[i] = 0xee
		}
		if !reflect.DeepEqual(m, back) {
			t.Errorf("%s changed with the memory that it was read from", name)
		}
	}
}

// Small messages that promise much are refused before memory is taken for it.
func TestPromisesAreNotBelieved(t *testing.T) {
	nested := AppendOp(nil, &Op{Kind: OpPut, Key: []byte("k")})
	for range MaxDepth + 1 {
		inner := append([]byte{byte(OpTxn), 0, 1}, nested...)
		nested = append(inner, 0)
	}
	manyOps := []byte{byte(OpTxn), 0}
	manyOps = append(manyOps, 0xff, 0xff, 0x7f) // two million
	manyOps = append(manyOps, bytes.Repeat([]byte{byte(OpDelete), 0, 0, 0}, MaxOps+1)...)
	for name, body := range map[string][]byte{"nested too deep": nested, "too many operations": append(manyOps, 0)} {
		data, err := (&WriteBatch{Items: []Item{{Body: body}}}).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back WriteBatch
		allocated := testing.AllocsPerRun(1, func() {
			if err := back.UnmarshalBinary(data); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if allocated > 100 {
			t.Errorf("%s: %v allocations", name, allocated)
		}
	}
	list := []byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}
	if err := new(Answer).UnmarshalBinary(list); !errors.Is(err, ErrMalformed) {
		t.Errorf("an answer of four billion results: %v", err)
	}
	if err := new(WatchUpdates).UnmarshalBinary(list[2:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("four billion updates: %v", err)
	}
}

func fuzzDecoder[M any, P interface {
	*M
	AppendBinary([]byte) ([]byte, error)
	UnmarshalBinary([]byte) error
}](f *testing.F, again func(P) bool) {
	for _, m := range messages() {
		data, err := m.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := P(new(M))
		if m.UnmarshalBinary(data) != nil || !again(m) {
			return
		}
		back, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		second := P(new(M))
		if err := second.UnmarshalBinary(back); err != nil {
			t.Fatalf("what was decoded and encoded again is refused: %v", err)
		}
		if !reflect.DeepEqual(m, second) {
			t.Fatalf("%+v came back as %+v", m, second)
		}
	})
}

func FuzzWriteBatch(f *testing.F) {
	fuzzDecoder(f, func(b *WriteBatch) bool {
		fill(b.Items)
		return len(b.Items) == 0 // with bodies it is another value
	})
}

func FuzzReadBatch(f *testing.F) {
	fuzzDecoder(f, func(b *ReadBatch) bool {
		fill(b.Items)
		return len(b.Items) == 0
	})
}

// fill encodes operations again: what can be decoded can be.
func fill(items []Item) {
	for i := range items {
		items[i].Body = AppendOp(nil, items[i].Op)
		d := decoder{data: items[i].Body, ops: MaxOps}
		var op Op
		d.op(&op, MaxDepth)
		if d.err() != nil || !reflect.DeepEqual(&op, items[i].Op) {
			panic("an operation does not come back as it was")
		}
	}
}

func FuzzAnswer(f *testing.F)        { fuzzDecoder(f, func(*Answer) bool { return true }) }
func FuzzWatchUpdates(f *testing.F)  { fuzzDecoder(f, func(*WatchUpdates) bool { return true }) }
func FuzzSnapshotChunk(f *testing.F) { fuzzDecoder(f, func(*SnapshotChunk) bool { return true }) }
