package kv

import (
	"context"
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
)

// lookedAt is a disk whose store calls early before it opens a view, look once for each view, behind its opening, and commits before each commit,
// unless one of them is under way.
type lookedAt struct {
	store.Disk
	early, look, commits func()
	busy                 bool
}

func (d *lookedAt) Open() (store.Store, error) {
	s, err := d.Disk.Open()
	return lookedAtStore{s, d}, err
}

func (d *lookedAt) Adopt(name string) (store.Store, error) {
	s, err := d.Disk.Adopt(name)
	if err != nil {
		return nil, err
	}
	return lookedAtStore{s, d}, nil
}

func (d *lookedAt) call(f func()) {
	if f != nil && !d.busy {
		d.busy = true
		f()
		d.busy = false
	}
}

type lookedAtStore struct {
	store.Store
	disk *lookedAt
}

func (s lookedAtStore) Commit(b *store.Batch) error {
	s.disk.call(s.disk.commits)
	return s.Store.Commit(b)
}

func (s lookedAtStore) View() (store.View, error) {
	s.disk.call(s.disk.early)
	v, err := s.Store.View()
	return &lookedAtView{View: v, disk: s.disk}, err
}

type lookedAtView struct {
	store.View
	disk   *lookedAt
	looked bool
}

func (v *lookedAtView) Iterate(b store.Bucket) store.Iterator {
	if !v.looked && !v.disk.busy {
		v.looked = true
		v.disk.call(v.disk.look)
	}
	return v.View.Iterate(b)
}

// compacting returns what writes a key and gives up and removes all history before that, and counts how often.
func compacting(t *testing.T, h *harness, times *int) func() {
	return func() {
		if *times++; *times > 3 {
			t.Fatal("it begins again and again")
		}
		r := h.do(Put([]byte("other"), fmt.Append(nil, *times)))
		h.do(Compact(r.Revision))
		for h.machine.header.scrub.done < r.Revision {
			flushNow(t, h)
		}
	}
}

// TestReadsBearLaterCompaction: what is given up once a read has its view of the store is still in that, so that the read neither fails nor begins
// again, which it might do for ever where compactions come faster.
func TestReadsBearLaterCompaction(t *testing.T) {
	o, memory := memory()
	disk := &lookedAt{Disk: memory}
	o.Disk = disk
	h := newHarness(t, o)
	var revision uint64 // of the version of k that is to be read
	for name, read := range map[string]func() ([]byte, error){
		"latest": func() ([]byte, error) {
			r, err := h.machine.Get(t.Context(), []byte("k"), 0)
			return r.Value, err
		},
		"at a revision": func() ([]byte, error) {
			r, err := h.machine.Get(t.Context(), []byte("k"), revision)
			return r.Value, err
		},
		"range": func() ([]byte, error) {
			r, err := h.machine.Range(t.Context(), RangeRequest{Keys: One([]byte("k")), Revision: revision})
			if err != nil {
				return nil, err
			}
			return r.Items[0].Value, nil
		},
		"transaction": func() ([]byte, error) {
			r, err := h.machine.Read(t.Context(), &Txn{Success: []Op{RangeOp(RangeRequest{Keys: One([]byte("k")), Revision: revision})}})
			if err != nil {
				return nil, err
			}
			return r.Ops[0].Range.Items[0].Value, nil
		},
		"events": func() ([]byte, error) {
			r, _, err := h.machine.Events(t.Context(), EventsRequest{From: revision, Match: One([]byte("k")).Contains, MostEvents: 1, MostBytes: 1})
			if err != nil {
				return nil, err
			}
			return r[0].KV.Value, nil
		},
	} {
		h.do(Put([]byte("k"), []byte("old")))
		revision = h.do(Put([]byte("k"), []byte(name))).Revision
		flushNow(t, h)
		times := 0
		disk.look = compacting(t, h, &times)
		if got, err := read(); err != nil || string(got) != name || times != 1 {
			t.Errorf("%s: %q, %v, after %d compactions", name, got, err, times)
		}
		disk.look = nil
	}
}

// asked is a context that calls look whenever it is asked whether it has ended, as long reads do now and then.
type asked struct {
	context.Context
	look func()
}

func (c asked) Err() error {
	c.look()
	return c.Context.Err()
}

// TestHashesBearLaterCompaction: they read everything, which takes longer than it is between two compactions of a busy store.
func TestHashesBearLaterCompaction(t *testing.T) {
	o, _ := memory()
	h := newHarness(t, o)
	for i := range 3 * keysPerView / 2 {
		h.do(Put(fmt.Appendf(nil, "k%d", i%100), nil))
	}
	flushNow(t, h)
	want, err := h.machine.HashKV(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	times := 0
	ctx := asked{t.Context(), compacting(t, h, &times)}
	if got, err := h.machine.HashKV(ctx, 0); err != nil || got != want || times != 1 {
		t.Errorf("%+v, %v after %d compactions; it was %+v", got, err, times, want)
	}
	for i := range 3 * keysPerView / 2 {
		h.do(Put(fmt.Appendf(nil, "k%d", i%100), nil))
	}
	flushNow(t, h)
	before := hashOf(t, h.machine)
	times = 0
	if got, err := h.machine.Hash(ctx); err != nil || got != before || times != 1 {
		t.Errorf("%+v, %v after %d compactions; it was %+v", got, err, times, before)
	}
}

// TestTheHashOfNothing: it is not zero, which looks as if there were no answer, nor that of a key.
func TestTheHashOfNothing(t *testing.T) {
	o, _ := memory()
	h := newHarness(t, o)
	empty, err := h.machine.HashKV(t.Context(), 0)
	if err != nil || empty.Hash == 0 {
		t.Fatalf("%+v, %v", empty, err)
	}
	h.do(Put([]byte("k"), nil))
	if full, err := h.machine.HashKV(t.Context(), 0); err != nil || full.Hash == empty.Hash {
		t.Errorf("%+v, %v", full, err)
	}
}
