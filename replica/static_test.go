package replica

import (
	"context"
	"errors"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// All members of a static cluster are replaced, one after the other, with the flags that they were started with: each new one waits to be added, and is.
func TestEveryMemberOfAStaticClusterCanBeReplaced(t *testing.T) {
	all := trio(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all[0].propose(ctx, "x")
	for _, s := range all {
		var rest []*station
		for _, o := range all {
			if o != s {
				rest = append(rest, o)
			}
		}
		old := s.replica.Status().Identity.MemberID
		removeFrom(ctx, t, all, old)
		select {
		case <-s.replica.Done():
		case <-ctx.Done():
			t.Fatal("the removed replica goes on")
		}
		if err := s.replica.Err(); !errors.Is(err, ErrRemoved) {
			t.Fatal(err)
		}
		s.start()
		eventually(t, "the replacement waits to be added", func() bool { return s.replica.Status().State == StateEmpty })
		addTo(ctx, t, rest, raft.Member{Name: s.cfg.Name, Incarnation: s.replica.Status().Identity.Incarnation, PeerAddress: s.replica.Address()})
		if got := s.count(ctx, "x"); got != 1 {
			t.Errorf("x = %d", got)
		}
	}
}
