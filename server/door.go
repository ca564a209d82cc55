package server

import (
	"net"
	"time"
)

// doorPatience is for how long a member that knows no leader turns gRPC clients away. After that it tells them so itself: others may be in
// no better state.
const doorPatience = 5 * time.Second

// door turns connections away until the node serves. A gRPC client balances its calls over all members that it is connected to, so one
// that only just starts must not be among them: it would refuse what another member does at once. Etcd opens its port as late.
type door struct {
	net.Listener
	open func() bool
}

func (d door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil || d.open() {
			return c, err
		}
		_ = c.Close() // it knows what that means without our saying it
	}
}

// serves tells whether the node has ever been ready, or has waited long enough for that.
func (n *node) serves() bool {
	if !n.open.Load() {
		n.publish() // it may have become ready a moment ago
	}
	return n.open.Load()
}

// openLate opens the door of a member that does not become ready. The caller stops the timer when the member has ended.
func (n *node) openLate() *time.Timer {
	return time.AfterFunc(doorPatience, func() { n.open.Store(true) })
}
