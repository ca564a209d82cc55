package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

// Members tells the members of the cluster, as surely the latest. Errors: ErrUnavailable.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	r, err := invoke(ctx, c, reads, membersMethod, &wire.MembersRequest{Linearizable: true})
	if err != nil {
		return nil, err
	}
	out := make([]Member, len(r.Members))
	for i, m := range r.Members {
		out[i] = Member{
			ID: MemberID(m.ID), Name: m.Name, PeerAddress: m.PeerAddress, ClientAddress: m.ClientAddress, Learner: m.Learner, Leader: m.ID == r.Leader,
		}
	}
	return out, nil
}

// MoveLeader hands leadership to a member, zero is whoever is best. Errors: ErrRefused, ErrUnavailable, ErrUnknown.
func (c *Client) MoveLeader(ctx context.Context, to MemberID) error {
	_, err := invoke(ctx, c, writes, moveLeaderMethod, &wire.MoveLeaderRequest{To: uint64(to)})
	return err
}

// at calls one node, by its address, once, and for as long as it takes; the empty address is any node.
func at[Q any, A replier](ctx context.Context, c *Client, p purpose, endpoint string, m method[Q, A], request *Q) (A, error) {
	var none A
	n, done, err := c.nodeAt(ctx, endpoint)
	if err != nil {
		return none, err
	}
	defer done()
	limited, cancel := c.limit(ctx)
	defer cancel()
	answer, err := direct(limited, n.pick().service, m, request)
	var known *callError
	switch {
	case err == nil, errors.As(err, &known):
		return answer, err
	case p == writes && !rpc.NotSent(err):
		return none, unknown(err, nil)
	}
	return none, unavailable(err, nil)
}

// limit bounds a call by CallTimeout if its context has no deadline.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.config.CallTimeout)
}

// nodeAt gives the node of an address, which is connected to for this once if it is not among those that the client knows.
func (c *Client) nodeAt(ctx context.Context, endpoint string) (n *node, done func(), err error) {
	if c.ctx.Err() != nil {
		return nil, nil, ErrClosed
	}
	if endpoint == "" {
		return c.choose(ctx, staleReads, nil), func() {}, nil
	}
	address, err := c.config.parseEndpoint(endpoint)
	if err != nil {
		return nil, nil, &callError{kind: ErrInvalid, text: err.Error()}
	}
	for _, n := range *c.nodes.Load() {
		if n.address == address {
			return n, func() {}, nil
		}
	}
	if n, err = c.newNode(address); err != nil {
		return nil, nil, err
	}
	return n, func() { _ = n.close() }, nil
}

// Status asks a node about itself. endpoint is its address, empty for any. Errors: ErrUnavailable.
func (c *Client) Status(ctx context.Context, endpoint string) (Status, error) {
	var r *wire.StatusReply
	var err error
	if endpoint == "" {
		r, err = invoke(ctx, c, staleReads, statusMethod, &wire.Empty{})
	} else {
		r, err = at(ctx, c, staleReads, endpoint, statusMethod, &wire.Empty{})
	}
	if err != nil {
		return Status{}, err
	}
	return Status{
		ClusterID: r.ClusterID, MemberID: MemberID(r.MemberID), Name: r.Name, Version: r.Version, Leader: MemberID(r.Leader), Term: r.Term, Learner: r.Learner,
		Revision: r.Revision, CompactedRevision: r.CompactedRevision, CommittedIndex: r.Committed, AppliedIndex: r.Applied,
		FileBytes: r.FileBytes, UsedBytes: r.UsedBytes, QuotaBytes: r.QuotaBytes, Errors: r.Errors,
	}, nil
}

// Hash asks a node for a checksum of its keys up to a revision, zero for the latest. endpoint is its address, empty for any. Errors: ErrCompacted,
// ErrFutureRevision, ErrUnavailable.
func (c *Client) Hash(ctx context.Context, endpoint string, revision uint64) (Hash, error) {
	r, err := at(ctx, c, staleReads, endpoint, hashMethod, &wire.HashRequest{Revision: revision})
	if err != nil {
		return Hash{}, err
	}
	return Hash{
		MemberID: MemberID(r.MemberID), Hash: r.Hash, Revision: r.HashRevision, CompactedRevision: r.CompactRevision, LatestRevision: r.Revision,
	}, nil
}

// Defragment gives space of a node's store back to its file system, without stopping anything, and returns when that is done; give it a context with
// time enough. endpoint is the node's address, empty for any. Errors: ErrUnavailable, and ErrUnknown: it may have been begun; doing it again does no harm.
func (c *Client) Defragment(ctx context.Context, endpoint string) error {
	_, err := at(ctx, c, writes, endpoint, defragmentMethod, &wire.Empty{})
	return err
}

// Alarms lists the alarms that are up. Errors: ErrUnavailable.
func (c *Client) Alarms(ctx context.Context) ([]Alarm, error) {
	r, err := invoke(ctx, c, reads, alarmMethod, &wire.AlarmRequest{Action: wire.AlarmGet})
	if err != nil {
		return nil, err
	}
	out := make([]Alarm, len(r.Alarms))
	for i, a := range r.Alarms {
		out[i] = Alarm{Member: MemberID(a.Member), Type: AlarmType(a.Type)}
	}
	return out, nil
}

// RaiseAlarm makes an alarm known to the cluster. Errors: ErrInvalid, ErrUnavailable, ErrUnknown.
func (c *Client) RaiseAlarm(ctx context.Context, a Alarm) error {
	_, err := invoke(ctx, c, writes, alarmMethod, &wire.AlarmRequest{Action: wire.AlarmRaise, Member: uint64(a.Member), Type: uint8(a.Type)})
	return err
}

// LowerAlarm takes alarms back: member zero and AlarmAny are all of them. Errors: ErrUnavailable, ErrUnknown.
func (c *Client) LowerAlarm(ctx context.Context, a Alarm) error {
	_, err := invoke(ctx, c, writes, alarmMethod, &wire.AlarmRequest{Action: wire.AlarmLower, Member: uint64(a.Member), Type: uint8(a.Type)})
	return err
}

// Snapshot writes a consistent image of one node's whole state to w, while the node goes on, and checks all of it. On an error what w has is of no use.
// endpoint is the node's address, empty for any. Nothing bounds it but ctx. Errors: ErrTooMany (snapshots at the same time), ErrUnavailable, w's.
func (c *Client) Snapshot(ctx context.Context, endpoint string, w io.Writer) (SnapshotInfo, error) {
	address := endpoint
	if address == "" {
		address = c.choose(ctx, staleReads, nil).address
	}
	address, err := c.config.parseEndpoint(address)
	if err != nil {
		return SnapshotInfo{}, &callError{kind: ErrInvalid, text: err.Error()}
	}
	// A connection of its own, so that it does not stand in the way of calls.
	service, hangUp, err := c.connect(ctx, address)
	if err != nil {
		return SnapshotInfo{}, err
	}
	defer hangUp()
	open, err := direct(ctx, service, snapshotOpenMethod, &wire.Empty{})
	if err != nil {
		return SnapshotInfo{}, inWords(err)
	}
	info := SnapshotInfo{MemberID: MemberID(open.MemberID), Index: open.Index, Term: open.Term}
	sum := sha256.New()
	for {
		chunk, err := service.SnapshotNext(ctx, &wire.SnapshotPull{ID: open.ID, Offset: info.Bytes})
		switch {
		case err != nil:
			return SnapshotInfo{}, inWords(err)
		case chunk.Status != wire.StatusOK:
			return SnapshotInfo{}, refusal(chunk.Status, chunk.Message)
		case chunk.Offset != info.Bytes:
			return SnapshotInfo{}, &callError{kind: errFailed, text: "the snapshot's parts do not follow each other"}
		}
		if chunk.Last {
			sum.Sum(info.SHA256[:0])
			if info.SHA256 != chunk.SHA256 {
				return SnapshotInfo{}, &callError{kind: errFailed, text: "the snapshot was damaged on its way: its checksum differs"}
			}
			return info, nil
		}
		sum.Write(chunk.Data)
		if _, err := w.Write(chunk.Data); err != nil {
			return SnapshotInfo{}, err
		}
		info.Bytes += int64(len(chunk.Data))
	}
}

// inWords gives an error of the connection this package's name.
func inWords(err error) error {
	var known *callError
	if errors.As(err, &known) {
		return err
	}
	return unavailable(err, nil)
}

// connect makes a connection of its own to a node, for what belongs to a connection.
func (c *Client) connect(ctx context.Context, address string) (*wire.Service, func(), error) {
	if c.ctx.Err() != nil {
		return nil, nil, ErrClosed
	}
	conn, err := rpc.Dial(ctx, address, c.config.rpcOptions())
	if err != nil {
		return nil, nil, inWords(err)
	}
	stop := context.AfterFunc(c.ctx, func() { _ = conn.Close() })
	hangUp := func() {
		stop()
		_ = conn.Close() // whatever it was used for has ended
	}
	service := new(wire.Service)
	if err := rpc.BindContext(ctx, conn, wire.ServiceName, service); err != nil {
		hangUp()
		if refused := final(err); refused != nil {
			return nil, nil, refused
		}
		return nil, nil, inWords(err)
	}
	return service, hangUp, nil
}
