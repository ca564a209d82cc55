package transport

import (
	"bytes"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

func sampleBatch() *batch {
	return &batch{[]raft.Message{
		{Type: raft.MsgHeartbeat, From: 1, To: 2, Term: 3, Commit: 4, Context: 5},
		{Type: raft.MsgAppend, From: 1, To: 2, Term: 3, Index: 9, LogTerm: 2, Entries: []raft.Entry{
			{Term: 3, Index: 10, Type: raft.EntryNormal, Data: []byte("data")}, {Term: 3, Index: 11, Type: raft.EntryNormal, Data: []byte("more")}}},
		snapshotMessage(1, 2, 3),
	}}
}

func TestBatchKeepsNothingOfItsInput(t *testing.T) {
	want := sampleBatch()
	encoded, err := want.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got batch
	if err := got.UnmarshalBinary(encoded); err != nil {
		t.Fatal(err)
	}
	clear(encoded) // the buffer is used again
	if !reflect.DeepEqual(got.messages, want.messages) {
		t.Fatalf("got %+v", got.messages)
	}
}

func TestMessageBytesIsABound(t *testing.T) {
	for _, m := range sampleBatch().messages[:2] { // snapshots are never queued
		encoded, err := (&batch{[]raft.Message{m}}).AppendBinary(nil)
		if err != nil || len(encoded)-4 > messageBytes(&m) {
			t.Fatalf("%v takes %d bytes, bound %d, %v", m.Type, len(encoded)-4, messageBytes(&m), err)
		}
	}
}

func TestDamagedBatchesAndChunksAreRefused(t *testing.T) {
	encoded, err := sampleBatch().AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range encoded {
		if new(batch).UnmarshalBinary(encoded[:n]) == nil {
			t.Fatalf("the first %d of %d bytes were taken for a batch", n, len(encoded))
		}
	}
	if new(batch).UnmarshalBinary(append(encoded, 0)) == nil {
		t.Fatal("a byte too many was not noticed")
	}
	many := &batch{make([]raft.Message, maxBatchMessages+1)}
	if encoded, err = many.AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	if err := new(batch).UnmarshalBinary(encoded); err == nil || !strings.Contains(err.Error(), "1025 messages") {
		t.Fatalf("more messages than any queue holds: %v", err)
	}
	c, err := (&chunk{handle: 1, offset: 2, data: []byte("data")}).AppendBinary([]byte("prefix"))
	if err != nil {
		t.Fatal(err)
	}
	c = c[len("prefix"):]
	var back chunk
	if err := back.UnmarshalBinary(c); err != nil || back.handle != 1 || back.offset != 2 || string(back.data) != "data" {
		t.Fatalf("%+v, %v", back, err)
	}
	for bit := range len(c) * 8 {
		bad := bytes.Clone(c)
		bad[bit/8] ^= 1 << (bit % 8)
		if new(chunk).UnmarshalBinary(bad) == nil {
			t.Fatalf("bit %d may be damaged unnoticed", bit)
		}
	}
}

func FuzzBatch(f *testing.F) {
	encoded, err := sampleBatch().AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add(encoded[:20])
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var b batch
		if !decodes(t, data, b.UnmarshalBinary) {
			return
		}
		again, err := b.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var c batch
		if err := c.UnmarshalBinary(again); err != nil || len(c.messages) != len(b.messages) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
	})
}

func sampleBegin(t testing.TB) []byte {
	encoded, err := (&snapshotBegin{stream: 1, acked: 2, total: 3, message: snapshotMessage(1, 2, 3)}).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestBeginningOfASnapshotKeepsNothingOfItsInput(t *testing.T) {
	encoded := sampleBegin(t)
	for n := range encoded {
		if new(snapshotBegin).UnmarshalBinary(encoded[:n]) == nil {
			t.Fatalf("the first %d of %d bytes were taken", n, len(encoded))
		}
	}
	var got snapshotBegin
	if err := got.UnmarshalBinary(encoded); err != nil {
		t.Fatal(err)
	}
	clear(encoded)
	if want := (snapshotBegin{1, 2, 3, snapshotMessage(1, 2, 3)}); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v", got)
	}
}

// mostPerByte is how many bytes a decoder may allocate for one of its input, and for nothing at all.
const (
	mostPerByte = 64
	mostAtAll   = 1 << 20
)

// decodes runs a decoder and fails when it takes too much memory for what it was given.
func decodes(t *testing.T, data []byte, decode func([]byte) error) bool {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := decode(data)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(mostPerByte*len(data)+mostAtAll) {
		t.Fatalf("%d bytes of input took %d bytes", len(data), got)
	}
	if err != nil && err.Error() == "" {
		t.Fatal("an error without text")
	}
	return err == nil
}

func FuzzSnapshotBegin(f *testing.F) {
	good := sampleBegin(f)
	f.Add(good)
	f.Add(good[:beginHeaderBytes])
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Add(append(bytes.Clone(good[:beginHeaderBytes]), bytes.Repeat([]byte{0xff}, 40)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b snapshotBegin
		if !decodes(t, data, b.UnmarshalBinary) {
			return
		}
		again, err := b.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var c snapshotBegin
		if err := c.UnmarshalBinary(again); err != nil || !reflect.DeepEqual(b, c) {
			t.Fatalf("%+v was read again as %+v: %v", b, c, err)
		}
	})
}

func FuzzChunk(f *testing.F) {
	good, err := (&chunk{handle: 1, offset: 2, data: []byte("data")}).AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:chunkHeaderBytes])
	f.Add(good[:5])
	f.Add(make([]byte, chunkHeaderBytes))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c chunk
		if !decodes(t, data, c.UnmarshalBinary) {
			return
		}
		if again, err := c.AppendBinary(nil); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x is written %x: %v", data, again, err)
		}
	})
}
