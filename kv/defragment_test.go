package kv

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// TestDefragmentWhileWriting: the file becomes smaller, and nothing that is written meanwhile is lost.
func TestDefragmentWhileWriting(t *testing.T) {
	ctx := context.Background()
	o := Options{Dir: t.TempDir(), FlushBytes: 2 << 20}
	m, twin := open(t, o), open(t, Options{Disk: store.NewMemory()})
	var next raft.Index
	apply := func(c Command) {
		next++
		e := []raft.Entry{{Term: 1, Index: next, Type: raft.EntryNormal, Data: proposal(t, session.Header{}, c)}}
		for _, m := range []*Machine{m, twin} {
			if _, err := m.Apply(e); err != nil {
				t.Error(err)
				return
			}
		}
	}
	for i := range 10_000 {
		apply(Put(fmt.Appendf(nil, "key-%05d", i), make([]byte, 8000)))
	}
	apply(DeleteRange(Span([]byte("key-00100"), []byte{0})))
	revision, _ := m.Revision()
	apply(Compact(revision))
	if err := errors.Join(m.FlushNow(), m.Scrub(ctx, revision)); err != nil {
		t.Fatal(err)
	}
	before := m.Stats()
	if before.UsedBytes > before.FileBytes/4 {
		t.Fatalf("%+v", before)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := range 50_000 { // what it leaves in the file is little beside what the copy saves, however slow the copy is
			select {
			case <-stop:
				return
			default:
			}
			apply(Put(fmt.Appendf(nil, "while-%d", i%1000), fmt.Append(nil, i)))
			if i%500 == 499 {
				revision, _ := m.Revision()
				apply(Compact(revision - 100))
			}
		}
	}()
	for range 2 {
		if err := m.Defragment(ctx); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
	if err := m.FlushNow(); err != nil {
		t.Fatal(err)
	}
	if after := m.Stats(); after.FileBytes > before.FileBytes/2 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if a, b := hashOf(t, m), hashOf(t, twin); a != b {
		t.Errorf("the copy has the hash %+v, want %+v", a, b)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, o)
	if a, b := hashOf(t, again), hashOf(t, twin); a != b {
		t.Errorf("opened again: %+v, want %+v", a, b)
	}
}

func TestDefragmentGivesUpWithItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		h := newHarness(t, o)
		h.do(Put([]byte("k"), []byte("v")))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := h.machine.Defragment(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		h.do(Put([]byte("k"), []byte("w")))
		if err := h.machine.Defragment(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := h.get("k", 0); string(got.Value) != "w" || string(h.get("k", 2).Value) != "v" {
			t.Fatalf("%+v", got)
		}
	})
}
