package replica

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/identity"
)

// lastSurvivor is a member of three of which two are gone for good.
func lastSurvivor(ctx context.Context, t *testing.T) (survivor *station, others []*station) {
	t.Helper()
	all := trio(t)
	leader := leaderOf(t, all)
	for range 120 { // past two saved states, and a log behind them
		leader.propose(ctx, "x")
	}
	for _, s := range all {
		if s == leader {
			survivor = s
		} else {
			others = append(others, s)
			s.kill()
		}
	}
	eventually(t, "the leader has stepped down", func() bool {
		s := survivor.replica.Status()
		return s.Leader == 0 && !s.Leads()
	})
	return survivor, others
}

func (s *station) refound(ctx context.Context, cluster raft.ClusterID) error {
	id := s.replica.Status().Identity
	return s.replica.Refound(ctx, id.ClusterID, id.Incarnation, cluster, raft.Member{PeerAddress: s.cfg.Listen})
}

func (s *station) ends(t *testing.T) error {
	t.Helper()
	select {
	case <-s.replica.Done():
		return s.replica.Err()
	case <-time.After(patience):
		t.Fatal("the replica does not end")
		return nil
	}
}

func TestASurvivorFoundsANewClusterWithAllThatItHas(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, others := lastSurvivor(ctx, t)
	old := s.replica.Status()
	if err := s.refound(ctx, 99); err != nil {
		t.Fatal(err)
	}
	if err := s.ends(t); !errors.Is(err, ErrRefounded) {
		t.Fatalf("the replica ended with %v", err)
	}
	s.start()
	leaderOf(t, []*station{s})
	now := s.replica.Status()
	if id := now.Identity; id.ClusterID != 99 || id.Incarnation == old.Identity.Incarnation || id.MemberID <= old.Membership.LastID {
		t.Errorf("the new member is %+v, the old one was %+v of %+v", id, old.Identity, old.Membership)
	}
	if m := now.Membership; len(m.Members) != 1 || m.Members[0].ID != now.Identity.MemberID || m.Members[0].Incarnation != now.Identity.Incarnation {
		t.Errorf("the new membership is %+v", m)
	}
	if now.Term <= old.Term {
		t.Errorf("term %d after term %d", now.Term, old.Term)
	}
	if n := s.count(ctx, "x"); n != 120 {
		t.Errorf("%d of 120 commands are left", n)
	}
	if n := s.propose(ctx, "x"); n != 121 {
		t.Errorf("the next command was answered %d", n)
	}
	// Asked again, also by an operator that has not seen that it was done, it answers the same.
	if err := s.replica.Refound(ctx, old.Identity.ClusterID, old.Identity.Incarnation, 99, raft.Member{}); err != nil {
		t.Errorf("a repeated call: %v", err)
	}
	aside, err := filepath.Glob(filepath.Join(s.cfg.Dir, "removed-*", "member", logDir))
	if err != nil || len(aside) != 1 {
		t.Errorf("the old log was not set aside: %v, %v", aside, err)
	}
	// It outlives a restart, and grows again: an old member gives its directory up and comes back as a new one.
	s.kill()
	s.start()
	leaderOf(t, []*station{s})
	other := others[0]
	other.start()
	<-other.replica.Running()
	id := other.replica.Status().Identity
	eventually(t, "the old member is told to give up", func() bool {
		return other.replica.Abandon(id.ClusterID, id.Incarnation) == nil
	})
	if err := other.ends(t); !errors.Is(err, ErrRemoved) {
		t.Fatalf("the old member ended with %v", err)
	}
	other.cfg.InitialCluster = nil
	other.start()
	fresh := other.replica.Status()
	if fresh.State != StateEmpty || fresh.Identity.Incarnation == id.Incarnation {
		t.Fatalf("the old member came back as %+v", fresh)
	}
	if _, err := s.replica.Add(ctx, raft.Member{Name: other.cfg.Name, Incarnation: fresh.Identity.Incarnation, PeerAddress: other.cfg.Listen}); err != nil {
		t.Fatal(err)
	}
	if n := other.count(ctx, "x"); n != 121 {
		t.Errorf("the new member counts %d of 121 commands", n)
	}
}

// An entry that only the survivor holds may have been acknowledged: the other one of its quorum is gone.
func TestASurvivorKeepsWhatIsNotKnownToBeCommitted(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := trio(t)
	leader := leaderOf(t, all)
	leader.propose(ctx, "x")
	var full raft.Status
	for {
		for _, s := range all {
			if s != leader {
				s.kill()
			}
		}
		short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err := leader.replica.Propose(short, []byte("x"))
		stop()
		if err == nil {
			t.Fatal("a write without a quorum was acknowledged")
		}
		eventually(t, "the leader has stepped down", func() bool { return leader.replica.Status().Leader == 0 })
		if full, err = leader.replica.Node().Status(ctx); err != nil {
			t.Fatal(err)
		}
		if full.Last.Index > full.Commit {
			break
		}
		// A busy machine took so long that it had stepped down before: nothing was appended. Once more.
		for _, s := range all {
			if s != leader {
				s.start()
			}
		}
		leader = leaderOf(t, all)
	}
	if err := leader.refound(ctx, 99); err != nil {
		t.Fatal(err)
	}
	_ = leader.ends(t)
	leader.start()
	leaderOf(t, []*station{leader})
	if want := uint64(full.Last.Index - full.Commit); want == 0 || leader.count(ctx, "x") != 2 {
		t.Errorf("%d uncommitted entries, then %d commands, want 2", want, leader.count(ctx, "x"))
	}
	if applied := leader.replica.Status().Applied; applied <= full.Last.Index {
		t.Errorf("the new cluster is at index %d, the old log ended at %d", applied, full.Last.Index)
	}
}

func TestRefoundRefusesWhoIsNotMeantAndAClusterThatWorks(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := trioThatElects(t, 2*time.Second) // all are to know a leader all the while
	leader := leaderOf(t, all)
	eventually(t, "all follow", func() bool {
		for _, s := range all {
			if s.replica.Status().Leader == 0 {
				return false
			}
		}
		return true
	})
	for _, s := range all {
		id := s.replica.Status().Identity
		for want, call := range map[error]func() error{
			ErrHasLeader:   func() error { return s.refound(ctx, 99) },
			ErrIncarnation: func() error { return s.replica.Refound(ctx, id.ClusterID, id.Incarnation+1, 99, raft.Member{}) },
			ErrOtherCluster: func() error {
				return errors.Join(s.replica.Refound(ctx, id.ClusterID+1, id.Incarnation, 99, raft.Member{}),
					s.replica.Refound(ctx, id.ClusterID, id.Incarnation, 0, raft.Member{}))
			},
		} {
			if err := call(); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		if err := s.replica.Abandon(id.ClusterID, id.Incarnation); !errors.Is(err, ErrHasLeader) {
			t.Errorf("a member of a cluster that works gave up: %v", err)
		}
	}
	if n := leader.propose(ctx, "x"); n != 1 {
		t.Errorf("answered %d", n)
	}
	empty := newStation(t, "empty")
	empty.start()
	id := empty.replica.Status().Identity
	if err := empty.replica.Refound(ctx, 1, id.Incarnation, 99, raft.Member{}); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("an empty directory: %v", err)
	}
}

// A process that is killed while it makes the new state comes back as what it was.
func TestAnInterruptedRefoundingLeavesTheOldMember(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, _ := lastSurvivor(ctx, t)
	old := s.replica.Status().Identity
	s.kill()
	d, err := identity.Open(s.cfg.Dir, s.cfg.Name)
	if err != nil {
		t.Fatal(err)
	}
	r := &Replica{cfg: s.cfg, logger: s.cfg.Logger, dir: d}
	r.cfg.StateMachine = newTally()
	if err := r.cfg.complete(); err != nil {
		t.Fatal(err)
	}
	closeAll(r.cfg.Listeners)
	r.logger = r.cfg.Logger
	crash := errors.New("killed")
	_, err = d.Succeed(99, 4, func(dir string, next identity.Identity) error {
		return errors.Join(r.inherit(dir, next, raft.Member{ID: 4, Incarnation: next.Incarnation, Name: "a"}), crash)
	})
	if !errors.Is(err, crash) {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
	if id := s.replica.Status().Identity; id != old {
		t.Errorf("came back as %+v, was %+v", id, old)
	}
	if _, err := os.Stat(filepath.Join(s.cfg.Dir, "successor.new")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the half-made state is left")
	}
}
