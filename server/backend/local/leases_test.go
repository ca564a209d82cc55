package local

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/kv"
)

const leaseTTL = 10 // seconds

func grantLease(t *testing.T, s *Store) kv.LeaseID {
	t.Helper()
	grant, err := s.LeaseGrant(t.Context(), 0, leaseTTL)
	if err != nil {
		t.Fatal(err)
	}
	return grant.ID
}

// endsAfterItsTime fails unless the lease's time begins now.
func endsAfterItsTime(t *testing.T, n *alone, id kv.LeaseID) {
	t.Helper()
	time.Sleep(leaseTTL*time.Second - time.Millisecond)
	synctest.Wait()
	if _, ok := n.machine.Lease(id); !ok {
		t.Fatal("the lease was revoked, although nobody could have renewed it")
	}
	time.Sleep(2 * time.Millisecond)
	synctest.Wait()
	if _, ok := n.machine.Lease(id); ok {
		t.Fatal("the lease goes on although its time is over")
	}
}

// TestLeasesAreGivenTimeByTheSameLeaderAgain: while there was none, nobody could renew.
func TestLeasesAreGivenTimeByTheSameLeaderAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := start(t, Options{}, 2)
		n.stand(true)
		id := grantLease(t, s)
		time.Sleep(leaseTTL * time.Second / 2)
		n.stand(false)
		time.Sleep(leaseTTL * time.Second)
		n.stand(true)
		endsAfterItsTime(t, n, id)
	})
}

// TestLeasesAreGivenTimeOnceTheLeaderCanCommit: before that it answers no renewal either.
func TestLeasesAreGivenTimeOnceTheLeaderCanCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := start(t, Options{}, 2)
		id := grantLease(t, s)
		n.set(func(at *Standing) { at.Leader, at.Term = at.MemberID, at.Term+1 })
		time.Sleep(leaseTTL * time.Second)
		n.set(func(at *Standing) { at.Leads = true })
		endsAfterItsTime(t, n, id)
	})
}

// TestLeasesAreGivenTimeWhenANodeStarts as the leader: its store may have been opened long before.
func TestLeasesAreGivenTimeWhenANodeStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := open(t, Options{}, 2)
		grant := kv.GrantLease(1, leaseTTL)
		if _, err := n.Propose(t.Context(), grant); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * leaseTTL * time.Second)
		n.stand(true)
		run(t, s, n)
		endsAfterItsTime(t, n, 1)
	})
}

// TestAnExpiryIsForTheLeaderWhoDecidedIt: a later one has given the lease more time.
func TestAnExpiryIsForTheLeaderWhoDecidedIt(t *testing.T) {
	for _, x := range []struct {
		what string
		next func(n *alone)
	}{
		{"another leader", func(n *alone) { n.follow(n.standing.MemberID + 1) }},
		{"the same one in a later term", func(n *alone) { n.stand(true) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, n := start(t, Options{}, 2)
			n.stand(true)
			id := grantLease(t, s)
			decided := 0
			n.mu.Lock()
			n.onPropose = func(c kv.Command) {
				if c.Kind == kv.CommandLeaseExpire {
					if decided++; decided == 1 {
						x.next(n)
					}
				}
			}
			n.mu.Unlock()
			time.Sleep(leaseTTL*time.Second + time.Millisecond)
			synctest.Wait()
			if _, ok := n.machine.Lease(id); !ok || decided != 1 {
				t.Errorf("%s: decided %d times, the lease is there: %t", x.what, decided, ok)
			}
			if at, err := s.LeaseTimeToLive(t.Context(), id, false); err != nil || at.Remaining < leaseTTL-1 {
				t.Errorf("%s: %+v, %v", x.what, at, err)
			}
			n.stand(true)
			endsAfterItsTime(t, n, id)
		})
	}
}
