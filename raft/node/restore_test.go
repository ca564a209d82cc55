package node

import (
	"log/slog"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// restoring is the shell of a leader of three without its goroutines: member 2 follows at once, member 3 answers heartbeats only.
type restoring struct {
	*Node
	t        *testing.T
	snapshot bool           // member 3 is to get one
	third    []raft.Message // that member 3 has got
}

func newRestoring(t *testing.T) *restoring {
	m := raft.NewMembership(raft.Member{ID: 1, Incarnation: 1}, raft.Member{ID: 2, Incarnation: 2}, raft.Member{ID: 3, Incarnation: 3})
	m.Index = 1
	base := raft.SnapshotMeta{Index: 1, Term: 1, Membership: m, ClusterVersion: 1}
	core, err := raft.New(raft.Config{ID: 1, ElectionTicks: 10, HeartbeatTicks: 1, Random: func(int) int { return 0 }},
		raft.Initial{HardState: raft.HardState{Term: 1}, Applied: base, LogStart: raft.Position{Index: 1, Term: 1}})
	if err != nil {
		t.Fatal(err)
	}
	r := &restoring{t: t, Node: &Node{
		core: core, log: slog.New(slog.DiscardHandler), stores: newQueue[storeWork](newWake()), streams: map[raft.NodeID]*stream{},
		cfg: Config{SnapshotEntries: 20, StateMachine: newJournal(base), LogBounds: LogBounds{}.complete()},
	}}
	for core.Role() != raft.RoleLeader {
		r.tick()
	}
	return r
}

func (r *restoring) tick() {
	r.core.Tick()
	r.drain()
}

// drain has the effects carried out.
func (r *restoring) drain() {
	for {
		e := r.core.TakeEffects()
		if e.Store == nil && len(e.Messages) == 0 && len(e.Committed) == 0 {
			return
		}
		r.snapshot = r.snapshot || len(e.SendSnapshots) > 0
		answers := make([]raft.Message, 0, len(e.Messages))
		for _, m := range e.Messages {
			a := raft.Message{From: m.To, To: 1, Term: m.Term, Context: m.Context}
			switch m.Type {
			case raft.MsgPreVote:
				a.Type = raft.MsgPreVoteResponse
			case raft.MsgVote:
				a.Type = raft.MsgVoteResponse
			case raft.MsgHeartbeat:
				a.Type = raft.MsgHeartbeatResponse
			case raft.MsgAppend:
				if m.To == 3 {
					r.third = append(r.third, m)
					continue
				}
				a.Type, a.Index = raft.MsgAppendResponse, m.Index+raft.Index(len(m.Entries))
			default:
				continue
			}
			answers = append(answers, a)
		}
		if e.Store != nil {
			r.core.Stored(e.Store.Done())
		}
		for _, a := range answers {
			r.step(a)
		}
		if len(e.Committed) > 0 {
			if _, err := r.cfg.StateMachine.Apply(e.Committed); err != nil {
				r.t.Fatal(err)
			}
			r.core.Applied(e.Committed[len(e.Committed)-1].Index)
			r.compact()
		}
	}
}

func (r *restoring) step(m raft.Message) {
	if err := r.core.Step(m); err != nil {
		r.t.Fatal(err)
	}
}

// write proposes and applies entries, one at a time.
func (r *restoring) write(count int) {
	for range count {
		if _, _, err := r.core.Propose([][]byte{{}}); err != nil {
			r.t.Fatal(err)
		}
		r.drain()
	}
}

// thirdRefuses lets member 3 say that its log ends at the beginning, until it needs a snapshot.
func (r *restoring) thirdRefuses() {
	for range 100 {
		for _, m := range r.third {
			r.step(raft.Message{Type: raft.MsgAppendResponse, From: 3, To: 1, Term: r.core.Term(), Reject: true, Index: m.Index, Hint: 1, LogTerm: 1})
		}
		r.third = nil
		if r.tick(); r.snapshot {
			r.snapshot = false
			return
		}
	}
	r.t.Fatal("member 3 is behind the log and is sent no snapshot")
}

// thirdFollows lets member 3 store what it gets behind a snapshot, until it has all.
func (r *restoring) thirdFollows() {
	for range 100 {
		for _, m := range r.third {
			r.step(raft.Message{Type: raft.MsgAppendResponse, From: 3, To: 1, Term: r.core.Term(), Index: m.Index + raft.Index(len(m.Entries))})
		}
		r.third = nil
		r.tick()
		if s := r.core.Status(); s.Progress[3].Match == s.Last.Index {
			return
		}
	}
	r.t.Fatalf("member 3 does not catch up: %+v", r.core.Status().Progress[3])
}

// stream is a snapshot that goes to member 3 while so much is written.
func (r *restoring) stream(entries int) raft.SnapshotMeta {
	s := r.core.Status()
	meta := raft.SnapshotMeta{Index: s.Applied, Term: s.Term, Membership: s.Membership, ClusterVersion: 1}
	r.streams[3] = &stream{index: meta.Index, cancel: func() {}}
	r.write(entries)
	if start := r.core.LogStart().Index; start > meta.Index {
		r.t.Fatalf("the log was cut to %d under a snapshot of %d that is on its way", start, meta.Index)
	}
	delete(r.streams, 3)
	r.core.SnapshotSent(3, meta, true)
	return meta
}

// However much is written while a snapshot is on its way, and until its receiver has stored what follows, one snapshot is enough.
func TestTheLogIsKeptUntilAFollowerHasCaughtUpFromItsSnapshot(t *testing.T) {
	r := newRestoring(t)
	r.write(100)
	r.thirdRefuses()
	r.stream(100)
	r.write(100)
	r.thirdFollows()
	if r.snapshot {
		t.Error("another snapshot was asked for")
	}
	r.write(100)
	if s := r.core.Status(); s.LogStart.Index+20 < s.Applied {
		t.Errorf("all have %d entries, and the log still starts behind %d", s.Applied, s.LogStart.Index)
	}
}

// Who is not heard from any more does not hold the log, nor who is held up for so long that it has grown to its bound.
func TestTheLogIsNotKeptForFollowersThatDoNotCatchUp(t *testing.T) {
	t.Run("silent", func(t *testing.T) {
		r := newRestoring(t)
		r.write(100)
		r.thirdRefuses()
		meta := r.stream(100)
		for range 20 {
			r.core.Tick()
			e := r.core.TakeEffects()
			for _, m := range e.Messages {
				if m.To == 2 && m.Type == raft.MsgHeartbeat {
					r.step(raft.Message{Type: raft.MsgHeartbeatResponse, From: 2, To: 1, Term: m.Term, Context: m.Context})
				}
			}
		}
		r.compact()
		if start := r.core.LogStart().Index; start <= meta.Index {
			t.Errorf("the log starts behind %d, member 3 got a snapshot of %d and is silent", start, meta.Index)
		}
	})
	t.Run("full", func(t *testing.T) {
		r := newRestoring(t)
		r.write(100)
		r.thirdRefuses()
		meta := r.stream(100)
		r.cfg.LogBounds.Held = 180 * raft.EntryPlaceBytes // small entries take little else
		r.write(100)
		s := r.core.Status()
		if s.LogStart.Index <= meta.Index || s.LogStart.Index+100 < s.Applied {
			t.Errorf("the log starts behind %d, %d are applied, member 3 got a snapshot of %d", s.LogStart.Index, s.Applied, meta.Index)
		}
	})
}
