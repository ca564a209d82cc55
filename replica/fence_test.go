package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// TestAFencedMemberComesBackAsNew: it ends for good, its data is kept, and the cluster takes its directory in under another ID.
func TestAFencedMemberComesBackAsNew(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := trio(t)
	for i := range 10 {
		all[i%3].propose(ctx, "x")
	}
	leader := leaderOf(t, all)
	victim := all[0]
	if victim == leader {
		victim = all[1]
	}
	old := victim.replica.Status().Identity
	if err := victim.replica.Fence("it differs"); err != nil {
		t.Fatal(err)
	}
	<-victim.replica.Done()
	if err := victim.replica.Err(); !errors.Is(err, ErrRemoved) {
		t.Fatalf("it ended by %v", err)
	}
	if _, err := victim.replica.Propose(ctx, []byte("x")); !errors.Is(err, ErrStopped) {
		t.Errorf("a fenced member answers %v", err)
	}
	for range 2 { // the reason outlives the process
		victim.start()
		eventually(t, "it waits to be added", func() bool { return victim.replica.Status().State == StateEmpty })
		s := victim.replica.Status()
		if s.Identity.MemberID != 0 || s.Identity.Incarnation == old.Incarnation || !strings.HasPrefix(s.Fenced, "it differs; ") {
			t.Fatalf("%+v", s)
		}
		victim.kill()
	}
	aside, err := filepath.Glob(filepath.Join(victim.cfg.Dir, fmt.Sprintf("removed-%s-1", old.MemberID), "member", "*"))
	if err != nil || len(aside) < 3 { // log, state, and why
		t.Errorf("set aside: %v, %v", aside, err)
	}

	victim.start()
	eventually(t, "it waits to be added", func() bool { return victim.replica.Status().State == StateEmpty })
	id := addTo(ctx, t, all, raft.Member{Name: victim.cfg.Name, Incarnation: victim.replica.Status().Identity.Incarnation, PeerAddress: victim.replica.Address()})
	if id == old.MemberID {
		t.Fatalf("added as %v again", id)
	}
	removeFrom(ctx, t, all, old.MemberID)
	if got := victim.count(ctx, "x"); got != 10 {
		t.Errorf("x = %d", got)
	}
	if s := victim.replica.Status(); s.Fenced != "" || s.State != StateMember {
		t.Errorf("%+v", s)
	}
}

// TestAFencedMemberDoesNotRunAfterACrash: whatever happens after it was fenced, the member in the directory is not started again.
func TestAFencedMemberDoesNotRunAfterACrash(t *testing.T) {
	s := newStation(t, "a")
	s.cfg.InitialCluster = []Member{{Name: "a", PeerAddress: s.cfg.Listen}}
	s.start()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.propose(ctx, "x")
	old := s.replica.Status().Identity
	path := filepath.Join(s.replica.dir.MemberPath(), fencedName)
	s.kill()
	if err := fencedKind.Write(path, []byte("it differs")); err != nil { // and then the process dies
		t.Fatal(err)
	}
	s.cfg.InitialCluster = nil
	s.start()
	if now := s.replica.Status(); now.State != StateEmpty || now.Identity.Incarnation == old.Incarnation || now.Fenced == "" {
		t.Errorf("%+v", now)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the member's directory is still in place: %v", err)
	}
}
