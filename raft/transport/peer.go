package transport

import (
	"context"
	"errors"
	"sync"
	"syscall"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
)

// What a connection between members is for.
const (
	purposeControl  = "control"
	purposeBulk     = "bulk"
	purposeService  = "service"
	purposeSnapshot = "snapshot"
)

// peer is one other member: its connections and their queues.
type peer struct {
	transport *Transport
	id        raft.NodeID
	member    raft.Member // id and incarnation of it never change; guarded by Transport.mu
	base      Hello       // without the purpose
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup // lanes and snapshots

	control, bulk *lane
	counters      counters

	mu       sync.Mutex
	address  string
	services *rpc.Peer // nil until Caller is first used
}

func newPeer(t *Transport, m raft.Member, identity Identity) (*peer, error) {
	p := &peer{transport: t, id: m.ID, member: m, address: m.PeerAddress}
	p.base = Hello{
		Cluster: identity.Cluster, From: identity.ID, FromIncarnation: identity.Incarnation, To: m.ID, ToIncarnation: m.Incarnation,
		Nonce: t.cfg.Nonce, FeatureMin: t.cfg.FeatureMin, FeatureMax: t.cfg.FeatureMax,
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	overflow := make(chan struct{}, 1)
	var err error
	// The control connection's events use bulk.
	p.bulk, err = newLane(t, BulkQueueMessages, BulkQueueBytes, p.connect(purposeBulk, nil), &p.counters, p.sendFailed, overflow)
	if err != nil {
		return nil, err
	}
	p.control, err = newLane(t, ControlQueueMessages, ControlQueueBytes, p.connect(purposeControl, p.controlEvent), &p.counters, p.sendFailed, overflow)
	if err != nil {
		return nil, err
	}
	p.running.Go(func() { p.control.run(p.ctx) })
	p.running.Go(func() { p.bulk.run(p.ctx) })
	p.running.Go(func() { p.reportOverflow(overflow) })
	return p, nil
}

func (p *peer) clientOptions(purpose string) rpc.ClientOptions {
	cfg, hello := &p.transport.cfg, p.base
	hello.Purpose = purpose
	return rpc.ClientOptions{
		Metadata: hello.metadata(), Dial: cfg.Dial, MaxFrameBytes: cfg.MaxFrameBytes,
		PingInterval: cfg.PingInterval, IdleTimeout: cfg.IdleTimeout, Calls: &p.transport.calls,
	}
}

func (p *peer) connect(purpose string, onEvent func(rpc.PeerEvent)) *rpc.Peer {
	cfg := &p.transport.cfg
	return rpc.NewPeer(rpc.PeerOptions{
		Address: p.address, Client: p.clientOptions(purpose), OnEvent: onEvent,
		MinBackoff: cfg.MinBackoff, MaxBackoff: cfg.MaxBackoff,
	})
}

// controlEvent tells the node what happens to the control connection, which stands for the member.
func (p *peer) controlEvent(e rpc.PeerEvent) {
	id, events, log := p.id, &p.transport.cfg.Events, p.transport.cfg.Logger
	switch e.State {
	case rpc.PeerConnected:
		p.bulk.peer.Redial()
		reply, err := parseReply(e.Client.Metadata())
		if err != nil {
			log.Warn("member connected, but its answer is malformed", "peer", id.String(), "error", err)
			return
		}
		p.counters.connects.Add(1)
		log.Info("member connected", "peer", id.String(), "remote", e.Client.RemoteAddr().String())
		if events.Connected != nil {
			events.Connected(id, reply)
		}
	case rpc.PeerRefused:
		p.refused(Reason(rpc.ReasonOf(e.Err)), messageOf(e.Err))
	case rpc.PeerUnreachable:
		switch {
		case e.Lost:
			log.Info("connection to member lost", "peer", id.String(), "error", e.Err)
			if events.Lost != nil {
				events.Lost(id, e.Err)
			}
		case events.DialFailed != nil:
			events.DialFailed(id, errors.Is(e.Err, syscall.ECONNREFUSED), e.Err)
		}
	}
}

func messageOf(err error) string {
	var e *rpc.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

func (p *peer) refused(reason Reason, text string) {
	p.counters.refusals.Add(1)
	p.transport.cfg.Logger.Warn("member refuses us", "peer", p.id.String(), "reason", string(reason), "text", text)
	if refused := p.transport.cfg.Events.Refused; refused != nil {
		refused(p.id, reason, text)
	}
}

// reportOverflow tells of full queues. It has a goroutine of its own, since a queue is full when its goroutine is stuck.
func (p *peer) reportOverflow(overflow <-chan struct{}) {
	for {
		select {
		case <-overflow:
			p.sendFailed(nil)
		case <-p.ctx.Done():
			return
		}
	}
}

// sendFailed is told that messages were dropped; err is nil when a queue was full.
func (p *peer) sendFailed(err error) {
	// The handshake went well, but the other side's messages are of another format.
	if reason := rpc.ReasonOf(err); reason == rpc.ReasonTypes || reason == rpc.ReasonVersion {
		p.refused(ReasonIncompatible, messageOf(err))
	}
	if unreachable := p.transport.cfg.Events.Unreachable; unreachable != nil {
		unreachable(p.id)
	}
}

func (p *peer) setAddress(address string) {
	p.mu.Lock()
	p.address = address
	services := p.services
	p.mu.Unlock()
	p.control.peer.SetAddress(address)
	p.bulk.peer.SetAddress(address)
	if services != nil {
		services.SetAddress(address)
	}
}

func (p *peer) redial() {
	p.control.peer.Redial()
	p.bulk.peer.Redial()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.services != nil {
		p.services.Redial()
	}
}

func (p *peer) caller() rpc.Caller {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.services == nil {
		p.services = p.connect(purposeService, nil)
	}
	return p.services
}

// close follows p.cancel.
func (p *peer) close() {
	_ = p.control.peer.Close() // these return no errors
	_ = p.bulk.peer.Close()
	p.mu.Lock()
	services := p.services
	p.mu.Unlock()
	if services != nil {
		_ = services.Close()
	}
	p.running.Wait()
}
