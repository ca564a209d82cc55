package node

import "time"

// Ticker is a source of ticks.
type Ticker interface {
	C() <-chan time.Time
	Stop()
}

// Clock is the node's only source of time.
type Clock interface {
	Now() time.Time
	// Elapsed is the time since some moment before the node's start. It never goes back, and goes on while the machine sleeps: leases
	// rest on it.
	Elapsed() time.Duration
	NewTicker(time.Duration) Ticker
}

type machineClock struct{}

func (machineClock) Now() time.Time { return time.Now() }

func (machineClock) NewTicker(d time.Duration) Ticker { return machineTicker{time.NewTicker(d)} }

type machineTicker struct{ *time.Ticker }

func (t machineTicker) C() <-chan time.Time { return t.Ticker.C }

// advance tells the core how much time has passed. It comes after the news, so that a process that stood still hears what
// waits for it before its timers fire; with lease reads each turn needs it, since a lease counts from the moment at which the clock is read.
func (n *Node) advance(ticked bool) {
	if !ticked && !n.cfg.LeaseReads {
		return
	}
	due := int64((n.cfg.Clock.Elapsed() - n.origin) / n.tickLength)
	n.core.Advance(int(due - n.ticks))
	n.ticks = due
}
