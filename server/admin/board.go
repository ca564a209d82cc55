package admin

import (
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/raftkv/raftkv/raft"
)

// Board numbers the statuses of a node and wakes those who wait for the next one.
type Board struct {
	// refreshing is held while a status is read and put up, so that an older one never covers a newer one.
	refreshing sync.Mutex

	mu         sync.Mutex
	generation uint64
	status     Status
	changed    chan struct{}
}

// NewBoard begins with an empty status under a random number.
func NewBoard() *Board { return &Board{generation: rand.Uint64(), changed: make(chan struct{})} }

// Update notes what the node says now. The generation moves if anything but the indexes has changed.
func (b *Board) Update(s Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !sameNews(b.status, s) {
		b.generation++
		close(b.changed)
		b.changed = make(chan struct{})
	}
	s.Generation = b.generation
	b.status = s
}

// Refresh puts up what read returns, and returns it with its generation.
func (b *Board) Refresh(read func() Status) Status {
	b.refreshing.Lock()
	defer b.refreshing.Unlock()
	b.Update(read())
	s, _ := b.Status()
	return s
}

// Status returns the last status, and a channel that is closed when there is a newer one.
func (b *Board) Status() (Status, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status, b.changed
}

// news is what a generation stands for; the members are compared beside it.
type news struct {
	name, version   string
	state           NodeState
	incarnation     raft.Incarnation
	cluster         raft.ClusterID
	member          raft.NodeID
	clusterVersion  uint32
	role            string
	term            raft.Term
	leader          raft.NodeID
	ready           bool
	notReady        string
	fenced          string
	configIndex     raft.Index
	configCommitted bool
}

func (s Status) news() news {
	return news{
		s.Name, s.Version, s.State, s.Incarnation, s.ClusterID, s.MemberID, s.ClusterVersion,
		s.Role, s.Term, s.Leader, s.Ready, s.NotReady, s.Fenced, s.ConfigIndex, s.ConfigCommitted,
	}
}

func sameNews(a, b Status) bool {
	return a.news() == b.news() && slices.Equal(a.Alarms, b.Alarms) && slices.EqualFunc(a.Members, b.Members, func(x, y MemberStatus) bool {
		// A voter falls behind and catches up all the time under load; a learner that has caught up is news.
		return x.Member == y.Member && x.Active == y.Active && (x.CaughtUp == y.CaughtUp || !x.Learner)
	})
}
