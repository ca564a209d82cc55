package sockets

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/raftkv/raftkv/rpc/rpctest"
)

// network is the links between machines, numbered from 1. Each ordered pair has a leaky network for the connections that the first has
// dialed to the second.
type network struct {
	mu      sync.Mutex
	links   map[[2]int]*rpctest.Network
	numbers map[string]int  // by address
	blocked map[[2]int]bool // by orders of the story
	lost    map[[2]int]bool // has been blocked since it stands still: its connections do not survive that
	struck  map[[2]int]bool // by chance
	paused  map[int]time.Time
	stalled map[[2]int]bool // as the links were told
	moved   chan struct{}
	faults  rpctest.Faults
}

func newNetwork(seed uint64, size int) *network {
	n := &network{
		links: map[[2]int]*rpctest.Network{}, numbers: map[string]int{}, blocked: map[[2]int]bool{}, lost: map[[2]int]bool{}, struck: map[[2]int]bool{},
		paused: map[int]time.Time{}, stalled: map[[2]int]bool{}, moved: make(chan struct{}),
	}
	for from := 1; from <= size; from++ {
		for to := 1; to <= size; to++ {
			if from != to {
				seed++
				n.links[[2]int{from, to}] = rpctest.NewNetwork(seed)
			}
		}
	}
	return n
}

// dialer is what a machine dials by. A dial across a dead link waits, as that of a host that does not answer.
func (n *network) dialer(from int) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		n.mu.Lock()
		to := n.numbers[address]
		link := n.links[[2]int{from, to}]
		n.mu.Unlock()
		if link == nil { // a machine that asks itself
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		for {
			n.mu.Lock()
			dead, moved := n.stalled[[2]int{from, to}] || n.stalled[[2]int{to, from}], n.moved
			n.mu.Unlock()
			if !dead {
				return link.Dialer(nil)(ctx, network, address)
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// change alters what is blocked and tells the links.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	now := time.Now()
	for link := range n.links {
		n.lost[link] = n.lost[link] || n.blocked[link]
		dead := n.blocked[link] || n.struck[link] || n.paused[link[0]].After(now) || n.paused[link[1]].After(now)
		if dead == n.stalled[link] {
			continue
		}
		n.stalled[link] = dead
		back := [2]int{link[1], link[0]}
		if !dead && n.lost[link] {
			// What was under way is gone, as in the simulation, and as when a partition lasts for longer than TCP has patience.
			n.lost[link] = false
			n.links[link].Cut()
			n.links[back].Cut()
		}
		n.links[link].Stall(rpctest.Out, dead) // what the first says on connections that it has dialed
		n.links[back].Stall(rpctest.In, dead)  // and what it answers on those that it has accepted
	}
	close(n.moved)
	n.moved = make(chan struct{})
}

func (n *network) isBlocked(from, to int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stalled[[2]int{from, to}]
}

func (n *network) leak(f func(*rpctest.Faults)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.faults)
	for _, l := range n.links {
		l.Set(n.faults)
	}
}

// breakLinks cuts all connections between two machines.
func (n *network) breakLinks(a, b int) {
	n.links[[2]int{a, b}].Cut()
	n.links[[2]int{b, a}].Cut()
}
