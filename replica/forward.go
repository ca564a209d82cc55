package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/transport"
	"github.com/raftkv/raftkv/rpc"
)

// forwardService is how a follower hands proposals to the leader.
const forwardService = "raftkv.forward"

// reasonNotAppended is the reason of errors after which nothing was appended.
const reasonNotAppended = "not-appended"

type forwardStub struct {
	Append func(context.Context, *proposalBatch) (*appended, error)
}

// proposalBatch is a list of entries' data. Its encoding: count, then each length-prefixed; integers are uvarints.
type proposalBatch struct{ data [][]byte }

const proposalFormat = 1

// WireVersion is that of the encoding.
func (*proposalBatch) WireVersion() uint16 { return proposalFormat }

// AppendBinary encodes the batch.
func (p *proposalBatch) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(p.data)))
	for _, d := range p.data {
		b = binary.AppendUvarint(b, uint64(len(d)))
		b = append(b, d...)
	}
	return b, nil
}

var errProposals = errors.New("malformed batch of proposals")

// UnmarshalBinary decodes a batch. It copies the input, once.
func (p *proposalBatch) UnmarshalBinary(data []byte) error {
	count, n := binary.Uvarint(data)
	if n <= 0 || count > node.MaxProposals || count > uint64(len(data)) { // no sender has more that wait
		return errProposals
	}
	rest := append([]byte(nil), data[n:]...)
	out := make([][]byte, 0, count)
	for range count {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return errProposals
		}
		end := n + int(size)
		out = append(out, rest[n:end:end])
		rest = rest[end:]
	}
	if len(rest) != 0 {
		return errProposals
	}
	p.data = out
	return nil
}

// appended is an empty answer.
type appended struct{}

// AppendBinary encodes nothing.
func (*appended) AppendBinary(b []byte) ([]byte, error) { return b, nil }

// UnmarshalBinary decodes nothing.
func (*appended) UnmarshalBinary([]byte) error { return nil }

func registerForward(server *rpc.Server, d *door) error {
	return rpc.Register(server, forwardService, forwardStub{Append: func(ctx context.Context, p *proposalBatch) (*appended, error) {
		in := d.inner.Load()
		if in == nil {
			return nil, notAppended(errors.New("this node is not running as a member at the moment"))
		}
		if err := in.node.AppendForwarded(ctx, p.data); err != nil {
			return nil, notAppended(err)
		}
		return &appended{}, nil
	}}, rpc.Authorize(transport.MembersOnly))
}

func notAppended(err error) error {
	return &rpc.Error{Code: rpc.CodeUnavailable, Reason: reasonNotAppended, Message: err.Error()}
}

func reasonIsNotAppended(err error) bool { return rpc.ReasonOf(err) == reasonNotAppended }

// forwarder keeps one stub for each leader.
type forwarder struct {
	transport *transport.Transport
	mu        sync.Mutex
	caller    rpc.Caller
	stub      *forwardStub
}

// bind returns the stub for the leader's present connection.
func (f *forwarder) bind(leader raft.NodeID) (*forwardStub, error) {
	caller, err := f.transport.Caller(leader)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.caller == caller {
		return f.stub, nil
	}
	stub := new(forwardStub)
	if err := rpc.Bind(caller, forwardService, stub); err != nil {
		return nil, err
	}
	f.caller, f.stub = caller, stub
	return stub, nil
}

// forward wraps node.ErrNotAppended when nothing was appended for sure.
func (f *forwarder) forward(ctx context.Context, leader raft.NodeID, proposals [][]byte) error {
	stub, err := f.bind(leader)
	if err != nil {
		return fmt.Errorf("%w: %w", node.ErrNotAppended, err)
	}
	_, err = stub.Append(ctx, &proposalBatch{data: proposals})
	if err != nil && (rpc.NotSent(err) || reasonIsNotAppended(err)) {
		return fmt.Errorf("%w: %w", node.ErrNotAppended, err)
	}
	return err
}
