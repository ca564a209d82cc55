package core

import (
	"io"
	"log"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// theirs is three of etcd's cores, each a RawNode, which is what one drives without goroutines.
type theirs struct {
	tb      testing.TB
	nodes   []*raft.RawNode
	stores  []*raft.MemoryStorage
	entries []raftpb.Entry // reused: the core copies what it keeps
	commit  uint64
	applied int
}

func newTheirs(tb testing.TB) *theirs {
	p := &theirs{tb: tb}
	var voters []uint64
	for i := range members {
		voters = append(voters, uint64(i+1))
	}
	for i := range members {
		store := raft.NewMemoryStorage()
		base := raftpb.Snapshot{Metadata: raftpb.SnapshotMetadata{Index: 1, Term: 1, ConfState: raftpb.ConfState{Voters: voters}}}
		if err := store.ApplySnapshot(base); err != nil {
			tb.Fatal(err)
		}
		n, err := raft.NewRawNode(&raft.Config{
			ID: uint64(i + 1), ElectionTick: electionTicks, HeartbeatTick: 1, Storage: store, Applied: 1,
			// As etcd sets them, but for the size of a message, which is ours.
			MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 512, CheckQuorum: true, PreVote: true,
			Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		})
		if err != nil {
			tb.Fatal(err)
		}
		p.nodes, p.stores = append(p.nodes, n), append(p.stores, store)
	}
	if err := p.nodes[0].Campaign(); err != nil {
		tb.Fatal(err)
	}
	p.pump()
	if p.nodes[0].BasicStatus().RaftState != raft.StateLeader {
		tb.Fatal("no leader")
	}
	p.applied = 0
	return p
}

// pump hands everything over until nothing is left to do.
func (p *theirs) pump() {
	for busy := true; busy; {
		busy = false
		for i, n := range p.nodes {
			if !n.HasReady() {
				continue
			}
			busy = true
			ready := n.Ready()
			if !raft.IsEmptyHardState(ready.HardState) {
				if err := p.stores[i].SetHardState(ready.HardState); err != nil {
					p.tb.Fatal(err)
				}
			}
			if err := p.stores[i].Append(ready.Entries); err != nil {
				p.tb.Fatal(err)
			}
			for _, m := range ready.Messages {
				if err := p.nodes[m.To-1].Step(m); err != nil {
					p.tb.Fatal(err)
				}
			}
			for j := range ready.CommittedEntries {
				if len(ready.CommittedEntries[j].Data) > 0 {
					p.applied++
				}
			}
			if k := len(ready.CommittedEntries); k > 0 && i == 0 {
				p.commit = ready.CommittedEntries[k-1].Index
			}
			n.Advance(ready)
		}
	}
}

func (p *theirs) propose(data [][]byte) {
	p.entries = p.entries[:0]
	for _, d := range data {
		p.entries = append(p.entries, raftpb.Entry{Data: d})
	}
	if err := p.nodes[0].Step(raftpb.Message{Type: raftpb.MsgProp, From: 1, Entries: p.entries}); err != nil {
		p.tb.Fatal(err)
	}
	p.pump()
	first, err := p.stores[0].FirstIndex()
	if err != nil {
		p.tb.Fatal(err)
	}
	if p.commit-first > logEntries {
		for _, s := range p.stores {
			if err := s.Compact(p.commit - keptEntries); err != nil {
				p.tb.Fatal(err)
			}
		}
	}
}

func (p *theirs) appliedEntries() int { return p.applied }
