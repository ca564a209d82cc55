package etcd

import (
	"time"

	"github.com/raftkv/raftkv/kv/watch"
)

const (
	// paceRest is how long a stream of many watches rests after a round, and so how long events wait at most for others of the same watch.
	paceRest = 20 * time.Millisecond
	// paceWatches is how many watches are many.
	paceWatches = 64
)

// pace has a stream of many watches rest after a round: one response for each of them, with no pause of paceRest in between. What comes meanwhile
// joins the next response of its watch, since an event among others costs server, network and client a fraction of one that comes alone.
type pace struct {
	last    time.Time // when a response was sent
	sent    int       // in the round
	watches int
}

// wait tells how long to hold a response back that comes now.
func (p *pace) wait(r *watch.Response, now time.Time) (held time.Duration) {
	switch {
	case r.Created:
		p.watches++
	case r.Canceled:
		p.watches--
	}
	if len(r.Events) == 0 {
		return 0
	}
	switch {
	case now.Sub(p.last) >= paceRest:
		p.sent = 0
	case p.sent >= p.watches:
		p.sent = 0
		if p.watches >= paceWatches {
			held = p.last.Add(paceRest).Sub(now)
		}
	}
	p.sent++
	p.last = now.Add(held)
	return held
}
