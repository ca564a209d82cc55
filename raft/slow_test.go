package raft

import (
	"math/rand/v2"
	"testing"
)

// TestDisksAsSlowAsAnElectionTimeoutKeepNoLeaderAway: one of three voters is gone, and each write of the others takes about an election timeout. A
// candidate's own vote alone takes that long, and the answers as long again.
func TestDisksAsSlowAsAnElectionTimeoutKeepNoLeaderAway(t *testing.T) {
	const rounds = 20
	for seed := range uint64(rounds) {
		random := rand.New(rand.NewPCG(seed, 7))
		p := newPumpOf(t, 3, func(cfg *Config) { cfg.Random = random.IntN })
		p.elect(1)
		p.tick(3)
		p.cut = func(m Message) bool { return m.From == 1 || m.To == 1 }
		disks := map[NodeID]*slowDisk{2: {took: 10}, 3: {took: 10}}
		for id := range disks {
			p.hold[id] = true
		}
		leads := func() bool {
			for id := range disks {
				if c := p.nodes[id]; c.Role() == RoleLeader && c.committedInTerm() {
					return true
				}
			}
			return false
		}
		const most = 600
		n := 0
		for ; n < most && !leads(); n++ {
			p.tick(1)
			for _, id := range []NodeID{2, 3} {
				disks[id].tick(p, id)
			}
			p.settle()
		}
		if n == most {
			t.Errorf("seed %d: nobody leads after %d ticks: %+v, %+v", seed, n, p.nodes[2].View(), p.nodes[3].View())
		}
	}
}

// slowDisk stores all that waits at once, and takes the same time for it whatever it is.
type slowDisk struct {
	took, left int
	batch      []*StoreRequest
}

func (d *slowDisk) tick(p *pump, id NodeID) {
	if len(d.batch) > 0 {
		if d.left--; d.left > 0 {
			return
		}
		p.nodes[id].Stored(d.batch[len(d.batch)-1].Done())
	}
	d.batch, p.pending[id], d.left = p.pending[id], nil, d.took
}
