package sim

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/replica/bootstrap"
)

func TestQueueKeepsOrder(t *testing.T) {
	var q queue
	r := random{1}
	var got, want []time.Duration
	for range 1000 {
		at := time.Duration(r.n(100))
		want = append(want, at)
		q.push(at, nil)
	}
	slices.Sort(want)
	var last event
	for range want {
		e, ok := q.pop()
		if !ok {
			t.Fatal("the queue lost an event")
		}
		if e.at == last.at && e.seq < last.seq {
			t.Fatalf("event %d comes before event %d of the same moment", last.seq, e.seq)
		}
		got, last = append(got, e.at), e
	}
	if !slices.Equal(got, want) {
		t.Error("events do not come in the order of time")
	}
	if _, ok := q.pop(); ok {
		t.Error("the empty queue has an event")
	}
}

func TestTraceIsReadable(t *testing.T) {
	var out bytes.Buffer
	traced := Run(Options{Seed: 3, Duration: 5 * time.Second, Trace: &out})
	if traced.Violation != nil {
		t.Fatal(traced.Violation)
	}
	line := regexp.MustCompile(`^ *\d+\.\d{6}s (\[world\]|\[node [0-9a-f]+ \| term \d+ \| [A-Z-]+\]) \S`)
	for _, l := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if !line.MatchString(l) {
			t.Fatalf("line %q does not say when, which node, its term and its role", l)
		}
	}
	if silent := Run(Options{Seed: 3, Duration: 5 * time.Second}); silent.Hash != traced.Hash {
		t.Errorf("watching changes what happens: hash %016x, watched %016x", silent.Hash, traced.Hash)
	}
}

func TestShrinkKeepsTheFailure(t *testing.T) {
	opts := Options{Seed: 1, Duration: 30 * time.Second, mutant: readWithoutAsking}
	before := Run(opts).Violation
	if before == nil {
		t.Fatal("the bug is not caught")
	}
	small := Shrink(opts)
	after := Run(small).Violation
	if after == nil || after.Property != before.Property {
		t.Errorf("the smaller run breaks %v, the larger broke %v", after, before)
	}
	if small.Without == 0 && small.Duration == opts.Duration {
		t.Error("nothing became smaller")
	}
}

func TestFaultsLeftOutDoNotHappen(t *testing.T) {
	c := Run(Options{Seed: 5, Duration: 30 * time.Second, Without: AllFaults}).Coverage
	if n := c.MessagesLost + c.MessagesDoubled + c.MessagesDelayed + c.Partitions + c.Crashes + c.PowerLosses + c.Pauses +
		c.ClockJumps + c.DiskStalls + c.DiskErrors + c.Wipes + c.Changes + c.Transfers + c.Compactions + c.GivenUp; n != 0 {
		t.Errorf("%d faults happened: %s", n, c)
	}
	if c.Elections == 0 || c.EntriesCommitted == 0 {
		t.Errorf("nothing else happened either: %s", c)
	}
}

// TestAStartFindsWhatAScrubHasStored: to read all of its state a member first makes durable what it has applied. The model must know that: it
// compares what the next start finds with it.
func TestAStartFindsWhatAScrubHasStored(t *testing.T) {
	w := &world{opts: Options{Seed: 1, Without: AllFaults}, hash: newHash(), root: random{1}, members: map[raft.NodeID]*member{}}
	w.plan = drawPlan(w.root.child(labelPlan))
	w.plan.realMachine, w.plan.bootIndex = true, uint64(bootstrap.FirstPosition.Index)
	w.plan.flush = time.Hour // so that nothing else stores it
	w.build()
	for i := range w.plan.clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	until := func(at time.Duration) {
		for w.queue.hasBy(at) {
			w.next()
		}
	}
	until(5 * time.Second)
	h := w.members[1].host
	before := h.proc.machine.meta.Index
	if stored := h.member.durable.meta.Index; stored >= before {
		t.Fatalf("entry %d is stored already, %d is applied: there is nothing to scrub for", stored, before)
	}
	h.member.rotten = true // or nobody would look
	h.proc.scrub()
	until(w.now)
	h.kill()
	h.boot(w)
	if found := h.proc.machine.meta.Index; found < before {
		t.Errorf("the program starts at entry %d, %d was stored", found, before)
	}
}

func TestHistoriesAreJudged(t *testing.T) {
	write := func(value uint64, call, done time.Duration) *operation {
		return &operation{kind: opWrite, value: value, call: call, done: done, known: true}
	}
	read := func(value uint64, call, done time.Duration) *operation {
		return &operation{kind: opRead, call: call, done: done, known: true, result: result{value: value}}
	}
	swap := func(old, value uint64, swapped bool, call, done time.Duration) *operation {
		return &operation{kind: opSwap, old: old, value: value, call: call, done: done, known: true, result: result{swapped: swapped}}
	}
	unknown := &operation{kind: opWrite, value: 9, call: 1}
	for _, c := range []struct {
		name string
		ops  []*operation
		ok   bool
	}{
		{"nothing", nil, true},
		{"a read of what was written", []*operation{write(1, 1, 2), read(1, 3, 4)}, true},
		{"a stale read", []*operation{write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)}, false},
		{"a read beside a write sees either", []*operation{write(1, 1, 2), write(2, 3, 8), read(1, 4, 5), read(2, 6, 7)}, true},
		{"a read that goes back", []*operation{write(1, 1, 2), write(2, 3, 8), read(2, 4, 5), read(1, 6, 7)}, false},
		{"an unknown write took effect late", []*operation{unknown, write(1, 2, 3), read(9, 4, 5)}, true},
		{"an unknown write took no effect", []*operation{unknown, write(1, 2, 3), read(1, 4, 5)}, true},
		{"a swap that should have failed", []*operation{write(1, 1, 2), swap(7, 2, true, 3, 4)}, false},
		{"a swap that should have succeeded", []*operation{write(1, 1, 2), swap(1, 2, false, 3, 4)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				if refused := recover() != nil; refused == c.ok {
					t.Errorf("refused: %t", refused)
				}
			}()
			h := history{operations: c.ops}
			h.check()
		})
	}
}

func TestPowerLossKeepsABeginning(t *testing.T) {
	for seed := range uint64(200) {
		r := random{seed}
		d := randomDisk(&r)
		before := d.durable.clone()
		after := d.durable.clone()
		for _, x := range records(d.unsynced) {
			after.apply(x)
		}
		d.losePower(&r)
		got := &d.durable
		if last := got.last().Index; last < before.start.Index {
			t.Fatalf("seed %d: the log ends at %d, before its start", seed, last)
		}
		for _, e := range got.entries {
			t1, inBefore := before.term(e.Index)
			t2, inAfter := after.term(e.Index)
			if !(inBefore && t1 == e.Term) && !(inAfter && t2 == e.Term) {
				t.Fatalf("seed %d: entry %d of term %d was never written", seed, e.Index, e.Term)
			}
		}
		if got.hard != before.hard && got.hard != after.hard {
			t.Fatalf("seed %d: hard state %v was never written", seed, got.hard)
		}
	}
}

// randomDisk has a durable log and a batch under way that cuts a part of it off.
func randomDisk(r *random) *disk {
	d := &disk{}
	n := r.span(1, 10)
	for i := range n {
		d.durable.entries = append(d.durable.entries, raft.Entry{Index: raft.Index(i + 1), Term: 1})
	}
	first := r.span(1, n+1)
	var entries []raft.Entry
	for i := range r.span(1, 10) {
		entries = append(entries, raft.Entry{Index: raft.Index(first + i), Term: 2})
	}
	d.write([]*raft.StoreRequest{{HardState: &raft.HardState{Term: 2, Vote: 1}}, {Entries: entries}})
	return d
}
