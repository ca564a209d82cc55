package client

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/client/wire"
)

const (
	// lookInterval is how often the members are asked for, lookPause the least time between two such questions.
	lookInterval = 10 * time.Second
	lookPause    = 200 * time.Millisecond
	// maxNodes bounds the nodes that the client keeps connections to.
	maxNodes = 64
)

// Client is a connection to a cluster. Make one with Open.
type Client struct {
	config   Config
	began    time.Time
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	sessions *sessions
	watches  *watchHub

	// nodes are replaced as a whole, by the goroutine that looks for members.
	nodes  atomic.Pointer[[]*node]
	links  links
	leader atomic.Uint64
	turn   atomic.Uint64
	// looking has a place for one word: the members are to be asked for.
	looking chan struct{}
	// calls are spent ones. Each client has its own: shared channels would tie clients together under testing/synctest.
	calls sync.Pool

	running sync.WaitGroup
	closing sync.Once
	// mu guards closed, which says that running takes nobody in any more.
	mu     sync.Mutex
	closed bool
}

// Open makes a client. It does not wait for the cluster, so that its only errors are those of the configuration: the first call connects. Close ends it.
func Open(config Config) (*Client, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{config: config, began: time.Now(), sessions: newSessions(), looking: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	var nodes []*node
	for _, address := range config.Endpoints {
		if slices.ContainsFunc(nodes, func(n *node) bool { return n.address == address }) {
			continue
		}
		n, err := c.newNode(address)
		if err != nil {
			c.cancel()
			return nil, err
		}
		nodes = append(nodes, n)
	}
	c.nodes.Store(&nodes)
	c.watches = newWatchHub(c)
	c.running.Go(c.watches.run)
	c.running.Go(c.lookOut)
	return c, nil
}

// Close ends all calls, watches and keep-alives, and the connections. What a call was about may still be carried out.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.cancel()
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.running.Wait()
		for _, n := range *c.nodes.Load() {
			_ = n.close() // nothing is to be done about it
		}
	})
	return nil
}

// spawn runs f in a goroutine that Close waits for; false: the client is closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Go(f)
	}
	return !c.closed
}

// Endpoints are the addresses of the nodes that the client knows at present.
func (c *Client) Endpoints() []string {
	var out []string
	for _, n := range *c.nodes.Load() {
		out = append(out, n.address)
	}
	return out
}

// look has the members asked for soon.
func (c *Client) look() {
	select {
	case c.looking <- struct{}{}:
	default:
	}
}

// lookOut keeps the nodes in step with the membership.
func (c *Client) lookOut() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.looking:
		case <-timer.C:
		}
		wait := lookInterval
		if !c.lookOnce() {
			wait = lookPause * 5
		}
		// Not at once again: each change of leader is noticed by many calls.
		select {
		case <-c.ctx.Done():
			return
		case <-time.After(lookPause):
		}
		timer.Reset(wait)
	}
}

// lookOnce asks some node for the membership, and tells whether it answered.
func (c *Client) lookOnce() bool {
	n := c.choose(c.ctx, staleReads, nil)
	ctx, cancel := c.attempt(c.ctx)
	defer cancel()
	reply, err := n.pick().service.Members(ctx, &wire.MembersRequest{})
	if err != nil || reply.Status != wire.StatusOK {
		if c.ctx.Err() == nil {
			c.failed(n)
			c.config.Logger.Debug("the members could not be asked for", "endpoint", n.address, "error", err)
		}
		return false
	}
	c.heard(n, reply.Self, reply.Leader)
	if !c.config.StaticEndpoints {
		c.adopt(reply.Members)
	}
	return true
}

// at is a member's address, empty if it is not known.
func (c *Client) at(m wire.Member) string {
	address, err := c.config.parseEndpoint(m.ClientAddress)
	if err != nil {
		return ""
	}
	return address
}

// adopt connects to members that are new, and leaves addresses that are neither a member's nor configured.
func (c *Client) adopt(members []wire.Member) {
	old := *c.nodes.Load()
	var next []*node
	var gone []*node
	for _, n := range old {
		if slices.Contains(c.config.Endpoints, n.address) || slices.ContainsFunc(members, func(m wire.Member) bool { return c.at(m) == n.address }) {
			next = append(next, n)
		} else {
			gone = append(gone, n)
		}
	}
	for _, m := range members {
		address := c.at(m)
		if address == "" || len(next) >= maxNodes || slices.ContainsFunc(next, func(n *node) bool { return n.address == address || n.member.Load() == m.ID && n.connected() }) {
			continue // it is there, perhaps by another name
		}
		for _, n := range next {
			n.member.CompareAndSwap(m.ID, 0) // it was there, and is not any more
		}
		n, err := c.newNode(address)
		if err != nil {
			c.config.Logger.Warn("a member cannot be connected to", "endpoint", address, "error", err)
			continue
		}
		n.member.Store(m.ID)
		next = append(next, n)
	}
	if len(next) == 0 {
		return
	}
	c.nodes.Store(&next)
	for _, n := range gone {
		_ = n.close() // calls on it go on elsewhere
	}
}
