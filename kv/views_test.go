package kv

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
)

// watchedDisk counts the views of its store that are open at a time, and runs before, once, when the next one is opened.
type watchedDisk struct {
	store.Disk
	open, most atomic.Int64
	before     atomic.Pointer[func()]
}

func (d *watchedDisk) Open() (store.Store, error) {
	s, err := d.Disk.Open()
	return watchedStore{s, d}, err
}

type watchedStore struct {
	store.Store
	disk *watchedDisk
}

func (s watchedStore) View() (store.View, error) {
	if f := s.disk.before.Swap(nil); f != nil {
		(*f)()
	}
	v, err := s.Store.View()
	if err != nil {
		return nil, err
	}
	open := s.disk.open.Add(1)
	s.disk.most.Store(max(open, s.disk.most.Load()))
	return watchedView{v, s.disk}, nil
}

type watchedView struct {
	store.View
	disk *watchedDisk
}

func (v watchedView) Close() error {
	v.disk.open.Add(-1)
	return v.View.Close()
}

// Whoever holds a view of the store must not open a second one: a store that is being closed waits for the first, and has the second wait.
func TestNobodyHoldsTwoViewsOfTheStore(t *testing.T) {
	disk := &watchedDisk{Disk: store.NewMemory()}
	h := newHarness(t, Options{Disk: disk})
	for i := range 20 {
		h.do(Put(fmt.Appendf(nil, "k%02d", i), []byte("v")))
	}
	if err := h.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	disk.most.Store(0)
	now, _ := h.machine.Revision()
	earlier := RangeOp(RangeRequest{Keys: All(), Revision: now - 10})
	txn := &Txn{
		Compares: []Compare{{Keys: One([]byte("k01")), Target: TargetMod, Relation: Greater}},
		Success: []Op{RangeOp(RangeRequest{Keys: One([]byte("k02"))}), earlier, {Kind: OpTxn, Txn: &Txn{
			Compares: []Compare{{Keys: One([]byte("k03")), Target: TargetMod, Relation: Greater}},
			Success:  []Op{earlier, RangeOp(RangeRequest{Keys: All(), Revision: now - 5})},
		}}},
	}
	r, err := h.machine.Read(context.Background(), txn)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Ops[1].Range.Items); n != 10 {
		t.Fatalf("ten revisions ago there were %d keys of 10", n)
	}
	if n := len(r.Ops[2].Txn.Ops[1].Range.Items); n != 15 {
		t.Fatalf("five revisions ago there were %d keys of 15", n)
	}
	txn.Success = append(txn.Success, PutOp([]byte("k04"), []byte("w")))
	if r := h.do(Transaction(*txn)); r.Err != nil || len(r.Ops[1].Range.Items) != 10 {
		t.Fatalf("%+v", r)
	}
	if disk.open.Load() != 0 || disk.most.Load() != 1 {
		t.Fatalf("%d views are open, at most %d were at a time", disk.open.Load(), disk.most.Load())
	}
}

// A transaction reads history that goes while it is on its way to it: it must say so rather than find nothing there.
func TestATransactionAtARevisionBesideCompaction(t *testing.T) {
	ctx := context.Background()
	for _, first := range []struct {
		name string
		ops  []Op
	}{
		{"alone", nil},
		{"behind another range", []Op{RangeOp(RangeRequest{Keys: One([]byte("other"))})}},
	} {
		t.Run(first.name, func(t *testing.T) {
			disk := &watchedDisk{Disk: store.NewMemory()}
			h := newHarness(t, Options{Disk: disk})
			for i := range 10 {
				h.do(Put([]byte("k"), fmt.Append(nil, i))) // revisions 2 to 11
			}
			if err := h.machine.FlushNow(); err != nil {
				t.Fatal(err)
			}
			compacts := func() {
				if r := h.do(Compact(9)); r.Err != nil {
					t.Error(r.Err)
				}
				if err := h.machine.FlushNow(); err != nil {
					t.Error(err)
				}
				if err := h.machine.Scrub(ctx, 9); err != nil {
					t.Error(err)
				}
			}
			disk.before.Store(&compacts)
			r, err := h.machine.Read(ctx, &Txn{Success: append(first.ops, RangeOp(RangeRequest{Keys: One([]byte("k")), Revision: 5}))})
			if err == nil {
				t.Fatalf("answered %+v", r.Ops[len(r.Ops)-1].Range)
			}
			if !errors.Is(err, ErrCompacted) {
				t.Fatal(err)
			}
		})
	}
}
