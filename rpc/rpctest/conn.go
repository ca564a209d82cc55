package rpctest

import (
	"net"
	"os"
	"sync"
	"time"
)

// queueChunks bounds the chunks on their way; past it Write blocks.
const queueChunks = 256

// Conn is a connection in a Network.
type Conn struct {
	net.Conn
	network *Network

	closeOnce sync.Once
	closed    chan struct{}
	queued    chan chunk

	mu            sync.Mutex
	stall         [2]bool
	readDeadline  time.Time
	deadlineMoved chan struct{}
}

type chunk struct {
	due  time.Time
	data []byte
	sent chan struct{} // set on a barrier instead of data
}

// Stall holds back one direction of this connection alone; lift it with Network.Stall(d, false) after Stall(d, false).
func (c *Conn) Stall(d Direction, on bool) {
	c.mu.Lock()
	c.stall[d] = on
	c.mu.Unlock()
	stalled, _ := c.network.stalled(d)
	c.network.Stall(d, stalled) // wakes those who wait
}

func (c *Conn) stalled(d Direction) (bool, <-chan struct{}) {
	all, moved := c.network.stalled(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	return all || c.stall[d], moved
}

// Write queues the bytes as one chunk.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	delay, cut, flipBit := c.network.fate(len(p))
	if cut {
		_ = c.Close() // as a broken network would
		return 0, net.ErrClosed
	}
	data := append([]byte(nil), p...)
	if flipBit >= 0 {
		data[flipBit/8] ^= 1 << (flipBit % 8)
	}
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	select {
	case c.queued <- chunk{due: time.Now().Add(delay), data: data}:
		return len(p), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

// pump writes chunks when they are due, in order.
func (c *Conn) pump() {
	for {
		select {
		case <-c.closed:
			return
		case next := <-c.queued:
			if !c.waitUntil(next.due) || !c.waitOut() {
				return
			}
			if next.sent != nil {
				close(next.sent)
				continue
			}
			if _, err := c.Conn.Write(next.data); err != nil {
				_ = c.Close() // Write's callers see that
				return
			}
		}
	}
}

func (c *Conn) waitUntil(due time.Time) bool {
	d := time.Until(due)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.closed:
		return false
	}
}

func (c *Conn) waitOut() bool {
	for {
		stalled, moved := c.stalled(Out)
		if !stalled {
			return true
		}
		select {
		case <-moved:
		case <-c.closed:
			return false
		}
	}
}

// Read waits while the way in is stalled, then reads. Bytes that arrive during a stall are not lost.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for {
		stalled, moved := c.stalled(In)
		if !stalled || err != nil {
			return n, err
		}
		c.mu.Lock()
		deadline, deadlineMoved := c.readDeadline, c.deadlineMoved
		c.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-moved:
		case <-deadlineMoved:
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
}

// SetDeadline bounds reads, stalled ones too; writes are queued and never late.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline bounds reads, stalled ones too.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.readDeadline = t
	close(c.deadlineMoved)
	c.deadlineMoved = make(chan struct{})
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

// CloseWrite closes the way out once all chunks were written.
func (c *Conn) CloseWrite() error {
	sent := make(chan struct{})
	select {
	case c.queued <- chunk{due: time.Now(), sent: sent}:
	case <-c.closed:
		return net.ErrClosed
	}
	select {
	case <-sent:
	case <-c.closed:
		return net.ErrClosed
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// Close drops what is queued and closes the connection.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.closeOnce.Do(func() {
		close(c.closed)
		c.network.forget(c)
		err = c.Conn.Close()
	})
	return err
}
