package rpctest

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Faults is what happens to each chunk that is written.
type Faults struct {
	DelayMin, DelayMax time.Duration // each chunk arrives that much later, in order
	CutChance          float64       // the chunk is lost and the connection with it
	FlipChance         float64       // one bit of the chunk is inverted
}

// Network wraps connections and injects faults into them. It is safe for concurrent use.
type Network struct {
	mu     sync.Mutex
	rand   *rand.Rand
	faults Faults
	stall  [2]bool
	conns  map[*Conn]struct{}
	moved  chan struct{} // closed and replaced when stalls change
}

// Direction is seen from the side that holds the wrapped connection.
type Direction int

// The directions that can be stalled.
const (
	Out Direction = iota
	In
)

// NewNetwork makes a network without faults.
func NewNetwork(seed uint64) *Network {
	return &Network{rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)), conns: map[*Conn]struct{}{}, moved: make(chan struct{})}
}

// Set changes the faults of all connections from now on.
func (n *Network) Set(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// Stall holds back all bytes of a direction until it is called with false: a black hole one way, seen from above TCP.
func (n *Network) Stall(d Direction, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stall[d] = on
	close(n.moved)
	n.moved = make(chan struct{})
}

// Cut closes all connections of the network.
func (n *Network) Cut() {
	for _, c := range n.Conns() {
		_ = c.Close() // as a broken network would
	}
}

// Conns gives the open connections.
func (n *Network) Conns() []*Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*Conn, 0, len(n.conns))
	for c := range n.conns {
		all = append(all, c)
	}
	return all
}

// Dialer wraps what dial opens; nil means TCP.
func (n *Network) Dialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return n.Wrap(c), nil
	}
}

// Wrap puts a connection into the network.
func (n *Network) Wrap(conn net.Conn) *Conn {
	c := &Conn{Conn: conn, network: n, closed: make(chan struct{}), queued: make(chan chunk, queueChunks), deadlineMoved: make(chan struct{})}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	go c.pump()
	return c
}

func (n *Network) forget(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// fate draws what happens to a chunk of n bytes.
func (n *Network) fate(size int) (delay time.Duration, cut bool, flipBit int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.faults
	delay = f.DelayMin
	if f.DelayMax > f.DelayMin {
		delay += time.Duration(n.rand.Int64N(int64(f.DelayMax - f.DelayMin)))
	}
	flipBit = -1
	if f.FlipChance > 0 && n.rand.Float64() < f.FlipChance {
		flipBit = n.rand.IntN(size * 8)
	}
	return delay, f.CutChance > 0 && n.rand.Float64() < f.CutChance, flipBit
}

func (n *Network) stalled(d Direction) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stall[d], n.moved
}
