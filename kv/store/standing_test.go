package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestOutgrows(t *testing.T) {
	const page, mapped = 4096, 10 << 30
	small, large := &Batch{}, &Batch{}
	small.Put(1, []byte("k"), []byte("v"))
	value := make([]byte, 1<<10)
	for range 200_000 {
		large.Put(1, []byte("k"), value)
	}
	removal := &Batch{}
	removal.Delete(1, []byte("k"))
	for _, x := range []struct {
		name   string
		b      *Batch
		file   int64
		mapped int64
		want   bool
	}{
		{"a small change of a small file", small, 1 << 20, mapped, false},
		{"a small change of a file that has nearly filled its map", small, mapped - growBytes, mapped, true},
		{"a large change of a small file", large, 1 << 20, mapped, false},
		{"a large change of a file that it may double", large, mapped / 2, mapped, true},
		{"a delete in a file that fits twice", removal, mapped/2 - growBytes, mapped, false},
		{"a delete in a file of which it may move all", removal, mapped / 2, mapped, true},
		{"a map that is smaller than a step of growth", small, 1 << 16, 1 << 20, true},
	} {
		if got := outgrows(x.b, x.file, x.mapped, page); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

// TestViewsAreSharedBetweenCommits: what is opened between two commits reads one state, and whatever order it is closed in, nothing is kept.
func TestViewsAreSharedBetweenCommits(t *testing.T) {
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{}))
	s := must[Store](t)(d.Open()).(*boltStore)
	var open []View
	for i := range 5 {
		putOne(t, s, "k", fmt.Sprint(i))
		for range 3 {
			v := must[View](t)(s.View())
			if got := string(v.Get(1, []byte("k"))); got != fmt.Sprint(i) {
				t.Fatalf("a view behind commit %d reads %q", i, got)
			}
			open = append(open, v)
		}
		if n := s.db.Stats().OpenTxN; n != i+1 {
			t.Fatalf("%d transactions for the views of %d commits", n, i+1)
		}
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	for _, v := range open {
		ok(t, v.Close())
		ok(t, v.Close()) // has no effect on others
	}
	putOne(t, s, "k", "last")
	if n := s.db.Stats().OpenTxN; n != 1 {
		t.Errorf("%d transactions are open, want the one that stands", n)
	}
	ok(t, s.Close())
	if n := s.db.Stats().OpenTxN; n != 0 {
		t.Errorf("%d transactions are left open", n)
	}
}

// TestTheFileOutgrowsItsMapBesideReaders: bbolt waits for all readers before it makes a larger map; a transaction that stood would
// make it wait for ever.
func TestTheFileOutgrowsItsMapBesideReaders(t *testing.T) {
	const commits, records = 40, 50
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{mapBytes: 1 << 20}))
	s := must[Store](t)(d.Open())
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, err := s.View()
				if err != nil {
					t.Error(err)
					return
				}
				n, it := 0, v.Iterate(1)
				for k, _ := it.First(); k != nil; k, _ = it.Next() {
					n++
				}
				if n%records != 0 {
					t.Errorf("a view of %d records: part of a commit", n)
				}
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan error, 1)
	go func() {
		for i := range commits {
			var b Batch
			for j := range records {
				b.Put(1, fmt.Appendf(nil, "%04d-%04d", i, j), make([]byte, 2048))
			}
			if err := s.Commit(&b); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	select {
	case err := <-written:
		ok(t, err)
	case <-time.After(60 * time.Second):
		t.Fatal("a commit waits for readers that never end")
	}
	close(stop)
	readers.Wait()
	ok(t, s.Close())
}

// commitSoon commits, and returns an error if that takes for ever.
func commitSoon(s Store, b *Batch) error {
	done := make(chan error, 1)
	go func() { done <- s.Commit(b) }()
	select {
	case err := <-done:
		return err
	case <-time.After(60 * time.Second):
		return errors.New("a commit waits for ever")
	}
}

// TestADeleteMovesMoreThanItRemoves: with large values a leaf is many pages, and one delete writes all of it anew.
func TestADeleteMovesMoreThanItRemoves(t *testing.T) {
	const mapped, values, valueBytes = 256 << 20, 180, 1 << 20
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{mapBytes: mapped, AppendBuckets: []Bucket{1}}))
	s := must[Store](t)(d.Open())
	var b Batch
	for i := range values {
		b.Put(1, fmt.Appendf(nil, "%04d", i), make([]byte, valueBytes))
	}
	ok(t, commitSoon(s, &b))
	b.Reset()
	for i := 0; i < values; i += 2 {
		b.Delete(1, fmt.Appendf(nil, "%04d", i))
	}
	ok(t, commitSoon(s, &b))
	if size := s.Stats().FileBytes; size <= mapped {
		t.Errorf("the file has %d bytes: it did not outgrow its map", size)
	}
	ok(t, s.Close())
}

// TestACommitOutgrowsItsMapUnforeseen: it ends although transactions stand, some without views, some whose views are closed while it waits.
func TestACommitOutgrowsItsMapUnforeseen(t *testing.T) {
	const rounds, stand, least = 2, 6, 2 << 20
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{mapBytes: 1 << 20}))
	s := must[Store](t)(d.Open()).(*boltStore)
	s.mappedBytes = 1 << 50
	for round := range rounds {
		var open []View
		for i := range stand {
			putOne(t, s, "k", fmt.Sprint(i))
			open = append(open, must[View](t)(s.View()))
		}
		var b Batch
		b.Put(2, fmt.Append(nil, round), make([]byte, least<<(2*round)))
		committed := make(chan error, 1)
		go func() { committed <- commitSoon(s, &b) }()
		for _, v := range open[:stand/2] {
			ok(t, v.Close())
		}
		for waited := false; !waited; time.Sleep(time.Millisecond) {
			select {
			case err := <-committed:
				t.Fatalf("the commit did not wait for the views: %v", err)
			default:
			}
			s.shared.mu.Lock()
			waited = s.shared.waited
			s.shared.mu.Unlock()
		}
		var others sync.WaitGroup
		for range stand {
			others.Go(func() {
				v, err := s.View()
				if err != nil {
					t.Error(err)
					return
				}
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		for _, v := range open[stand/2:] {
			others.Go(func() {
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		others.Wait()
		ok(t, <-committed)
		if v := must[View](t)(s.View()); len(v.Get(2, fmt.Append(nil, round))) != least<<(2*round) {
			t.Error("what was committed is not there")
		} else if _, shared := v.(*sharedView); !shared {
			t.Error("no view is shared behind the commit")
		} else {
			ok(t, v.Close())
		}
	}
	ok(t, s.Close())
}

// TestReadersBesideCommits: every view is one whole commit, and pages are used again.
func TestReadersBesideCommits(t *testing.T) {
	const keys, commits = 100, 50
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{}))
	s := must[Store](t)(d.Open())
	put := func(round int) {
		var b Batch
		for i := range keys {
			b.Put(1, fmt.Appendf(nil, "%03d", i), fmt.Appendf(make([]byte, 512), "%06d", round))
		}
		ok(t, s.Commit(&b))
	}
	put(0)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := ""
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, err := s.View()
				if err != nil {
					t.Error(err)
					return
				}
				it, seen := v.Iterate(1), ""
				for k, data := it.First(); k != nil; k, data = it.Next() {
					if now := string(data[512:]); seen == "" {
						seen = now
					} else if now != seen {
						t.Errorf("one view reads commits %s and %s", seen, now)
					}
				}
				if seen < last {
					t.Errorf("commit %s was read after %s", seen, last)
				}
				last = seen
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for round := range commits {
		put(round + 1)
	}
	close(stop)
	readers.Wait()
	for round := range 5 { // those that readers kept come free
		put(commits + round + 1)
	}
	if used := s.Stats().UsedBytes; used > 10*keys*1024 {
		t.Errorf("%d bytes are used for %d keys of 512 bytes", used, keys)
	}
	ok(t, s.Close())
}

// A store that is closed waits for its views, and bbolt keeps a lock meanwhile that new ones would wait for.
func TestNoViewIsOpenedWhileTheStoreCloses(t *testing.T) {
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{}))
	s := must[Store](t)(d.Open()).(*boltStore)
	putOne(t, s, "k", "v")
	held := must[View](t)(s.View())
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for deadline := time.Now().Add(time.Minute); !s.shared.over(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store does not begin to close")
		}
	}
	if v, err := s.View(); !errors.Is(err, ErrClosed) {
		t.Fatal(v, err)
	}
	if got := string(held.Get(1, []byte("k"))); got != "v" {
		t.Fatalf("the view that was open reads %q", got)
	}
	if err := errors.Join(held.Close(), <-closed); err != nil {
		t.Fatal(err)
	}
}
