package server

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/raftkv/raftkv/test/loopback"
)

// relay stands before a member's peer port. It hears what is said, and can break all connections.
type relay struct {
	address, target string
	listener        net.Listener

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	heard bytes.Buffer
	ended bool
	// passing are the goroutines.
	passing sync.WaitGroup
}

// newRelay is to be made before the node that it leads to: it ends after that, so that a node which stops is heard by the others until it has.
func newRelay(t *testing.T) *relay {
	t.Helper()
	r := &relay{address: loopback.MustAddress(t), conns: map[net.Conn]struct{}{}}
	var err error
	if r.listener, err = net.Listen("tcp", r.address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	return r
}

// leadTo begins to pass connections.
func (r *relay) leadTo(target string) {
	r.target = target
	r.passing.Go(r.serve)
}

func (r *relay) serve() {
	for {
		outside, err := r.listener.Accept()
		if err != nil {
			return
		}
		inside, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = outside.Close()
			continue
		}
		if !r.keep(outside, inside) {
			return
		}
		r.passing.Go(func() { r.pass(outside, inside) })
		r.passing.Go(func() { r.pass(inside, outside) })
	}
}

// keep notes connections that can be broken; false means that the relay has ended.
func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.ended {
			_ = c.Close()
			continue
		}
		r.conns[c] = struct{}{}
	}
	return !r.ended
}

func (r *relay) pass(to, from net.Conn) {
	_, _ = io.Copy(to, io.TeeReader(from, r))
	_ = to.Close()
	_ = from.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, from)
}

// Write hears.
func (r *relay) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard.Write(b)
}

// hears tells whether words were said, in either direction.
func (r *relay) hears(words string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.heard.Bytes(), []byte(words))
}

// cut breaks all connections. New ones are passed.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
}

func (r *relay) end() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.cut()
	r.passing.Wait()
}
