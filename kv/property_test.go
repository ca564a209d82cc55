package kv

import (
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

// generator draws commands over a small alphabet of keys that is awkward to order.
type generator struct {
	*rand.Rand
	model *model
}

func (g *generator) key() []byte {
	alphabet := []byte{0, 1, 'a', 'b', 0xff}
	k := make([]byte, 1+g.IntN(3))
	for i := range k {
		k[i] = alphabet[g.IntN(len(alphabet))]
	}
	return k
}

func (g *generator) keys() KeyRange {
	switch g.IntN(5) {
	case 0:
		return One(g.key())
	case 1:
		return Prefix(g.key()[:1])
	case 2:
		return All()
	}
	return Span(g.key(), g.key())
}

// pastRevision is usually one that can be read, sometimes one that cannot.
func (g *generator) pastRevision() uint64 {
	switch g.IntN(8) {
	case 0:
		return 0
	case 1:
		return g.Uint64N(g.model.revision + 3)
	}
	return g.model.compacted + g.Uint64N(g.model.revision-g.model.compacted+1)
}

func (g *generator) rangeRequest() RangeRequest {
	r := RangeRequest{Keys: g.keys(), Revision: g.pastRevision()}
	if g.IntN(2) == 0 {
		r.Limit = g.IntN(6)
	}
	r.KeysOnly, r.CountOnly, r.WithCount = g.IntN(4) == 0, g.IntN(8) == 0, g.IntN(4) == 0
	if g.IntN(3) == 0 {
		r.Sort, r.Target = SortOrder(g.IntN(3)), SortTarget(g.IntN(5))
	}
	if g.IntN(6) == 0 {
		*r.bounds()[g.IntN(4)] = g.Uint64N(g.model.revision + 1)
	}
	return r
}

func (g *generator) value() []byte {
	v := make([]byte, g.IntN(40))
	for i := range v {
		v[i] = byte(g.IntN(4))
	}
	return v
}

func (g *generator) op(depth int) Op {
	switch n := g.IntN(10); {
	case n < 5:
		op := Op{Kind: OpPut, Keys: One(g.key()), Value: g.value(), PrevKV: g.IntN(2) == 0}
		if g.IntN(3) == 0 {
			op.Lease = g.lease()
		}
		if g.IntN(8) == 0 {
			op.IgnoreValue, op.Value = true, nil
		}
		if g.IntN(8) == 0 {
			op.IgnoreLease, op.Lease = true, 0
		}
		return op
	case n < 7:
		return Op{Kind: OpDelete, Keys: g.keys(), PrevKV: g.IntN(2) == 0}
	case n < 9 || depth == 0:
		return RangeOp(g.rangeRequest())
	}
	t := g.txn(depth - 1)
	return Op{Kind: OpTxn, Txn: &t}
}

func (g *generator) txn(depth int) Txn {
	var t Txn
	for range g.IntN(3) {
		c := Compare{Keys: g.keys(), Target: CompareTarget(1 + g.IntN(5)), Relation: Relation(1 + g.IntN(4)), Number: g.pastRevision()}
		if g.IntN(2) == 0 {
			c.Keys, c.Number = One(g.key()), uint64(g.IntN(3))
		}
		if c.Target == TargetValue {
			c.Value = g.value()
		}
		t.Compares = append(t.Compares, c)
	}
	for range g.IntN(4) {
		t.Success = append(t.Success, g.op(depth))
	}
	for range g.IntN(3) {
		t.Failure = append(t.Failure, g.op(depth))
	}
	return t
}

// lease is the ID of one that exists, mostly.
func (g *generator) lease() LeaseID { return LeaseID(g.IntN(4)) }

func (g *generator) leaseCommand() Command {
	switch n := g.IntN(10); {
	case n < 5:
		return GrantLease(g.lease(), int64(g.IntN(5)))
	case n < 6:
		return RevokeLease(g.lease())
	case n < 8:
		return RenewLeases([]LeaseID{g.lease(), g.lease()})
	}
	var expired []Lease
	for id := range LeaseID(4) {
		if l, ok := g.model.leases[id]; ok && g.IntN(2) == 0 {
			l.Renewed -= uint64(g.IntN(2))
			expired = append(expired, l)
		}
	}
	return ExpireLeases(expired)
}

func (g *generator) command() Command {
	switch n := g.IntN(26); {
	case n >= 21:
		return g.leaseCommand()
	case n == 20:
		a := Alarm{Member: raft.NodeID(1 + g.IntN(2)), Type: AlarmType(1 + g.IntN(2))}
		if g.IntN(3) == 0 {
			return RaiseAlarm(a)
		}
		return LowerAlarm(a)
	case n == 19 && g.IntN(2) == 0:
		return Transaction(Txn{Success: []Op{{Kind: OpPut, Keys: One(g.key()), Value: g.value(), Lease: g.lease()}}})
	case n < 9:
		return Put(g.key(), g.value())
	case n < 11:
		return Delete(g.key())
	case n < 12:
		return DeleteRange(g.keys())
	case n < 14:
		key := g.key()
		var mod uint64
		if v := g.model.at(string(key), g.model.revision); v != nil && g.IntN(3) > 0 {
			mod = v.mod
		}
		if g.IntN(2) == 0 {
			return CompareAndDelete(key, mod)
		}
		return CompareAndPut(key, mod, g.value())
	case n < 18:
		return Transaction(g.txn(2))
	case n < 19:
		return OpenSession(raft.Incarnation(g.IntN(3)), uint64(g.IntN(4)))
	}
	return Compact(g.pastRevision())
}

// header draws one of an open session, or none, or one that makes little sense.
func (g *generator) header() session.Header {
	if g.IntN(2) == 0 {
		return session.Header{}
	}
	// One by one, so that a seed always makes the same choice.
	for id := range g.model.index + 1 {
		s, ok := g.model.sessions[id]
		if !ok || g.IntN(2) == 0 {
			continue
		}
		low := s.low + uint64(g.IntN(2))
		h := session.Header{Session: id, Low: low, Sequence: low + uint64(g.IntN(6)) - uint64(g.IntN(2))}
		if g.IntN(4) == 0 {
			h.Low = 1
		}
		return h
	}
	return session.Header{Session: uint64(g.IntN(50)), Sequence: 1, Low: 1}
}

// TestMachineAgainstModel runs random commands, reads, flushes, crashes, restarts and snapshots.
func TestMachineAgainstModel(t *testing.T) {
	seeds, steps := 60, 400
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("memory-", seed), func(t *testing.T) {
			o, disk := memory()
			o.compactMost = 1 + int(seed%20)
			againstModel(t, seed, steps, o, disk)
		})
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("bbolt-", seed), func(t *testing.T) {
			o := Options{Dir: t.TempDir(), Synchronous: seed%2 == 0, FlushBytes: 4 << 10}
			againstModel(t, 1000+seed, steps/2, o, nil)
		})
	}
}

func againstModel(t *testing.T, seed uint64, steps int, o Options, disk *store.Memory) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), model: newModel()}
	h := newHarness(t, o)
	twinOptions, _ := memory()
	twinOptions.FlushBytes = 1 + g.IntN(4000)
	twin := open(t, twinOptions)
	raise := func(version byte) {
		g.model.index++
		g.model.clusterVersion = uint32(version)
		e := raft.Entry{Term: 1, Index: raft.Index(g.model.index), Type: raft.EntryClusterVersion, Data: []byte{0, 0, 0, version}}
		h.log = append(h.log, e)
		for _, m := range []*Machine{h.machine, twin} {
			if _, err := m.Apply([]raft.Entry{e}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seed%8 != 0 {
		raise(leaseVersion)
	}
	for step := range steps {
		if step == steps/4 && seed%2 == 1 {
			raise(CompareVersion)
		}
		switch n := g.IntN(40); {
		case n < 24:
			var entries []raft.Entry
			var want []*Result
			for range 1 + g.IntN(5) {
				header, c := g.header(), g.command()
				e := raft.Entry{Term: 1, Index: raft.Index(len(h.log) + 1), Type: raft.EntryNormal, Data: proposal(t, header, c)}
				h.log, entries = append(h.log, e), append(entries, e)
				want = append(want, g.model.propose(header, c))
			}
			for _, m := range []*Machine{h.machine, twin} {
				got, err := m.Apply(entries)
				if err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if !sameResult(got[i].(*Result), want[i]) {
						c, _ := DecodeCommand(entries[i].Data)
						t.Fatalf("step %d: command %+v\ngot  %+v\nwant %+v", step, c, got[i], want[i])
					}
				}
			}
		case n < 34:
			compareReads(t, h.machine, g)
			compareLeases(t, h.machine, g.model)
			compareEvents(t, h.machine, g)
		case n == 36 && g.IntN(2) == 0:
			if err := h.machine.Defragment(context.Background()); err != nil {
				t.Fatal(err)
			}
		case n < 37:
			if err := h.machine.FlushNow(); err != nil {
				t.Fatal(err)
			}
		case n < 38:
			if disk != nil {
				disk.Crash() // what was not flushed is gone
			} else if err := h.machine.Close(); err != nil {
				t.Fatal(err)
			}
			h.reopen(o)
		case n < 39:
			next := o
			if disk != nil {
				next, disk = memory()
			} else {
				next.Dir = t.TempDir()
			}
			to := open(t, next)
			transfer(t, h.machine, to)
			h.machine, o = to, next
			h.replay()
		default:
			sameHashes(t, h.machine, twin)
		}
	}
	compareReads(t, h.machine, g)
	compareLeases(t, h.machine, g.model)
	sameHashes(t, h.machine, twin)
	onlyWhatIsKept(t, h.machine, g.model)
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
	got := m.Leases()
	if len(got) != len(want.leases) {
		t.Fatalf("leases %+v, want %+v", got, want.leases)
	}
	for _, l := range got {
		if l != want.leases[l.ID] {
			t.Fatalf("lease %+v, want %+v", l, want.leases[l.ID])
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
	got, err := m.Range(context.Background(), r)
	want := checkRevision(r.Revision, g.model.revision, g.model.compacted)
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Fatalf("range at %d: %v, want %v", r.Revision, err, want)
	}
	if err != nil {
		return
	}
	at := r.Revision
	if at == 0 {
		at = g.model.revision
	}
	w := g.model.read(r, at)
	w.Revision = g.model.revision
	if !sameRange(&got, w) {
		t.Fatalf("range %+v:\ngot  %+v\nwant %+v", r, got, w)
	}
}

func compareGet(t *testing.T, m *Machine, g *generator) {
	t.Helper()
	key, at := g.key(), g.pastRevision()
	one, err := m.Get(context.Background(), key, at)
	if want := checkRevision(at, g.model.revision, g.model.compacted); !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Fatalf("get at %d: %v, want %v", at, err, want)
	}
	if at == 0 {
		at = g.model.revision
	}
	if v := g.model.at(string(key), at); err == nil && (one.Found != (v != nil) || v != nil && !equalKV(one.KeyValue, v.keyValue(key))) {
		t.Fatalf("get %q at %d: %+v, want %+v", key, at, one, v)
	}
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
	// The order of the writes of one revision is that of the operations; the model does not keep it.
	sort.SliceStable(got, func(i, j int) bool {
		a, b := got[i].KV, got[j].KV
		return a.ModRevision == b.ModRevision && string(a.Key) < string(b.Key)
	})
	if !slices.EqualFunc(got, want, func(a, b Event) bool { return a.Type == b.Type && equalKV(a.KV, b.KV) }) {
		t.Fatalf("events:\ngot  %+v\nwant %+v", got, want)
	}
}
