package local

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// watched is a context that calls look whenever it is asked whether it has ended, which a range does before each of its views.
type watched struct {
	context.Context
	look func()
}

func (w watched) Err() error {
	w.look()
	return w.Context.Err()
}

// TestALongRangeOfTheLatestRevisionBearsCompaction: the revision that it is read at is nothing that its caller has asked for.
func TestALongRangeOfTheLatestRevisionBearsCompaction(t *testing.T) {
	s, n := start(t, Options{}, 2)
	const keys = 10_000 // two views
	for i := range keys {
		if _, err := n.Propose(t.Context(), kv.Put(fmt.Appendf(nil, "%05d", i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	compactions := 0
	compacting := func(most int) context.Context {
		compactions = 0
		return watched{t.Context(), func() {
			if compactions++; compactions > most {
				return
			}
			r, err := n.Propose(t.Context(), kv.Put([]byte("00000"), nil))
			if err == nil {
				r, err = n.Propose(t.Context(), kv.Compact(r.Revision))
			}
			if err != nil || r.Err != nil {
				t.Error(r, err)
			}
		}}
	}
	all := kv.RangeRequest{Keys: kv.All()}
	got, err := s.Range(compacting(4), backend.RangeRequest{RangeRequest: all, Serializable: true})
	if err != nil || len(got.Items) != keys || got.Items[0].ModRevision != got.Revision {
		t.Errorf("%d keys, revision %d: %v", len(got.Items), got.Revision, err)
	}
	// Without end it comes to an end, and the caller is not told of a revision.
	_, err = s.Range(compacting(1000), backend.RangeRequest{RangeRequest: all, Serializable: true})
	if !errors.Is(err, backend.ErrBusy) || errors.Is(err, kv.ErrCompacted) || compactions > 3*rangeAttempts {
		t.Errorf("after %d compactions: %v", compactions, err)
	}
	all.Revision = got.Revision
	if _, err = s.Range(t.Context(), backend.RangeRequest{RangeRequest: all}); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("at a revision that is compacted: %v", err)
	}
}
