package node

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// stagingJournal takes any snapshot, for one of a state without commands and sessions.
type stagingJournal struct{ *journal }

func (s stagingJournal) Stage(meta raft.SnapshotMeta) (Stage, error) {
	empty, err := json.Marshal(image{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged[meta.Index] = empty
	return nil, err
}

// A leader sends one snapshot after another to a member whose log stands still; only one copy of the state may wait there.
func TestNoSnapshotIsTakenWhileOneWaitsToBeInstalled(t *testing.T) {
	var taken *stagingJournal
	c := startCluster(t, 3, func(cfg *Config) {
		if cfg.ID == 1 {
			taken = &stagingJournal{cfg.StateMachine.(*journal)}
			cfg.StateMachine = taken
		}
	})
	n, log := c.nodes[1], c.logs[1]
	if _, err := n.Stage(raft.SnapshotMeta{Index: 500, Term: 900}); err != nil {
		t.Fatalf("nothing waits, and a snapshot is refused: %v", err)
	}
	log.mu.Lock() // the disk stands still
	goOn := sync.OnceFunc(log.mu.Unlock)
	t.Cleanup(goOn)
	meta := raft.SnapshotMeta{Index: 500, Term: 900, Membership: n.Summary().Membership, ClusterVersion: 1}
	n.Deliver(raft.Message{Type: raft.MsgSnapshot, From: 2, To: 1, Term: 1000, Snapshot: &meta})
	c.waitFor("refusal of another snapshot", func(x *Node) bool {
		_, err := n.Stage(raft.SnapshotMeta{Index: 600, Term: 900})
		return x == n && errors.Is(err, ErrInstalling)
	})
	goOn()
	c.waitFor("snapshot in force", func(x *Node) bool { return x == n && n.Applied() >= meta.Index })
	if _, err := n.Stage(raft.SnapshotMeta{Index: 600, Term: 900}); err != nil {
		t.Fatalf("the snapshot is in force, and another is refused: %v", err)
	}
}
