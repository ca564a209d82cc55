package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// DefaultMinBackoff and DefaultMaxBackoff bound the pause between two dials of a Peer. The first dial after a lost connection is
	// made at once.
	DefaultMinBackoff = 50 * time.Millisecond
	DefaultMaxBackoff = time.Second
	// DefaultConnectWait is how long a call on a Peer waits for a connection when its context has no earlier deadline.
	DefaultConnectWait = 5 * time.Second
	// maxRetired bounds the connections of a Peer that were told to go away and still wait for answers.
	maxRetired = 4
)

// PeerState is what a Peer's connection is doing.
type PeerState int

// The states of a Peer.
const (
	PeerConnecting  PeerState = iota // not connected yet, or again
	PeerConnected                    // calls go out
	PeerUnreachable                  // the last dial failed, or the connection was lost
	PeerRefused                      // the server answered and refused this side; dialing goes on, slowly
	PeerClosed                       // closed by this side
)

// String names the state.
func (s PeerState) String() string {
	return [...]string{"connecting", "connected", "unreachable", "refused", "closed"}[s]
}

// PeerEvent is a change of a Peer's connection.
type PeerEvent struct {
	State PeerState
	// Err says why, for PeerUnreachable and PeerRefused.
	Err error
	// Lost is true when an established connection has ended, false when a dial failed.
	Lost bool
	// Client is the connection, for PeerConnected.
	Client *Client
	dialed string // its address
}

// PeerOptions tune a Peer; Address is needed.
type PeerOptions struct {
	Address string // host:port; the host is resolved at each dial
	// Client has the options of each connection. Metadata is used unless it is nil.
	Client   ClientOptions
	Metadata func() Metadata // asked at each dial; nil means Client.Metadata
	// OnEvent is told of each change, in order, on the goroutine that dials: it must not block nor call Close.
	OnEvent     func(PeerEvent)
	MinBackoff  time.Duration // 0 means DefaultMinBackoff
	MaxBackoff  time.Duration // 0 means DefaultMaxBackoff
	ConnectWait time.Duration // 0 means DefaultConnectWait
}

// Peer keeps a connection to one address: when it is lost or cannot be made it dials again, with bounded backoff and jitter. Stubs
// bound to a Peer use whatever connection there is; a call waits for one, a one-way message does not.
type Peer struct {
	opts   PeerOptions
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // capacity 1: dial now

	mu      sync.Mutex
	address string
	client  *Client
	state   PeerState
	lastErr error
	changed chan struct{} // closed and replaced at each change
}

// NewPeer starts to connect.
func NewPeer(opts PeerOptions) *Peer {
	opts.MinBackoff = orDefault(opts.MinBackoff, DefaultMinBackoff)
	opts.MaxBackoff = max(orDefault(opts.MaxBackoff, DefaultMaxBackoff), opts.MinBackoff)
	opts.ConnectWait = orDefault(opts.ConnectWait, DefaultConnectWait)
	p := &Peer{opts: opts, address: opts.Address, done: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.run()
	return p
}

// Close ends the connection and the dialing, and waits for both.
func (p *Peer) Close() error {
	p.cancel()
	<-p.done
	return nil
}

// Client gives the current connection, nil if there is none.
func (p *Peer) Client() *Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client
}

// State gives the state and, when it is PeerUnreachable or PeerRefused, why.
func (p *Peer) State() (PeerState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.lastErr
}

// Address is where the next dial goes.
func (p *Peer) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// SetAddress changes where the peer is; a connection to another address is given up.
func (p *Peer) SetAddress(address string) {
	p.mu.Lock()
	changed := p.address != address
	p.address = address
	client := p.client
	p.mu.Unlock()
	if !changed {
		return
	}
	if client != nil {
		client.fail(&Error{Code: CodeUnavailable, Message: "the peer has moved to " + address})
	}
	p.Redial()
}

// Redial ends a pause between dials: something suggests that the peer is there again.
func (p *Peer) Redial() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Peer) run() {
	defer close(p.done)
	retired := map[*Client]struct{}{} // told to go away, still answering
	defer func() {
		closeAll(retired)
		p.set(PeerEvent{State: PeerClosed})
	}()
	for failures := 0; p.ctx.Err() == nil; {
		event := p.dial()
		if p.ctx.Err() != nil {
			if event.Client != nil {
				_ = event.Client.Close()
			}
			return
		}
		if !p.set(event) {
			_ = event.Client.Close()
			continue
		}
		if event.State != PeerConnected {
			failures++
			p.pause(p.backoff(failures, event.State))
			continue
		}
		c := event.Client
		connected := time.Now()
		select {
		case <-c.done:
			_ = c.Close() // waits for its goroutines
		case <-c.goAway:
			// Calls in flight are still answered; the server ends the connection.
			if len(retired) >= maxRetired {
				closeAll(retired)
			}
			retired[c] = struct{}{}
		case <-p.ctx.Done():
			_ = c.Close()
			return
		}
		for old := range retired {
			select {
			case <-old.done:
				_ = old.Close()
				delete(retired, old)
			default:
			}
		}
		p.set(PeerEvent{State: stateFor(c.Err()), Err: c.Err(), Lost: true})
		if time.Since(connected) >= p.opts.MinBackoff {
			failures = 0
			continue
		}
		failures++ // accepted and dropped at once: as if it had not been accepted
		p.pause(p.backoff(failures, PeerUnreachable))
	}
}

func closeAll(clients map[*Client]struct{}) {
	for c := range clients {
		_ = c.Close()
	}
	clear(clients)
}

func (p *Peer) dial() PeerEvent {
	opts := p.opts.Client
	if p.opts.Metadata != nil {
		opts.Metadata = p.opts.Metadata()
	}
	address := p.Address()
	c, err := Dial(p.ctx, address, opts)
	if err != nil {
		return PeerEvent{State: stateFor(err), Err: err}
	}
	return PeerEvent{State: PeerConnected, Client: c, dialed: address}
}

// stateFor tells a server that said no from one that could not be reached.
func stateFor(err error) PeerState {
	switch CodeOf(err) {
	case CodeUnavailable, CodeExhausted, CodeCanceled, CodeDeadline:
		return PeerUnreachable
	}
	return PeerRefused
}

// backoff doubles from MinBackoff to MaxBackoff, less up to a half at random so that many peers do not dial in step.
func (p *Peer) backoff(failures int, state PeerState) time.Duration {
	d := p.opts.MaxBackoff
	if shift := failures - 1; shift < 16 && state != PeerRefused {
		d = min(p.opts.MinBackoff<<shift, d)
	}
	return d - rand.N(d/2+1)
}

func (p *Peer) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.wake:
	case <-p.ctx.Done():
	}
}

// set makes a change known, unless it is a connection to where the peer was when it was dialed and is not any more.
func (p *Peer) set(e PeerEvent) bool {
	p.mu.Lock()
	if e.Client != nil && e.dialed != p.address {
		p.mu.Unlock()
		return false
	}
	p.state, p.lastErr, p.client = e.State, e.Err, e.Client
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if p.opts.OnEvent != nil {
		p.opts.OnEvent(e)
	}
	return true
}

// connection waits for a connection, up to the context's end or ConnectWait; with failFast it does not wait.
func (p *Peer) connection(ctx context.Context, failFast bool) (*Client, error) {
	var timeout <-chan time.Time
	for {
		p.mu.Lock()
		client, state, lastErr, changed, address := p.client, p.state, p.lastErr, p.changed, p.address
		p.mu.Unlock()
		switch {
		case client != nil && client.Err() == nil:
			return client, nil
		case state == PeerClosed || p.ctx.Err() != nil:
			return nil, notSentError(Errorf(CodeUnavailable, "the connection to %s was closed by this side", address))
		case state == PeerRefused:
			return nil, notSentError(lastErr)
		case failFast:
			return nil, p.notConnected(address, lastErr)
		}
		if timeout == nil {
			timer := time.NewTimer(p.opts.ConnectWait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-p.done:
		case <-timeout:
			return nil, p.notConnected(address, lastErr)
		case <-ctx.Done():
			err := contextError(ctx, "while waiting for a connection to "+address, true)
			if lastErr != nil {
				err.Message += ": " + lastErr.Error()
			}
			return nil, err
		}
	}
}

func (p *Peer) notConnected(address string, lastErr error) error {
	if lastErr == nil {
		lastErr = errors.New("still dialing")
	}
	return &Error{Code: CodeUnavailable, Message: "not connected to " + address + ": " + lastErr.Error(), notSent: true, cause: lastErr}
}

// Connected waits until there is a connection and gives it.
func (p *Peer) Connected(ctx context.Context) (*Client, error) { return p.connection(ctx, false) }

// check lets a Bind on a Peer pass: each connection is asked when it is first used.
func (p *Peer) check(context.Context, *binding) error { return nil }
