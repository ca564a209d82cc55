package kv

import (
	"context"
	"errors"
	"slices"
	"sort"
)

// readMeanwhile makes a read between whose look at the state and at the store others write, give history up, remove it, and replace the store: before
// the read has a view of the store, or behind that. The answer is that of the state before all this, or of the one after.
func (x *trial) readMeanwhile() {
	x.t.Helper()
	come := &x.disk.look
	if x.IntN(2) == 0 {
		come = &x.disk.early
	}
	*come = func() {
		*come = nil
		x.meanwhile()
	}
	switch x.IntN(5) {
	case 0:
		r := x.rangeRequest()
		x.either(func() answer { return rangeOf(x.machine, r) }, func() answer { return x.model.rangeOf(r) })
	case 1:
		key, at := x.key(), x.pastRevision()
		x.either(func() answer { return getOf(x.machine, key, at) }, func() answer { return x.model.getOf(key, at) })
	case 2:
		t := x.readTxn(2)
		x.either(func() answer { return asAnswer(x.machine.Read(context.Background(), &t)) },
			func() answer { r := x.model.transact(&t); return asAnswer(r, r.Err) })
	case 3:
		x.hashMeanwhile()
	case 4:
		x.eventsMeanwhile()
	}
	*come = nil
}

func (x *trial) meanwhile() {
	x.t.Helper()
	x.write(Compact(x.model.revision - x.Uint64N(min(4, x.model.revision))))
	if x.IntN(3) > 0 {
		if err := x.machine.Scrub(context.Background(), x.model.compacted); err != nil {
			x.t.Fatal(err)
		}
	}
	if x.IntN(4) == 0 {
		if err := x.machine.Defragment(context.Background()); err != nil {
			x.t.Fatal(err)
		}
	}
}

// flush makes all durable, and others write and read before it is committed.
func (x *trial) flush() {
	x.t.Helper()
	if x.disk != nil && x.IntN(2) == 0 {
		x.disk.commits = func() {
			x.disk.commits = nil
			x.read()
			x.write()
			x.read()
			sameHashes(x.t, x.machine, x.twin)
		}
	}
	if err := x.machine.FlushNow(); err != nil {
		x.t.Fatal(err)
	}
	if x.disk != nil {
		x.disk.commits = nil
	}
}

// defragment copies the store, and others write, give history up and perhaps flush before one of its buckets is copied.
func (x *trial) defragment() {
	x.t.Helper()
	buckets, flushes := 1+x.IntN(2), x.IntN(2) == 0
	ctx := asked{context.Background(), func() {
		if buckets--; buckets != 0 {
			return
		}
		for range 3 {
			x.write(Compact(x.model.revision))
			if !flushes {
				continue
			}
			if err := x.machine.FlushNow(); err != nil {
				x.t.Fatal(err)
			}
		}
	}}
	if err := x.machine.Defragment(ctx); err != nil {
		x.t.Fatal(err)
	}
}

// either makes a read, and compares it with what the model has to say before and behind it.
func (x *trial) either(read, want func() answer) {
	x.t.Helper()
	before := want()
	got := read()
	if after := want(); !before.same(got) && !after.same(got) {
		x.t.Fatalf("got  %+v\nwant %+v\nor   %+v", got, before, after)
	}
}

// asAnswer gathers all that a transaction has read in one list, and makes a number of the rest.
func asAnswer(r *Result, err error) answer {
	if err != nil {
		return answer{err: err}
	}
	out := answer{RangeResult: RangeResult{Revision: r.Revision, More: r.Succeeded}}
	var gather func(ops []OpResult)
	gather = func(ops []OpResult) {
		for _, op := range ops {
			if op.Txn != nil {
				gather(op.Txn.Ops)
				continue
			}
			out.Count = 31*out.Count + op.Range.Count + op.Range.Revision
			if op.Range.More {
				out.Count++
			}
			out.Items = append(out.Items, op.Range.Items...)
		}
	}
	gather(r.Ops)
	return out
}

func (x *trial) hashMeanwhile() {
	x.t.Helper()
	sum := func(m *Machine) [2]uint64 {
		kv, err := m.HashKV(context.Background(), 0)
		if err != nil {
			x.t.Fatal(err)
		}
		return [2]uint64{uint64(kv.Hash), kv.Revision}
	}
	before := sum(x.twin)
	got := sum(x.machine)
	if after := sum(x.twin); got != before && got != after {
		x.t.Fatalf("the checksum of the keys is %x, that of the twin %x or %x", got, before, after)
	}
}

// eventsMeanwhile reads a part of the history: all of it up to where it says, or nothing if that was given up.
func (x *trial) eventsMeanwhile() {
	x.t.Helper()
	r := EventsRequest{From: max(x.pastRevision(), 1), Match: x.keys().Contains, MostEvents: 1 + x.IntN(20), MostBytes: 1 + x.IntN(2000)}
	revision := x.model.revision
	got, next, err := x.machine.Events(context.Background(), r)
	if err != nil {
		if !errors.Is(err, ErrCompacted) || r.From >= x.model.compacted {
			x.t.Fatalf("events from %d, when %d is compacted: %v", r.From, x.model.compacted, err)
		}
		return
	}
	if next < r.From || next == r.From && next <= revision || next > x.model.revision+1 && next != r.From {
		x.t.Fatalf("events from %d of %d revisions go on from %d", r.From, x.model.revision, next)
	}
	want := slices.DeleteFunc(x.model.events(r.From, r.Match), func(e Event) bool { return e.KV.ModRevision >= next })
	sortEvents(got)
	if !slices.EqualFunc(got, want, sameEvent) {
		x.t.Fatalf("events from %d to %d:\ngot  %+v\nwant %+v", r.From, next, got, want)
	}
}

// sortEvents puts those of one revision in the order of their keys: the model does not keep that of the operations.
func sortEvents(events []Event) {
	sort.SliceStable(events, func(i, j int) bool {
		a, b := events[i].KV, events[j].KV
		return a.ModRevision == b.ModRevision && string(a.Key) < string(b.Key)
	})
}

func sameEvent(a, b Event) bool { return a.Type == b.Type && equalKV(a.KV, b.KV) }
