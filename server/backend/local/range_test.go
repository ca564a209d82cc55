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

// TestLargeRangesTakeTurns, whether they name how much they want or not, but for the time in which they wait for a quorum. Small ones and single keys wait for none of them.
func TestLargeRangesTakeTurns(t *testing.T) {
	const room = 8 << 20
	s, n := start(t, Options{MaxRangeBytes: room / 2, ReadingBytes: room}, 2)
	for i := range 24 { // 3 MiB
		if _, err := n.Propose(t.Context(), kv.Put(fmt.Appendf(nil, "k%02d", i), make([]byte, 128<<10))); err != nil {
			t.Fatal(err)
		}
	}
	large := backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.All()}}
	// reading gives a context whose range stops in the middle of its reading until it is told to go on: it looks at it once for what nobody waits for, and again for the whole.
	reading := func() (ctx context.Context, begun, goOn chan struct{}) {
		begun, goOn = make(chan struct{}, 1), make(chan struct{})
		looks := 0
		return watched{t.Context(), func() {
			if looks++; looks == 2 {
				begun <- struct{}{}
				<-goOn
			}
		}}, begun, goOn
	}
	ended := make(chan error, 3)
	read := func(ctx context.Context, r backend.RangeRequest) {
		r.Serializable = true // a barrier would look at the context too
		out, err := s.Range(ctx, r)
		if err == nil && len(out.Items) != 24 {
			err = fmt.Errorf("%d keys", len(out.Items))
		}
		ended <- err
	}
	var goOns []chan struct{}
	for _, most := range []int{0, room / 2} {
		ctx, begun, goOn := reading()
		named := large
		named.MaxBytes = most
		go read(ctx, named)
		<-begun
		goOns = append(goOns, goOn)
	}
	if s.reading.TryAcquire(1) {
		t.Fatal("there is room beside two halves")
	}
	late, giveUp := context.WithCancel(t.Context())
	go read(late, large)
	if _, err := s.Txn(late, backend.TxnRequest{Txn: kv.Txn{Success: []kv.Op{{Kind: kv.OpRange, Range: kv.RangeRequest{Keys: kv.One([]byte("k00"))}}}}}); err != nil {
		t.Error(err)
	}
	for _, r := range []kv.RangeRequest{
		{Keys: kv.Span([]byte("k05"), []byte("k09"))}, {Keys: kv.One([]byte("k00"))}, {Keys: kv.All(), KeysOnly: true}, {Keys: kv.All(), CountOnly: true}, {Keys: kv.All(), Limit: 3},
	} {
		if _, err := s.Range(t.Context(), backend.RangeRequest{RangeRequest: r}); err != nil {
			t.Error(err)
		}
	}
	giveUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("one too many ends with %v", err)
	}
	close(goOns[0])
	if err := <-ended; err != nil {
		t.Error(err)
	}
	go read(t.Context(), large) // has its turn, though one goes on
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(goOns[1])
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !s.reading.TryAcquire(room) || !s.first.TryAcquire(room/firstPart) {
		t.Error("there is no room when all have ended")
	}
}

// What has to be read whole before it is answered, and so is refused at first, is read when there is room for it.
func TestALargeRangeIsSorted(t *testing.T) {
	s, n := start(t, Options{}, 2)
	for i := range 12 {
		if _, err := n.Propose(t.Context(), kv.Put(fmt.Appendf(nil, "k%02d", i), make([]byte, 128<<10))); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.Range(t.Context(), backend.RangeRequest{RangeRequest: kv.RangeRequest{Keys: kv.All(), Sort: kv.SortDescending, Limit: 10}})
	if err != nil || len(out.Items) != 10 || string(out.Items[0].Key) != "k11" || !out.More {
		t.Errorf("%d keys, more: %v: %v", len(out.Items), out.More, err)
	}
}

// A transaction of ranges may read much too.
func TestTransactionsOfRangesTakeTurns(t *testing.T) {
	s, _ := start(t, Options{ReadingBytes: 8 << 20}, 2)
	if !s.reading.TryAcquire(1) {
		t.Fatal("there is no room")
	}
	wide := backend.TxnRequest{Txn: kv.Txn{Success: []kv.Op{{Kind: kv.OpRange, Range: kv.RangeRequest{Keys: kv.All()}}}}, Serializable: true}
	late, giveUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Txn(late, wide)
		ended <- err
	}()
	giveUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("without room: %v", err)
	}
	s.reading.Release(1)
	if _, err := s.Txn(t.Context(), wide); err != nil {
		t.Error(err)
	}
}
