package replica

import (
	"context"
	"errors"
	"io"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
)

// link is the door as the node's transport.
type link struct{ door *door }

func (l link) Send(messages []raft.Message) { l.door.transport.Send(messages) }

func (l link) SetMembership(current, committed raft.Membership) {
	l.door.setMembership(current, committed)
}

func (l link) SendSnapshot(ctx context.Context, m raft.Message, snapshot io.WriterTo) error {
	return l.door.transport.SendSnapshot(ctx, m, snapshot)
}

func (l link) Forward(ctx context.Context, leader raft.NodeID, proposals [][]byte) error {
	return l.door.forwarder.forward(ctx, leader, proposals)
}

// Begin stages a snapshot that a leader sends.
func (d *door) Begin(m raft.Message) (transport.SnapshotWriter, error) {
	in := d.inner.Load()
	if in == nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "this node is not running as a member at the moment")
	}
	stage, err := in.node.Stage(*m.Snapshot)
	if errors.Is(err, node.ErrInstalling) {
		return nil, rpc.Errorf(rpc.CodeExhausted, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	return &incoming{Stage: stage, message: m, node: in.node}, nil
}

// incoming hands the message on once the snapshot is staged.
type incoming struct {
	node.Stage
	message raft.Message
	node    *node.Node
}

func (i *incoming) Commit() error {
	if err := i.Stage.Commit(); err != nil {
		return err
	}
	i.node.Deliver(i.message)
	return nil
}
