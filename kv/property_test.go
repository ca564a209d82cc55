package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// TestMachineAgainstModel runs random commands, reads, flushes, crashes, restarts, snapshots and restorations.
func TestMachineAgainstModel(t *testing.T) {
	seeds, steps := 60, 400
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("memory-", seed), func(t *testing.T) {
			againstModel(t, seed, steps, Options{Synchronous: true, compactMost: 1 + int(seed%20)})
		})
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("bbolt-", seed), func(t *testing.T) {
			againstModel(t, 1000+seed, steps/2, Options{Dir: t.TempDir(), Synchronous: seed%2 == 0, FlushBytes: 4 << 10})
		})
	}
}

// trial is a machine, a twin that flushes at other times and gets other batches, and the model of both.
type trial struct {
	t *testing.T
	*generator
	*harness
	twin    *Machine
	options Options
	// memory and disk, which is it, are nil if the machine is on bbolt.
	memory *store.Memory
	disk   *lookedAt
}

// afresh chooses another place for the machine.
func (x *trial) afresh() {
	if x.options.Dir != "" {
		x.options.Dir = x.t.TempDir()
		return
	}
	x.memory = store.NewMemory()
	x.disk = &lookedAt{Disk: x.memory}
	x.options.Disk = x.disk
}

func againstModel(t *testing.T, seed uint64, steps int, o Options) {
	x := &trial{t: t, generator: &generator{Rand: rand.New(rand.NewPCG(seed, 1)), model: newModel()}, harness: &harness{t: t}, options: o}
	x.afresh()
	x.machine = open(t, x.options)
	x.twin = x.newTwin()
	if seed%8 != 0 {
		x.raise(leaseVersion)
	}
	for step := range steps {
		if step == steps/4 && seed%2 == 1 {
			x.raise(CompareVersion)
		}
		x.step()
	}
	x.read()
	sameHashes(t, x.machine, x.twin)
	onlyWhatIsKept(t, x.machine, x.model)
}

func (x *trial) newTwin() *Machine {
	o, _ := memory()
	o.FlushBytes = 1 + x.IntN(4000)
	return open(x.t, o)
}

func (x *trial) raise(version byte) {
	x.model.index++
	x.model.clusterVersion = uint32(version)
	e := raft.Entry{Term: 1, Index: raft.Index(x.model.index), Type: raft.EntryClusterVersion, Data: []byte{0, 0, 0, version}}
	x.log = append(x.log, e)
	for _, m := range []*Machine{x.machine, x.twin} {
		if _, err := m.Apply([]raft.Entry{e}); err != nil {
			x.t.Fatal(err)
		}
	}
}

func (x *trial) step() {
	switch n := x.IntN(44); {
	case n < 24:
		x.write()
	case n < 34:
		x.read()
	case n == 34 && x.IntN(2) == 0:
		x.defragment()
	case n < 37:
		x.flush()
	case n == 37:
		if x.memory != nil {
			x.memory.Crash() // what was not flushed is gone
		} else if err := x.machine.Close(); err != nil {
			x.t.Fatal(err)
		}
		x.reopen(x.options)
	case n == 38:
		from := x.machine
		x.afresh()
		x.machine = open(x.t, x.options)
		transfer(x.t, from, x.machine)
		x.replay()
	case n == 39:
		sameHashes(x.t, x.machine, x.twin)
	case n == 40 && x.IntN(3) == 0:
		x.succeed()
	case x.disk != nil:
		x.readMeanwhile()
	}
}

func (x *trial) read() {
	x.t.Helper()
	compareReads(x.t, x.machine, x.generator)
	compareLeases(x.t, x.machine, x.model)
	compareEvents(x.t, x.machine, x.generator)
}

// write applies commands: drawn ones, and then those that are given.
func (x *trial) write(more ...Command) {
	x.t.Helper()
	var entries []raft.Entry
	var want []*Result
	add := func(header session.Header, c Command) {
		e := raft.Entry{Term: 1, Index: raft.Index(len(x.log) + 1), Type: raft.EntryNormal, Data: proposal(x.t, header, c)}
		x.log, entries = append(x.log, e), append(entries, e)
		want = append(want, x.model.propose(header, c))
	}
	for range 1 + x.IntN(5) {
		add(x.header(), x.command())
	}
	for _, c := range more {
		add(session.Header{}, c)
	}
	check := func(m *Machine, entries []raft.Entry, want []*Result) {
		got, err := m.Apply(entries)
		if err != nil {
			x.t.Fatal(err)
		}
		for i := range got {
			if !sameResult(got[i].(*Result), want[i]) {
				_, data, _ := session.Decode(entries[i].Data)
				c, _ := DecodeCommand(data)
				x.t.Fatalf("entry %d: command %+v (%+v)\ngot  %+v\nwant %+v", entries[i].Index, c, c.Txn, got[i], want[i])
			}
		}
	}
	check(x.machine, entries, want)
	for len(entries) > 0 {
		n := 1 + x.IntN(len(entries))
		check(x.twin, entries[:n], want[:n])
		entries, want = entries[n:], want[n:]
	}
}

// succeed makes the state that with which a new cluster begins: where it is, or as a snapshot of it is restored.
func (x *trial) succeed() {
	if x.model.index == 0 {
		return // a snapshot is of something
	}
	o := RestoreOptions{BumpRevision: x.Uint64N(50), MarkCompacted: x.IntN(2) == 0}
	inPlace := x.IntN(2) == 0
	if inPlace {
		for _, m := range []*Machine{x.machine, x.twin} {
			if _, err := m.Succeed(o); err != nil {
				x.t.Fatal(err)
			}
		}
	} else {
		_, file := stream(x.t, x.machine)
		x.afresh()
		x.machine, x.twin = open(x.t, x.options), x.newTwin()
		for _, m := range []*Machine{x.machine, x.twin} {
			if _, err := m.Restore(bytes.NewReader(file), o); err != nil {
				x.t.Fatal(err)
			}
		}
	}
	x.model.succeed(o, inPlace)
	sameHashes(x.t, x.machine, x.twin)
}

// sameHashes compares machines at the same index by all that is made to compare them.
func sameHashes(t *testing.T, a, b *Machine) {
	t.Helper()
	if x, y := hashOf(t, a), hashOf(t, b); x != y {
		t.Fatalf("the hashes differ: %+v and %+v", x, y)
	}
	at, last := []*Machine{a, b}, [2]RunningHash{}
	for i, m := range at {
		if points := m.HashPoints(); len(points) > 0 {
			last[i] = points[len(points)-1]
		}
	}
	if last[0] != last[1] {
		t.Fatalf("the running checksums differ: %+v and %+v", last[0], last[1])
	}
	revision, compacted := a.Revision()
	for _, from := range []uint64{0, compacted + (revision-compacted)/2} {
		var kv [2]HashKVResult
		for i, m := range at {
			var err error
			if kv[i], err = m.HashKV(t.Context(), from); err != nil {
				t.Fatal(err)
			}
		}
		if kv[0] != kv[1] {
			t.Fatalf("the checksums of the keys differ: %+v and %+v", kv[0], kv[1])
		}
	}
}

func compareLeases(t *testing.T, m *Machine, want *model) {
	t.Helper()
	got := m.LeaseIDs()
	if len(got) != len(want.leases) {
		t.Fatalf("leases %d, want %+v", got, want.leases)
	}
	for _, id := range got {
		l, ok := m.Lease(id)
		if !ok || l != want.leases[id] {
			t.Fatalf("lease %+v, want %+v", l, want.leases[id])
		}
		if got, want := m.LeaseKeys(l.ID), want.leased(l.ID); !slices.Equal(got, want) {
			t.Fatalf("lease %d has the keys %q, want %q", l.ID, got, want)
		}
	}
	for _, a := range m.Alarms() {
		if !want.alarms[a] {
			t.Fatalf("alarm %+v is up", a)
		}
	}
}

// compareReads makes reads of both kinds, either first: one may do for the other what it should have done itself.
func compareReads(t *testing.T, m *Machine, g *generator) {
	t.Helper()
	for range 10 {
		if g.IntN(2) == 0 {
			compareRange(t, m, g)
		} else {
			compareGet(t, m, g)
		}
	}
}

func compareRange(t *testing.T, m *Machine, g *generator) {
	t.Helper()
	r := g.rangeRequest()
	if got, want := rangeOf(m, r), g.model.rangeOf(r); !want.same(got) {
		t.Fatalf("range %+v:\ngot  %+v\nwant %+v", r, got, want)
	}
}

func compareGet(t *testing.T, m *Machine, g *generator) {
	t.Helper()
	key, at := g.key(), g.pastRevision()
	if got, want := getOf(m, key, at), g.model.getOf(key, at); !want.same(got) {
		t.Fatalf("get %q at %d: %+v, want %+v", key, at, got, want)
	}
}

// answer is that to a read: a range, or its error.
type answer struct {
	RangeResult
	err error
}

func (want answer) same(got answer) bool {
	if want.err != nil || got.err != nil {
		return got.err != nil && errors.Is(got.err, want.err)
	}
	return sameRange(&got.RangeResult, &want.RangeResult)
}

func rangeOf(m *Machine, r RangeRequest) answer {
	out, err := m.Range(context.Background(), r)
	return answer{out, err}
}

func (m *model) rangeOf(r RangeRequest) answer {
	if err := checkRevision(r.Revision, m.revision, m.compacted); err != nil {
		return answer{err: err}
	}
	at := r.Revision
	if at == 0 {
		at = m.revision
	}
	out := m.read(r, at)
	out.Revision = m.revision
	return answer{RangeResult: *out}
}

func getOf(m *Machine, key []byte, at uint64) answer {
	one, err := m.Get(context.Background(), key, at)
	out := answer{RangeResult{Revision: one.Revision}, err}
	if one.Found {
		out.Items = []KeyValue{one.KeyValue}
	}
	return out
}

func (m *model) getOf(key []byte, at uint64) answer {
	return m.rangeOf(RangeRequest{Keys: One(key), Revision: at})
}

// onlyWhatIsKept looks into the store: once compaction has ended, it holds exactly the versions that can still be read.
func onlyWhatIsKept(t *testing.T, m *Machine, want *model) {
	t.Helper()
	if err := m.FlushNow(); err != nil {
		t.Fatal(err)
	}
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	for more := true; more; {
		var err error
		if more, err = m.compactStep(1); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for _, versions := range want.history {
		for i, v := range versions {
			newest := i == len(versions)-1 || versions[i+1].mod > want.compacted
			if v.mod > want.compacted || newest && (!v.deleted || v.mod == want.compacted) {
				kept++
			}
		}
	}
	view, err := m.current.store.View()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	for _, bucket := range []store.Bucket{bucketIndex, bucketRecords} {
		n := 0
		it := view.Iterate(bucket)
		for k, _ := it.First(); k != nil; k, _ = it.Next() {
			n++
		}
		if n != kept {
			t.Errorf("bucket %d holds %d records, want %d", bucket, n, kept)
		}
	}
}

// events are the writes from a revision on, in the model.
func (m *model) events(from uint64, match func([]byte) bool) []Event {
	var out []Event
	for key, versions := range m.history {
		for _, v := range versions {
			if v.mod >= from && match([]byte(key)) {
				out = append(out, v.event([]byte(key)))
			}
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].KV, out[j].KV
		return a.ModRevision < b.ModRevision || a.ModRevision == b.ModRevision && string(a.Key) < string(b.Key)
	})
	return out
}

func compareEvents(t *testing.T, m *Machine, g *generator) {
	t.Helper()
	r := EventsRequest{From: max(g.pastRevision(), 1), Match: g.keys().Contains, MostEvents: 1 + g.IntN(20), MostBytes: 1 + g.IntN(2000)}
	want := g.model.events(r.From, r.Match)
	refused := r.From < g.model.compacted
	var got []Event
	for {
		events, next, err := m.Events(context.Background(), r)
		if refused || err != nil {
			if !refused || !errors.Is(err, ErrCompacted) {
				t.Fatalf("events from %d: %v", r.From, err)
			}
			return
		}
		if n := len(events); n > 0 && (events[0].KV.ModRevision < r.From || events[n-1].KV.ModRevision >= next) {
			t.Fatalf("events from %d are of other revisions: next is %d", r.From, next)
		}
		got = append(got, events...)
		if next > g.model.revision {
			break
		}
		if next <= r.From {
			t.Fatalf("events from %d go on from %d", r.From, next)
		}
		r.From = next
	}
	sortEvents(got)
	if !slices.EqualFunc(got, want, sameEvent) {
		t.Fatalf("events:\ngot  %+v\nwant %+v", got, want)
	}
}
