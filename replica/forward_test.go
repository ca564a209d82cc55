package replica

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
)

func TestProposalBatchesSurviveTheWire(t *testing.T) {
	for _, data := range [][][]byte{nil, {{}}, {[]byte("a"), {}, bytes.Repeat([]byte{0xff}, 300)}} {
		b, err := (&proposalBatch{data: data}).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got proposalBatch
		if err := got.UnmarshalBinary(b); err != nil || len(got.data) != len(data) {
			t.Fatalf("%v, %v", got, err)
		}
		clear(b) // the buffer belongs to the caller
		for i := range data {
			if !bytes.Equal(got.data[i], data[i]) {
				t.Errorf("proposal %d: %x, want %x", i, got.data[i], data[i])
			}
		}
	}
	for _, bad := range [][]byte{{}, {5}, {1}, {1, 9, 0}, {0, 0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if err := new(proposalBatch).UnmarshalBinary(bad); err == nil {
			t.Errorf("%x was decoded", bad)
		}
	}
}

func TestOnlySureRefusalsOfTheLeaderMeanNotAppended(t *testing.T) {
	for err, want := range map[error]bool{
		raft.ErrNotLeader: true, raft.ErrBusy: true, node.ErrBusy: true, fmt.Errorf("x: %w", raft.ErrTransferring): true,
		node.ErrStopped: false, context.DeadlineExceeded: false,
	} {
		if got := reasonIsNotAppended(explainAppend(err)); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

func TestTheCommonLevelNeedsEveryMember(t *testing.T) {
	m := raft.NewMembership(raft.Member{ID: 1}, raft.Member{ID: 2}, raft.Member{ID: 3, Learner: true})
	for _, x := range []struct {
		levels map[raft.NodeID]uint32
		want   uint32
	}{
		{map[raft.NodeID]uint32{2: 5, 3: 6}, 5},
		{map[raft.NodeID]uint32{2: 5, 3: 4}, 4},
		{map[raft.NodeID]uint32{2: 5}, 0},
	} {
		if got := commonLevel(m, 1, 5, x.levels); got != x.want {
			t.Errorf("%v: %d, want %d", x.levels, got, x.want)
		}
	}
}

func FuzzProposalBatch(f *testing.F) {
	for _, data := range [][][]byte{nil, {{}}, {[]byte("a"), {}, []byte("bc")}} {
		b, err := (&proposalBatch{data: data}).AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, 1))
	}
	f.Add([]byte{0xff, 0xff, 0x3f})
	f.Add(append([]byte{0xff, 0xff, 0x3f}, make([]byte, 1<<20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, again proposalBatch
		if got.UnmarshalBinary(b) != nil {
			return
		}
		if len(got.data) > node.MaxProposals {
			t.Fatalf("%d proposals", len(got.data))
		}
		encoded, err := got.AppendBinary(nil)
		if err != nil || again.UnmarshalBinary(encoded) != nil || len(again.data) != len(got.data) {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		for i := range got.data {
			if !bytes.Equal(got.data[i], again.data[i]) {
				t.Fatalf("proposal %d changes", i)
			}
		}
	})
}
