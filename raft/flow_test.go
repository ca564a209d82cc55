package raft

import (
	"testing"

	"github.com/raftkv/raftkv/raft/tracker"
)

// TestASlowFollowerCostsTheLeaderAWindow lets one follower receive and never answer.
func TestASlowFollowerCostsTheLeaderAWindow(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"messages": func(cfg *Config) { cfg.MaxInflightMessages = 5 },
		"bytes":    func(cfg *Config) { cfg.MaxInflightBytes = 5000 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPumpOf(t, 3, limit)
			l := p.elect(1)
			p.tick(2)
			p.hold[3] = true
			appends := 0
			p.cut = func(m Message) bool {
				if m.Type == MsgAppend && m.To == 3 && len(m.Entries) > 0 {
					appends++
				}
				return false
			}
			for range 200 {
				p.propose(l, string(make([]byte, 1000)))
				p.settle()
			}
			if appends > 6 {
				t.Fatalf("%d messages are on their way to a follower that answers none", appends)
			}
			s := l.Status()
			f := s.Progress[3]
			if s.Commit != s.Last.Index || f.InflightMessages > 6 || f.InflightBytes > 7000 {
				t.Fatalf("committed %d of %d; in flight %d messages of %d bytes", s.Commit, s.Last.Index, f.InflightMessages, f.InflightBytes)
			}
			if f.LagEntries != 200 || f.LagBytes != l.log.size(s.Last.Index-199, s.Last.Index) || f.CaughtUp != (f.LagEntries <= PromoteLagEntries) {
				t.Fatalf("lag: %+v", f)
			}
			p.hold[3] = false
			p.release(3)
			p.tick(4)
			if f := l.Status().Progress[3]; f.LagEntries != 0 || f.LagBytes != 0 || f.InflightBytes != 0 {
				t.Fatalf("after its disk came back: %+v", f)
			}
		})
	}
}

// TestLostAppendsAreSentAgainWithoutAStorm drops what is on its way to a follower, once, for a while, and for ever.
func TestLostAppendsAreSentAgainWithoutAStorm(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.tick(2)
	p.cut = func(m Message) bool { return m.Type == MsgAppend && m.To == 3 }
	for range 100 {
		p.propose(l, "x")
		p.settle()
	}
	toThree := 0
	p.cut = func(m Message) bool {
		lost := m.Type == MsgAppend && m.To == 3
		if lost {
			toThree++
		}
		return lost
	}
	const ticks = 40
	p.tick(ticks)
	if heartbeats := ticks / l.cfg.HeartbeatTicks; toThree > heartbeats+1 {
		t.Fatalf("%d messages in %d heartbeats to a follower that gets none", toThree, heartbeats)
	}
	p.cut = nil
	p.tick(3 * l.cfg.HeartbeatTicks)
	if f := l.Status().Progress[3]; f.LagEntries != 0 || f.State != tracker.Replicate.String() {
		t.Fatalf("three heartbeats after the loss ended: %+v", f)
	}
}

// TestTicksCostNothingThatGrowsWithLoad fills every queue that a tick could walk, and counts what a tick allocates and sends.
func TestTicksCostNothingThatGrowsWithLoad(t *testing.T) {
	p := newPump(t, 3)
	l := p.elect(1)
	p.tick(2)
	p.cut = func(m Message) bool { return m.Type == MsgAppendResponse || m.Type == MsgHeartbeatResponse }
	for range 5000 {
		p.propose(l, "x")
	}
	for id := uint64(1); id <= 5000; id++ {
		if err := l.ReadIndex(id); err != nil {
			t.Fatal(err)
		}
	}
	p.settle()
	if got := testing.AllocsPerRun(1, func() { l.Tick() }); got > 2 {
		t.Errorf("a tick allocates %v times", got)
	}
	if s := l.Status(); s.PendingReads != 5000 || s.UncommittedBytes != l.log.size(s.Commit+1, s.Last.Index) || s.LogBytes != l.log.bytes() {
		t.Errorf("queues: %+v", s)
	}
	l.TakeEffects()
	for range 2 {
		l.Tick()
	}
	if n := len(l.TakeEffects().Messages); n > 2 {
		t.Errorf("a heartbeat's time brings %d messages to two followers", n)
	}
}
