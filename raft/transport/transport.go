package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// Config is fixed for the life of a Transport. Gate and Receive are needed, Sink where snapshots are to arrive.
type Config struct {
	// Identity may be zero while the process speaks for no member; see SetIdentity.
	Identity   Identity
	FeatureMin uint32
	FeatureMax uint32
	// Nonce tells runs of the process apart; 0 draws one at random.
	Nonce uint64
	Gate  Gate
	// Receive gets the messages of one batch, in order; all of them are to this member and from the member that the connection was
	// accepted for. The slice is the callee's. It runs on the connection's reading goroutine: while it blocks, only that connection waits
	// (which holds a sender of entries back), so it may block for append messages but should not for others.
	Receive func([]raft.Message)
	Sink    SnapshotSink
	Events  Events
	Dial    rpc.DialFunc // nil means TCP; the place for TLS and for resolvers
	// MaxFrameBytes bounds a frame; 0 means rpc.DefaultMaxFrameBytes. An append message must fit.
	MaxFrameBytes int
	// SnapshotBytesPerSecond bounds what all snapshots that are sent take together; 0 means no bound, else it is at least
	// MinSnapshotBytesPerSecond.
	SnapshotBytesPerSecond int
	// MinBackoff and MaxBackoff bound the pause between dials; 0 means package rpc's defaults.
	MinBackoff, MaxBackoff time.Duration
	// PingInterval and IdleTimeout watch the connections that this side opens; 0 means package rpc's defaults.
	PingInterval, IdleTimeout time.Duration
	Logger                    *slog.Logger
}

// Events are told what happens to the connections to other members. Any may be nil. They run on the connections' goroutines, never
// inside a call of Send or SetPeers, and must not block nor call SetPeers, SetIdentity or Close.
type Events struct {
	// Unreachable: messages to the member were dropped.
	Unreachable func(id raft.NodeID)
	// Connected: the control connection stands. Another nonce than before means that the process has started anew.
	Connected func(id raft.NodeID, reply HelloReply)
	// Lost: the control connection has ended; a redial follows at once.
	Lost func(id raft.NodeID, err error)
	// DialFailed: no control connection could be made. portClosed: the address answered that nothing listens there.
	DialFailed func(id raft.NodeID, portClosed bool, err error)
	// Refused: the member, or whoever has its address, refuses this one. It is told for each attempt.
	Refused func(id raft.NodeID, reason Reason, text string)
}

// Transport sends to and receives from the other members.
type Transport struct {
	cfg      Config
	server   *rpc.Server
	receiver receiver
	received atomic.Uint64
	rejected atomic.Uint64
	calls    rpc.Calls // over the connections that this side opens

	sentKinds, droppedKinds, receivedKinds kindCounters

	snapshotRate                            *rate.Limiter // nil: no bound
	resumeTimeout, resumeTotal, keepTimeout time.Duration

	mu       sync.RWMutex
	identity Identity
	peers    map[raft.NodeID]*peer
	outbound map[raft.NodeID]*outbound // snapshots that are being sent, by receiver
	closed   bool
	closing  sync.WaitGroup // peers that are being closed
}

// New makes a Transport and registers it on the server of the peer port.
func New(server *rpc.Server, cfg Config) (*Transport, error) {
	if cfg.Gate == nil || cfg.Receive == nil {
		return nil, errors.New("transport: Gate and Receive are needed")
	}
	if cfg.Nonce == 0 {
		cfg.Nonce = rand.Uint64() | 1
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	t := &Transport{
		cfg: cfg, server: server, identity: cfg.Identity, peers: map[raft.NodeID]*peer{}, outbound: map[raft.NodeID]*outbound{},
		resumeTimeout: SnapshotResumeTimeout, resumeTotal: SnapshotResumeTotal, keepTimeout: SnapshotKeepTimeout,
	}
	switch n := cfg.SnapshotBytesPerSecond; {
	case n >= MinSnapshotBytesPerSecond:
		t.snapshotRate = rate.NewLimiter(rate.Limit(n), SnapshotChunkBytes)
	case n != 0:
		return nil, fmt.Errorf("transport: a rate of %d bytes per second for snapshots is too low: 0 (no bound) or at least %d", n, MinSnapshotBytesPerSecond)
	}
	t.receiver.transport = t
	if err := rpc.Register(server, serviceRaft, raftService{Step: t.step}, rpc.Inline(), rpc.Authorize(MembersOnly)); err != nil {
		return nil, err
	}
	if err := t.receiver.register(server); err != nil {
		return nil, err
	}
	server.AcceptKind(Kind, t.accept)
	return t, nil
}

// Nonce is this process's.
func (t *Transport) Nonce() uint64 { return t.cfg.Nonce }

// SetIdentity says what this process speaks for from now on. When that changes all connections to other members start anew.
func (t *Transport) SetIdentity(id Identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.identity == id {
		return
	}
	t.identity = id
	for pid, p := range t.peers {
		delete(t.peers, pid)
		t.retire(p)
		if pid != id.ID {
			t.add(p.member)
		}
	}
}

// SetPeers says who the members are; this one is left out. Connections to members that are gone are closed, a changed address
// is dialed.
func (t *Transport) SetPeers(members []raft.Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	wanted := map[raft.NodeID]raft.Member{}
	for _, m := range members {
		if m.ID != t.identity.ID {
			wanted[m.ID] = m
		}
	}
	for id, p := range t.peers {
		m, keep := wanted[id]
		if keep && m.Incarnation == p.member.Incarnation {
			p.member = m
			p.setAddress(m.PeerAddress)
			continue
		}
		delete(t.peers, id)
		t.retire(p)
	}
	for id, m := range wanted {
		if t.peers[id] == nil {
			t.add(m)
		}
	}
}

func (t *Transport) add(m raft.Member) {
	p, err := newPeer(t, m, t.identity)
	if err != nil {
		// Only a service struct that does not fit can fail here, which every test would show.
		t.cfg.Logger.Error("cannot connect to a member", "peer", m.ID.String(), "error", err)
		return
	}
	t.peers[m.ID] = p
}

// retire ends a peer's sending at once and closes its connections in the background.
func (t *Transport) retire(p *peer) {
	p.cancel()
	t.closing.Go(p.close)
}

// Send queues messages to their receivers. It never blocks; see the package's promises. Messages are copied, their entries are shared and
// must not change. Messages to unknown members and MsgSnapshot (see SendSnapshot) are dropped.
func (t *Transport) Send(messages []raft.Message) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range messages {
		m := &messages[i]
		p := t.peers[m.To]
		switch {
		case p == nil || m.Type == raft.MsgSnapshot:
			t.rejected.Add(1)
		case m.Type == raft.MsgAppend:
			p.bulk.push(m)
		default:
			p.control.push(m)
		}
	}
}

// Caller gives a connection to a member for other services of its peer port; rpc.Bind takes it. It redials by itself. When the
// member's incarnation changes or it is removed, calls on it fail with rpc.CodeUnavailable and a new one must be asked for.
func (t *Transport) Caller(id raft.NodeID) (rpc.Caller, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p := t.peers[id]
	if p == nil {
		return nil, rpc.Errorf(rpc.CodeNotFound, "member %v is not known here", id)
	}
	return p.caller(), nil
}

// accept answers a connection of another member.
func (t *Transport) accept(md rpc.Metadata, remote net.Addr) (rpc.Metadata, error) {
	h, err := ParseHello(md)
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v", err)
	}
	reply, err := t.cfg.Gate.Accept(h)
	if err != nil {
		t.cfg.Logger.Info("member refused", "peer", h.From.String(), "incarnation", h.FromIncarnation.String(), "remote", remote.String(), "reason", rpc.ReasonOf(err), "error", err)
		return nil, err
	}
	if reply.Nonce == 0 {
		reply.Nonce = t.cfg.Nonce
	}
	if reply.FeatureMax == 0 {
		reply.FeatureMin, reply.FeatureMax = t.cfg.FeatureMin, t.cfg.FeatureMax
	}
	if h.Purpose == purposeControl {
		t.redial(h.From)
	}
	return reply.metadata(), nil
}

// redial ends the pause before the next dial to a member that has just shown that it lives.
func (t *Transport) redial(id raft.NodeID) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p := t.peers[id]; p != nil {
		p.redial()
	}
}

// Recheck asks the Gate again about every open connection from other members and ends those that it refuses now. Call it when the
// committed membership has changed.
func (t *Transport) Recheck() {
	verdicts := map[Hello]error{}
	refused := func(md rpc.Metadata) *rpc.Error {
		h, err := ParseHello(md)
		if err != nil {
			return nil
		}
		verdict, known := verdicts[h]
		if !known {
			_, verdict = t.cfg.Gate.Accept(h)
			verdicts[h] = verdict
		}
		var e *rpc.Error
		if verdict == nil {
			return nil
		}
		if !errors.As(verdict, &e) {
			e = rpc.Errorf(rpc.CodeInternal, "%v", verdict)
		}
		return e
	}
	t.server.DisconnectIf(refused)
}

// step takes a batch from another member.
func (t *Transport) step(ctx context.Context, b *batch) error {
	from, ok := FromContext(ctx)
	if !ok {
		return rpc.Errorf(rpc.CodeUnauthenticated, "not a connection between members")
	}
	for i := range b.messages {
		if b.messages[i].Type == raft.MsgSnapshot {
			// It says that a snapshot is staged here, which only the end of a stream can know.
			t.rejected.Add(uint64(len(b.messages)))
			return rpc.Errorf(rpc.CodeInvalid, "a snapshot message outside of a snapshot's stream")
		}
		if m := &b.messages[i]; m.From != from.From || m.To != from.To {
			t.rejected.Add(uint64(len(b.messages)))
			t.cfg.Logger.Warn("messages of a false sender or receiver dropped", "peer", from.From.String(), "from", m.From.String(), "to", m.To.String())
			return rpc.Errorf(rpc.CodeInvalid, "message from %v to %v on the connection from %v to %v", m.From, m.To, from.From, from.To)
		}
	}
	t.received.Add(uint64(len(b.messages)))
	t.receivedKinds.count(b.messages)
	t.cfg.Receive(b.messages)
	return nil
}

// Close ends all connections to other members. Connections from them belong to the rpc.Server.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	for id, p := range t.peers {
		delete(t.peers, id)
		t.retire(p)
	}
	t.mu.Unlock()
	t.closing.Wait()
	t.receiver.close()
	return nil
}
