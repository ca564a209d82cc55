package compare

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// Clusters of real state machines, on stores in memory that lose what was not committed, apply one log in batches of their own, crash, restart
// and install snapshots. Now and then one of them goes wrong in silence: it applies something else than the log says, or its store loses a
// version with all checksums in order. Whoever compares them, with some silent and some behind, must blame nobody who is right, and
// must find who is wrong.

// disk remembers the store in force, so that it can be spoiled.
type disk struct {
	*store.Memory
	open store.Store
}

func (d *disk) Open() (s store.Store, err error) {
	s, err = d.Memory.Open()
	d.open = s
	return s, err
}

func (d *disk) Adopt(name string) (s store.Store, err error) {
	s, err = d.Memory.Adopt(name)
	d.open = s
	return s, err
}

// simulated is one member.
type simulated struct {
	id      raft.NodeID
	disk    *disk
	machine *kv.Machine
	// falsify says that it applies the next write otherwise, wrong that its state is not what the log makes.
	falsify, wrong bool
}

// world is a cluster and what happens to it.
type world struct {
	t       *testing.T
	seed    uint64
	random  *rand.Rand
	log     []raft.Entry
	members []*simulated
	lastID  raft.NodeID
	// suspicion is that of who compares.
	suspicion Suspicion
	fenced    int
	lost      map[string]int
}

const worldKeys = 12

func worldKey(n int) []byte { return fmt.Appendf(nil, "key-%02d", n) }

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, args...))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.fatalf("%v", err)
	}
}

func (w *world) join() *simulated {
	w.lastID++
	m := &simulated{id: w.lastID, disk: &disk{Memory: store.NewMemory()}}
	w.openMachine(m)
	w.members = append(w.members, m)
	return m
}

func (w *world) openMachine(m *simulated) {
	var err error
	m.machine, err = kv.Open(kv.Options{Disk: m.disk, Synchronous: true, FlushBytes: 1 << 10})
	w.must(err)
}

func (w *world) append(c kv.Command) {
	data, err := kv.AppendProposal(nil, session.Header{}, c)
	w.must(err)
	w.log = append(w.log, raft.Entry{Term: 1, Index: raft.Index(len(w.log) + 1), Type: raft.EntryNormal, Data: data})
}

// write appends some command.
func (w *world) write() {
	key, value := worldKey(w.random.IntN(worldKeys)), binary.AppendUvarint(nil, uint64(len(w.log)))
	switch x := w.random.IntN(20); {
	case x == 0:
		w.append(kv.Compact(1 + uint64(w.random.IntN(len(w.log)))))
	case x == 1:
		w.append(kv.OpenSession(1, uint64(len(w.log))))
	case x == 2:
		w.append(kv.GrantLease(kv.LeaseID(len(w.log)), 10))
	case x < 6:
		w.append(kv.DeleteRange(kv.Span(key, worldKey(w.random.IntN(worldKeys)))))
	default:
		w.append(kv.Put(key, value))
	}
}

// apply lets a member apply up to some entries.
func (w *world) apply(m *simulated, most int) {
	at := int(m.machine.Applied().Index)
	batch := slices.Clone(w.log[at:min(at+most, len(w.log))])
	for i := range batch {
		if m.falsify && batch[i].Type == raft.EntryNormal {
			data, err := kv.AppendProposal(nil, session.Header{}, kv.Put(fmt.Appendf(nil, "written by %s alone", m.id), nil))
			w.must(err)
			batch[i].Data, m.falsify, m.wrong = data, false, true
		}
	}
	_, err := m.machine.Apply(batch)
	w.must(err)
}

// crash loses what was not flushed, unless it is wrong: what went wrong in memory only would come right from the log.
func (w *world) crash(m *simulated) {
	if m.wrong {
		w.must(m.machine.FlushNow())
	}
	m.disk.Crash()
	w.openMachine(m)
}

// lose takes the newest version of some key out of a member's store.
func (w *world) lose(m *simulated) {
	w.must(m.machine.FlushNow())
	key := worldKey(w.random.IntN(worldKeys))
	got, err := m.machine.Get(context.Background(), key, 0)
	w.must(err)
	if !got.Found {
		return
	}
	v, err := m.disk.open.View()
	w.must(err)
	prefix := append(slices.Clone(key), 0, 1)
	k, _ := v.Iterate(1).Seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		w.fatalf("%s is not where it should be", key)
	}
	var b store.Batch
	b.Delete(1, slices.Clone(k))
	b.Delete(2, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, ^binary.BigEndian.Uint64(k[len(prefix):])), 0))
	w.must(v.Close())
	w.must(m.disk.open.Commit(&b))
	m.wrong = true
}

// install sends a snapshot of a member that is right to one that is behind.
func (w *world) install(m *simulated) bool {
	for _, from := range w.members {
		if from.wrong || from.falsify || from.machine.Applied().Index <= m.machine.Applied().Index {
			continue
		}
		s, err := from.machine.Snapshot(context.Background())
		w.must(err)
		stage, err := m.machine.Stage(s.Meta())
		w.must(err)
		_, err = s.WriteTo(stage)
		w.must(err)
		w.must(s.Close())
		w.must(stage.Commit())
		w.must(m.machine.Install(s.Meta()))
		m.wrong = false
		return true
	}
	return false
}

func (w *world) membership() raft.Membership {
	var members []raft.Member
	for _, m := range w.members {
		members = append(members, raft.Member{ID: m.id})
	}
	return raft.NewMembership(members...)
}

// compare asks those who answer, and replaces who is blamed.
func (w *world) compare(answering int) Verdict {
	var answers []Answer
	for _, m := range w.members {
		if w.random.IntN(100) < answering {
			answers = append(answers, Answer{Member: m.id, ApplyVersion: kv.ApplyVersion, Applied: m.machine.Applied().Index, Points: m.machine.HashPoints()})
		}
	}
	f := Decide(w.membership(), answers)
	i := slices.IndexFunc(w.members, func(m *simulated) bool { return m.id == f.Member })
	switch {
	case f.Verdict == Differs && !w.members[i].wrong:
		w.fatalf("a member that is right is blamed: %v", f)
	case f.Verdict == Conflict && !slices.ContainsFunc(w.members, func(m *simulated) bool { return m.wrong }):
		w.fatalf("a conflict between members that are right: %v", f)
	}
	if w.suspicion.Note(f) && f.Verdict == Differs {
		w.fenced++
		w.suspicion = Suspicion{}
		w.members = slices.Delete(w.members, i, i+1)
		w.install(w.join())
	}
	return f.Verdict
}

func (w *world) step(wrongAtOnce int) {
	m := w.members[w.random.IntN(len(w.members))]
	wrong := 0
	for _, x := range w.members {
		if x.wrong || x.falsify {
			wrong++
		}
	}
	switch x := w.random.IntN(100); {
	case x < 30:
		for range 1 + w.random.IntN(8) {
			w.write()
		}
	case x < 70:
		w.apply(m, 1+w.random.IntN(300))
	case x < 74:
		w.crash(m)
	case x < 78:
		w.install(m)
	case x < 95:
		w.compare(80)
	case wrong >= wrongAtOnce:
	case x < 97:
		m.falsify = true
		w.lost["applied otherwise"]++
	case wrong == 0: // two that lost the same would be a majority
		w.lose(m)
		w.lost["lost a version"]++
	}
}

// settle lets all apply everything, with every key written once more.
func (w *world) settle() {
	for i := range worldKeys {
		w.append(kv.Put(worldKey(i), []byte("settled")))
		w.append(kv.Put(worldKey(i), []byte("again")))
	}
	for _, m := range w.members {
		for int(m.machine.Applied().Index) < len(w.log) {
			w.apply(m, 1000)
		}
	}
}

func TestWhoIsWrongIsFoundAndWhoIsRightIsNeverBlamed(t *testing.T) {
	const seeds, steps = 120, 250
	fenced, conflicts := 0, 0
	lost := map[string]int{}
	for seed := range uint64(seeds) {
		w := &world{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 7)), lost: lost}
		w.log = append(w.log, raft.Entry{Term: 1, Index: 1, Type: raft.EntryClusterVersion, Data: []byte{0, 0, 0, kv.CompareVersion}})
		size := 3 + 2*w.random.IntN(2)
		for range size {
			w.join()
		}
		for range steps {
			w.step(1 + w.random.IntN(2)) // two at once may be a conflict
		}
		w.settle()
		wrong := 0
		for _, m := range w.members {
			if m.falsify || m.wrong {
				wrong++
			}
		}
		verdict := w.compare(100)
		for range Confirmations - 1 {
			w.compare(100)
		}
		switch {
		case wrong == 0 && verdict != Agree:
			w.fatalf("members that are right do not agree: %v", verdict)
		case wrong == 1 && verdict != Differs:
			w.fatalf("who is wrong is not found: %v", verdict)
		case wrong > 1 && verdict != Conflict:
			w.fatalf("%d of %d are wrong: %v", wrong, size, verdict)
		}
		if verdict == Conflict {
			conflicts++
			continue
		}
		w.settle()
		if verdict := w.compare(100); verdict != Agree {
			w.fatalf("in the end: %v", verdict)
		}
		fenced += w.fenced
	}
	t.Logf("%d members were fenced, %d clusters ended in a conflict; %v", fenced, conflicts, lost)
	if fenced < seeds/4 || conflicts == 0 || lost["applied otherwise"] < seeds/4 || lost["lost a version"] < seeds/4 {
		t.Error("too little happened")
	}
}
