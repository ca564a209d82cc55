// Package statemachine fits a kv.Machine to the interface that a node replicates. It is apart from kv so that kv
// knows nothing of nodes. It adds nothing: what is promised is said in kv and in raft/node.
package statemachine

import (
	"context"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
)

// Of returns the machine as a node.StateMachine.
func Of(m *kv.Machine) node.StateMachine { return adapter{m} }

type adapter struct{ *kv.Machine }

func (a adapter) Snapshot(ctx context.Context) (node.Snapshot, error) {
	s, err := a.Machine.Snapshot(ctx)
	if err != nil {
		return nil, err // not a nil *kv.Snapshot in an interface that is not nil
	}
	return s, nil
}

func (a adapter) Stage(meta raft.SnapshotMeta) (node.Stage, error) {
	s, err := a.Machine.Stage(meta)
	if err != nil {
		return nil, err
	}
	return s, nil
}
