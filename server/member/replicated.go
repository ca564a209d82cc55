package member

import (
	"sync"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/statemachine"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
)

// replicated is the store as the node drives it. Install closes the store that it replaces, so nobody may measure it meanwhile.
type replicated struct {
	node.StateMachine
	machine   *kv.Machine
	replacing sync.Mutex
}

func newReplicated(m *kv.Machine) *replicated {
	return &replicated{StateMachine: statemachine.Of(m), machine: m}
}

func (r *replicated) Install(meta raft.SnapshotMeta) error {
	r.replacing.Lock()
	defer r.replacing.Unlock()
	return r.StateMachine.Install(meta)
}

func (r *replicated) stats() kv.Stats {
	r.replacing.Lock()
	defer r.replacing.Unlock()
	return r.machine.Stats()
}
