package lease

import (
	"container/heap"
	"time"

	"github.com/raftkv/raftkv/kv"
)

const (
	// RetryAfter is when a lease that is over is told again, if it was not revoked by then.
	RetryAfter = 2 * time.Second
	// MaxExtension bounds what a new leader adds to the time of a lease. A lease with a longer time keeps what this member knows to
	// be left of it, if that is more, so that long leases end although leaders come and go.
	MaxExtension = 5 * time.Minute
)

// Deadlines knows when each lease is over. It is for one goroutine.
type Deadlines struct {
	leases map[kv.LeaseID]*entry
	queue  queue
}

type entry struct {
	lease    kv.Lease
	deadline time.Duration
	// due is when Due tells of it: the deadline, or later when it was told already.
	due   time.Duration
	place int // in the queue
}

// New returns deadlines without leases.
func New() *Deadlines { return &Deadlines{leases: map[kv.LeaseID]*entry{}} }

// Reset forgets all, and begins the time of these leases now.
func (d *Deadlines) Reset(leases []kv.Lease, now time.Duration) {
	d.leases, d.queue = make(map[kv.LeaseID]*entry, len(leases)), d.queue[:0]
	for _, l := range leases {
		e := &entry{lease: l, deadline: now + ttl(l), place: len(d.queue)}
		e.due = e.deadline
		d.leases[l.ID] = e
		d.queue = append(d.queue, e)
	}
	heap.Init(&d.queue)
}

// ttl is the time of a lease, without what a duration cannot hold.
func ttl(l kv.Lease) time.Duration {
	const most = 1 << 62 / int64(time.Second)
	return time.Duration(min(l.TTL, most)) * time.Second
}

// Note takes over what happened to a lease.
func (d *Deadlines) Note(c kv.LeaseChange, now time.Duration) {
	e := d.leases[c.Lease.ID]
	switch {
	case c.Event == kv.LeaseRevoked && e != nil:
		heap.Remove(&d.queue, e.place)
		delete(d.leases, c.Lease.ID)
	case c.Event == kv.LeaseRevoked:
	case e == nil:
		e = &entry{lease: c.Lease, deadline: now + ttl(c.Lease)}
		e.due = e.deadline
		d.leases[c.Lease.ID] = e
		heap.Push(&d.queue, e)
	default:
		e.lease = c.Lease
		d.set(e, now+ttl(c.Lease))
	}
}

func (d *Deadlines) set(e *entry, deadline time.Duration) {
	e.deadline, e.due = deadline, deadline
	heap.Fix(&d.queue, e.place)
}

// Extend is called when this member has become the leader: no lease ends before its time has passed from now, or MaxExtension.
func (d *Deadlines) Extend(now time.Duration) {
	for _, e := range d.leases {
		e.deadline = max(e.deadline, now+min(ttl(e.lease), MaxExtension))
		e.due = e.deadline
	}
	heap.Init(&d.queue)
}

// Due returns at most that many leases whose time is over, the first to end first. Each is told again after RetryAfter.
func (d *Deadlines) Due(now time.Duration, most int) []kv.Lease {
	var out []kv.Lease
	for len(out) < most && len(d.queue) > 0 && d.queue[0].due <= now {
		e := d.queue[0]
		out = append(out, e.lease)
		e.due = now + RetryAfter
		heap.Fix(&d.queue, 0)
	}
	return out
}

// Next returns when Due has something to tell; false for never.
func (d *Deadlines) Next() (time.Duration, bool) {
	if len(d.queue) == 0 {
		return 0, false
	}
	return d.queue[0].due, true
}

// Remaining returns what is left of a lease's time, which is below zero when it is over; false if there is no such lease.
func (d *Deadlines) Remaining(id kv.LeaseID, now time.Duration) (time.Duration, bool) {
	e := d.leases[id]
	if e == nil {
		return 0, false
	}
	return e.deadline - now, true
}

// Len returns the number of leases.
func (d *Deadlines) Len() int { return len(d.leases) }

// queue is a heap by the time at which Due tells of a lease, and by its ID.
type queue []*entry

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].due != q[j].due {
		return q[i].due < q[j].due
	}
	return q[i].lease.ID < q[j].lease.ID
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.place = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
