package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/rpc"
)

const (
	metadataKind = wire.MetadataKind
	// shunTime is how long a node that did not answer is asked only if no other is left.
	shunTime = 500 * time.Millisecond
	// leaderGrace is how long the leader's connection is waited for while another node could be asked, which forwards to the leader.
	leaderGrace = 200 * time.Millisecond
)

// node is one node that the client may ask, by its address.
type node struct {
	address string
	conns   []*conn
	// member is the ID that it answered with last, zero if it has not.
	member atomic.Uint64
	// shunned is until when others are preferred, in nanoseconds of the client's clock.
	shunned atomic.Int64
	turn    atomic.Uint32
}

// conn is one connection to a node, with what waits for it.
type conn struct {
	node    *node
	peer    *rpc.Peer
	service *wire.Service
	// up is set while the peer is connected.
	up atomic.Bool

	writes, reads, stale lane
}

func (c *Client) newNode(address string) (*node, error) {
	n := &node{address: address}
	for range c.config.ConnectionsPerMember {
		cn := &conn{node: n, service: new(wire.Service)}
		cn.peer = rpc.NewPeer(rpc.PeerOptions{
			Address: address, Client: c.config.rpcOptions(), ConnectWait: c.config.DialTimeout,
			OnEvent: func(e rpc.PeerEvent) {
				cn.up.Store(e.State == rpc.PeerConnected)
				c.links.announce()
			},
		})
		n.conns = append(n.conns, cn)
		if err := rpc.Bind(cn.peer, wire.ServiceName, cn.service); err != nil {
			return nil, errors.Join(err, n.close())
		}
		cn.writes.init(c, cn, writes)
		cn.reads.init(c, cn, reads)
		cn.stale.init(c, cn, staleReads)
	}
	return n, nil
}

func (n *node) close() error {
	var all sync.WaitGroup
	for _, cn := range n.conns {
		all.Go(func() { _ = cn.peer.Close() })
	}
	all.Wait()
	return nil
}

// pick gives one of the node's connections, in turn.
func (n *node) pick() *conn {
	if len(n.conns) == 1 {
		return n.conns[0]
	}
	return n.conns[int(n.turn.Add(1))%len(n.conns)]
}

// connected tells whether a call would go out at once.
func (n *node) connected() bool {
	for _, cn := range n.conns {
		if cn.up.Load() {
			return true
		}
	}
	return false
}

// failed notes that the node did not answer.
func (c *Client) failed(n *node) { n.shunned.Store(int64(time.Since(c.began) + shunTime)) }

// heard notes what an answer tells of the cluster.
func (c *Client) heard(n *node, member, leader uint64) {
	if member != 0 && n.member.Load() != member {
		n.member.Store(member)
	}
	switch known := c.leader.Load(); {
	case leader != 0 && known != leader:
		c.leader.Store(leader)
		c.look()
	case leader == 0 && member != 0 && known == member:
		// It led and knows of no leader any more: cut off, perhaps, from others that have one.
		c.leader.CompareAndSwap(known, 0)
		c.look()
	}
}

// purpose is what a call is for, which decides who is asked.
type purpose int

const (
	writes purpose = iota
	reads          // linearizable
	staleReads
)

// route gives a node to ask: the leader, unless any will do or it is unknown or shunned, and otherwise one that is connected, in turn. The node that is to be
// avoided is given only if there is no other.
func (c *Client) route(p purpose, avoid *node) *node {
	nodes := *c.nodes.Load()
	now := int64(time.Since(c.began))
	if leader := c.leader.Load(); leader != 0 && p != staleReads {
		var leading *node // it may be known by several addresses
		for _, n := range nodes {
			if n == avoid || n.member.Load() != leader || n.shunned.Load() > now {
				continue
			}
			if n.connected() {
				return n
			}
			if leading == nil {
				leading = n
			}
		}
		if leading != nil {
			return leading
		}
	}
	start := int(c.turn.Add(1) % uint64(len(nodes)))
	var fallback *node
	for i := range nodes {
		n := nodes[(start+i)%len(nodes)]
		if n == avoid && len(nodes) > 1 {
			continue
		}
		good := n.shunned.Load() <= now
		switch {
		case good && n.connected():
			return n
		case fallback == nil || good && fallback.shunned.Load() > now:
			fallback = n
		}
	}
	return fallback
}

// links tells of connections that are made and lost.
type links struct {
	mu sync.Mutex
	// moved is closed at the next change; nil while nobody waits for one.
	moved chan struct{}
}

func (l *links) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

func (l *links) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved == nil {
		l.moved = make(chan struct{})
	}
	return l.moved
}

// choose is route, and does not give a node whose connection hangs while another's does not: all of them are being connected to at the same time,
// and the first one is taken. Only the leader is waited for a little longer.
func (c *Client) choose(ctx context.Context, p purpose, avoid *node) *node {
	n := c.route(p, avoid)
	if n.connected() || len(*c.nodes.Load()) == 1 {
		return n
	}
	limit, grace := time.NewTimer(c.config.DialTimeout), time.NewTimer(leaderGrace)
	defer limit.Stop()
	defer grace.Stop()
	patient := true
	for {
		moved := c.links.next() // before it is looked, or a change in between would be missed
		n = c.route(p, avoid)
		if n.connected() || n.refuses() {
			return n
		}
		if leads := n.member.Load() != 0 && n.member.Load() == c.leader.Load(); !leads || !patient {
			if other := c.firstConnected(avoid, !patient); other != nil {
				return other
			}
		}
		select {
		case <-moved:
		case <-grace.C:
			patient = false
		case <-limit.C:
			return n
		case <-ctx.Done():
			return n
		case <-c.ctx.Done():
			return n
		}
	}
}

// firstConnected gives a connected node, nil if there is none.
func (c *Client) firstConnected(avoid *node, shunnedToo bool) *node {
	now := int64(time.Since(c.began))
	for _, n := range *c.nodes.Load() {
		if n != avoid && n.connected() && (shunnedToo || n.shunned.Load() <= now) {
			return n
		}
	}
	return nil
}

// refuses tells that the node has answered, and does not want the connection: there is nothing to wait for.
func (n *node) refuses() bool {
	state, _ := n.conns[0].peer.State()
	return state == rpc.PeerRefused
}

// attemptError is what is known when a call to a node has failed.
type attemptError struct {
	// surelyNot says that it was surely not carried out.
	surelyNot bool
	// cutOff is how many calls went together, if their time ended while bytes came: zero if it was another failure.
	cutOff int
	err    error
}

// attemptFailed classifies the error of a call.
func attemptFailed(err error) *attemptError {
	return &attemptError{surelyNot: rpc.NotSent(err), err: err}
}

// attempt bounds a call on one node.
func (c *Client) attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.config.AttemptTimeout)
}
