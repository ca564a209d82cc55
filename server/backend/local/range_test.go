package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// TestRangesThatNameHowMuchTheyWantTakeTurns, but for the time in which they wait for a quorum; all others are read at once.
func TestRangesThatNameHowMuchTheyWantTakeTurns(t *testing.T) {
	s, n := start(t, Options{}, 2)
	if _, err := n.Propose(t.Context(), kv.Put([]byte("k"), nil)); err != nil {
		t.Fatal(err)
	}
	bounded := backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.All(), MaxBytes: DefaultReadingBytes / 2}}
	// reading gives a context whose range stops in the middle of its reading until it is told to go on.
	reading := func() (ctx context.Context, begun, goOn chan struct{}) {
		begun, goOn = make(chan struct{}, 1), make(chan struct{})
		var once sync.Once
		return watched{t.Context(), func() { once.Do(func() { begun <- struct{}{}; <-goOn }) }}, begun, goOn
	}
	ended := make(chan error, 3)
	read := func(ctx context.Context, r backend.RangeRequest) {
		r.Serializable = true // a barrier would look at the context too
		_, err := s.Range(ctx, r)
		ended <- err
	}
	var goOns []chan struct{}
	for range 2 {
		ctx, begun, goOn := reading()
		go read(ctx, bounded)
		<-begun
		goOns = append(goOns, goOn)
	}
	if s.reading.TryAcquire(1) {
		t.Fatal("there is room beside two halves")
	}
	late, giveUp := context.WithCancel(t.Context())
	go read(late, bounded)
	if _, err := s.Range(t.Context(), backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.All()}}); err != nil {
		t.Error(err)
	}
	if _, err := s.Range(t.Context(), backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.One([]byte("k"))}}); err != nil {
		t.Error(err)
	}
	giveUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("one too many ends with %v", err)
	}
	close(goOns[0])
	if err := <-ended; err != nil {
		t.Error(err)
	}
	go read(t.Context(), bounded) // has its turn, though one goes on
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(goOns[1])
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !s.reading.TryAcquire(DefaultReadingBytes) {
		t.Error("there is no room when all have ended")
	}
}
