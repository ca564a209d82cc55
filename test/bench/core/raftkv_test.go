package core

import (
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// ours is three of this project's cores.
type ours struct {
	tb      testing.TB
	nodes   []*raft.Core
	applied int
}

func newOurs(tb testing.TB) *ours {
	var all []raft.Member
	for i := range members {
		all = append(all, raft.Member{ID: raft.NodeID(i + 1), Incarnation: raft.Incarnation(i + 1)})
	}
	membership := raft.NewMembership(all...)
	membership.Index = 1
	base := raft.SnapshotMeta{Index: 1, Term: 1, Membership: membership, ClusterVersion: 1}
	p := &ours{tb: tb}
	for i := range members {
		c, err := raft.New(
			raft.Config{ID: raft.NodeID(i + 1), ElectionTicks: electionTicks, HeartbeatTicks: 1, Random: func(n int) int { return i * 3 % n }},
			raft.Initial{Applied: base, LogStart: raft.Position{Index: 1, Term: 1}})
		if err != nil {
			tb.Fatal(err)
		}
		p.nodes = append(p.nodes, c)
	}
	for range 2 * electionTicks {
		if p.nodes[0].Role() == raft.RoleLeader {
			break
		}
		p.nodes[0].Tick()
		p.pump()
	}
	if p.nodes[0].Role() != raft.RoleLeader {
		tb.Fatal("no leader")
	}
	p.applied = 0
	return p
}

// pump hands everything over until nothing is left to do.
func (p *ours) pump() {
	for busy := true; busy; {
		busy = false
		for _, c := range p.nodes {
			e := c.TakeEffects()
			if e.Store != nil {
				c.Stored(e.Store.Done())
				busy = true
			}
			for _, m := range e.Messages {
				if err := p.nodes[m.To-1].Step(m); err != nil {
					p.tb.Fatal(err)
				}
				busy = true
			}
			if n := len(e.Committed); n > 0 {
				c.Applied(e.Committed[n-1].Index)
				for i := range e.Committed {
					if len(e.Committed[i].Data) > 0 {
						p.applied++
					}
				}
				busy = true
			}
		}
	}
}

func (p *ours) propose(data [][]byte) {
	if _, _, err := p.nodes[0].Propose(data); err != nil {
		p.tb.Fatal(err)
	}
	p.pump()
	commit := p.nodes[0].Commit()
	if commit-p.nodes[0].LogStart().Index > logEntries {
		for _, c := range p.nodes {
			c.Compact(commit - keptEntries)
		}
	}
}

func (p *ours) appliedEntries() int { return p.applied }
