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
