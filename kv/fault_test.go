package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// edit changes records of a closed store.
func edit(t *testing.T, d store.Disk, change func(v store.View, b *store.Batch)) {
	t.Helper()
	s, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	change(v, &b)
	if err := errors.Join(s.Commit(&b), v.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNoFlippedBitIsServed(t *testing.T) {
	o, disk := memory()
	h := newHarness(t, o)
	h.do(Put([]byte("key"), []byte("first")))
	h.do(Put([]byte("key"), []byte("second")))
	if err := h.machine.Close(); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []store.Bucket{bucketIndex, bucketRecords} {
		for record := range 2 {
			for bit := 0; ; bit++ {
				done := false
				var key, value []byte
				edit(t, disk, func(v store.View, b *store.Batch) {
					it := v.Iterate(bucket)
					key, value = it.First()
					for range record {
						key, value = it.Next()
					}
					if done = bit/8 >= len(value); done {
						return
					}
					bad := bytes.Clone(value)
					bad[bit/8] ^= 1 << (bit % 8)
					b.Put(bucket, key, bad)
				})
				if done {
					break
				}
				for revision, want := range map[uint64]string{2: "first", 3: "second"} {
					m := open(t, o)
					got, err := m.Get(context.Background(), []byte("key"), revision)
					var corrupt *CorruptError
					switch {
					case err == nil && string(got.Value) == want:
					case errors.As(err, &corrupt) && string(corrupt.Key) == "key" && corrupt.Revision == revision:
						if !strings.Contains(err.Error(), "key") {
							t.Fatalf("the key is not named: %v", err)
						}
					default:
						t.Fatalf("bucket %d, record %d, bit %d: %+v, %v", bucket, record, bit, got, err)
					}
					hit := bucket == bucketIndex && record == 0 || bucket == bucketRecords && record == 1
					if err == nil && (hit == (want == "second")) {
						t.Fatalf("bucket %d, record %d, bit %d: the flip was not noticed at %q", bucket, record, bit, want)
					}
					if closed := m.Close(); !errors.Is(closed, m.Failure()) || (err == nil) != (closed == nil) {
						t.Fatalf("read: %v, closed: %v", err, closed)
					}
				}
				edit(t, disk, func(_ store.View, b *store.Batch) { b.Put(bucket, key, value) })
			}
		}
	}
}

func TestHeaderDamagedMeanwhileIsToldAsDamage(t *testing.T) {
	for name, damage := range map[string]func(b *store.Batch){
		"magic":  func(b *store.Batch) { b.Put(bucketMeta, metaMagic, []byte("raftkv state machinf")) },
		"format": func(b *store.Batch) { b.Put(bucketMeta, metaFormat, []byte{0, 0, 1, 0}) },
	} {
		o, _ := memory()
		h := newHarness(t, o)
		h.do(Put([]byte("a"), []byte("1")))
		h.machine.Flush()
		var b store.Batch
		damage(&b)
		if err := h.machine.published.Load().store.Commit(&b); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if _, err := h.machine.Hash(context.Background()); !errors.As(err, &corrupt) {
			t.Errorf("%s, hash: %v", name, err)
		}
		if _, _, err := h.machine.Events(context.Background(), EventsRequest{From: 2, Match: func([]byte) bool { return true }, MostEvents: 1, MostBytes: 1}); !errors.As(err, &corrupt) {
			t.Errorf("%s, history: %v", name, err)
		}
	}
}

func TestRecordAtAnotherPlaceIsNotServed(t *testing.T) {
	o, disk := memory()
	h := newHarness(t, o)
	h.do(Put([]byte("a"), []byte("1")))
	h.do(Put([]byte("b"), []byte("2")))
	if err := h.machine.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, disk, func(v store.View, b *store.Batch) {
		it := v.Iterate(bucketRecords)
		_, first := it.First()
		second, _ := it.Next()
		b.Put(bucketRecords, second, first)
	})
	ctx := context.Background()
	everything := EventsRequest{From: FirstRevision, Match: func([]byte) bool { return true }, MostEvents: 9, MostBytes: 99}
	snapshot := func(m *Machine) error {
		s, err := m.Snapshot(ctx)
		if err != nil {
			return err
		}
		_, err = s.WriteTo(&bytes.Buffer{})
		return errors.Join(err, s.Close())
	}
	// A write that has to know the damaged version stops the machine rather than going on from a guess.
	data := proposal(t, session.Header{}, Put([]byte("b"), nil).WithPrevKV())
	find := map[string]func(m *Machine) error{
		"get":      func(m *Machine) error { _, err := m.Get(ctx, []byte("b"), 0); return err },
		"range":    func(m *Machine) error { _, err := m.Range(ctx, RangeRequest{Keys: All()}); return err },
		"hash":     func(m *Machine) error { _, err := m.Hash(ctx); return err },
		"hashKV":   func(m *Machine) error { _, err := m.HashKV(ctx, 0); return err },
		"events":   func(m *Machine) error { _, _, err := m.Events(ctx, everything); return err },
		"snapshot": snapshot,
		"verify":   func(m *Machine) error { _, err := m.Verify(ctx, noPause); return err },
		"apply": func(m *Machine) error {
			_, err := m.Apply([]raft.Entry{{Term: 1, Index: m.Applied().Index + 1, Type: raft.EntryNormal, Data: data}})
			return err
		},
	}
	refuse := maps.Clone(find)
	refuse["get of a sound key"] = func(m *Machine) error { _, err := m.Get(ctx, []byte("a"), 0); return err }
	refuse["flush"] = (*Machine).FlushNow
	for name, look := range find {
		m := open(t, o)
		if _, err := m.Get(ctx, []byte("a"), 0); err != nil || m.Failure() != nil {
			t.Fatalf("before %s: %v, %v", name, err, m.Failure())
		}
		var corrupt *CorruptError
		if err := look(m); !errors.As(err, &corrupt) {
			t.Fatalf("%s: %v", name, err)
		}
		select {
		case <-m.Failed():
		default:
			t.Fatalf("%s has found the damage, and nobody is told", name)
		}
		for then, use := range refuse {
			if err := use(m); !errors.Is(err, m.Failure()) {
				t.Errorf("%s after %s: %v", then, name, err)
			}
		}
		if got := m.Applied().Index; got != 2 {
			t.Fatalf("applied %d", got)
		}
		if err := m.Close(); !errors.Is(err, m.Failure()) {
			t.Errorf("closed after %s: %v", name, err)
		}
	}
}

func TestOpenRefusesOtherStores(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		o.ClusterID = 0xa
		m := open(t, o)
		disk := m.disk
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		o.ClusterID = 0xb
		var other *ClusterError
		if _, err := Open(o); !errors.As(err, &other) || other.Got != 0xa || other.Want != 0xb {
			t.Fatalf("another cluster: %v", err)
		}
		o.ClusterID = 0
		m = open(t, o)
		if m.ClusterID() != 0xa {
			t.Fatalf("cluster %s", m.ClusterID())
		}
		if err := m.SetClusterID(0xb); !errors.As(err, &other) {
			t.Fatalf("another cluster: %v", err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		edit(t, disk, func(_ store.View, b *store.Batch) {
			b.Put(bucketMeta, metaFormat, binary.BigEndian.AppendUint32(nil, storeFormat+1))
		})
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "format 3") || !strings.Contains(err.Error(), "formats 1 to 2") {
			t.Fatalf("newer format: %v", err)
		}
		edit(t, disk, func(_ store.View, b *store.Batch) { b.Put(bucketMeta, metaMagic, []byte("something else")) })
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "something else") {
			t.Fatalf("another program's store: %v", err)
		}
	})
}

func TestClusterIDIsLearnedOnce(t *testing.T) {
	o, disk := memory()
	m := open(t, o)
	if err := m.SetClusterID(0xa); err != nil {
		t.Fatal(err)
	}
	disk.Crash()
	o.ClusterID = 0xb
	var other *ClusterError
	if _, err := Open(o); !errors.As(err, &other) {
		t.Fatalf("another cluster: %v", err)
	}
}

func TestFailedFlushIsFatalAndLosesNothing(t *testing.T) {
	o, disk := memory()
	h := newHarness(t, o)
	h.do(Put([]byte("k"), []byte("1")))
	broken := errors.New("the disk is broken")
	disk.FailCommits(broken)
	if err := h.machine.FlushNow(); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if h.machine.Durable() != 0 {
		t.Fatalf("durable %d", h.machine.Durable())
	}
	disk.FailCommits(nil)
	if _, err := h.machine.Apply(nil); !errors.Is(err, broken) {
		t.Fatalf("apply goes on: %v", err)
	}
	if err := h.machine.FlushNow(); !errors.Is(err, broken) {
		t.Fatalf("the flush was retried: %v", err)
	}
	disk.Crash()
	h.reopen(o)
	if got := h.get("k", 0); string(got.Value) != "1" {
		t.Fatalf("after the crash: %+v", got)
	}
}

func TestApplyRefusesGaps(t *testing.T) {
	o, _ := memory()
	m := open(t, o)
	if _, err := m.Apply([]raft.Entry{{Term: 1, Index: 2, Type: raft.EntryEmpty}}); err == nil {
		t.Fatal("an entry after a gap was applied")
	}
}

// stream returns a snapshot's bytes.
func stream(t *testing.T, m *Machine) (raft.SnapshotMeta, []byte) {
	t.Helper()
	s, err := m.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var b bytes.Buffer
	if n, err := s.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes of %d: %v", n, b.Len(), err)
	}
	return s.Meta(), b.Bytes()
}

// receive stages bytes and tells whether they were accepted.
func receive(m *Machine, meta raft.SnapshotMeta, data []byte, piece int) error {
	stage, err := m.Stage(meta)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(piece, len(data))
		if _, err := stage.Write(data[:n]); err != nil {
			return errors.Join(err, stage.Abort())
		}
		data = data[n:]
	}
	if err := stage.Commit(); err != nil {
		return errors.Join(err, stage.Abort())
	}
	return nil
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	from, _ := memory()
	h := newHarness(t, from)
	h.do(Put([]byte("k"), []byte("value")))
	h.do(OpenSession(1, 1))
	meta, data := stream(t, h.machine)
	to, _ := memory()
	m := open(t, to)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		if err := receive(m, meta, bad, 50); err == nil {
			t.Fatalf("the flip in byte %d was not noticed", i)
		}
		if err := receive(m, meta, data[:i], len(data)); err == nil {
			t.Fatalf("%d of %d bytes were accepted", i, len(data))
		}
	}
	var refused *SnapshotError
	if err := receive(m, meta, append(bytes.Clone(data), 0), 1); !errors.As(err, &refused) {
		t.Fatalf("bytes behind the end: %v", err)
	}
	other := meta
	other.Index++
	if err := receive(m, other, data, 100); !errors.As(err, &refused) {
		t.Fatalf("another index: %v", err)
	}
	if names, err := m.disk.Staged(); err != nil || len(names) != 0 {
		t.Fatalf("staged: %v, %v", names, err)
	}
	if err := receive(m, meta, data, 1); err != nil {
		t.Fatalf("the whole one: %v", err)
	}
}

func TestSnapshotOfAnotherClusterIsRefused(t *testing.T) {
	from, _ := memory()
	from.ClusterID = 1
	h := newHarness(t, from)
	h.do(Put([]byte("k"), nil))
	meta, data := stream(t, h.machine)
	to, _ := memory()
	to.ClusterID = 2
	var other *ClusterError
	if err := receive(open(t, to), meta, data, 100); !errors.As(err, &other) {
		t.Fatal(err)
	}
}

// TestInstallAtEveryCrash stops at each point between the first byte of a snapshot and the end of Install.
func TestInstallAtEveryCrash(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		source, _ := memory()
		from := newHarness(t, source)
		for i := range 20 {
			from.do(Put(fmt.Append(nil, i), []byte("new")))
		}
		meta, data := stream(t, from.machine)
		h := newHarness(t, o)
		h.do(Put([]byte("0"), []byte("old")))
		crash := func() {
			t.Helper()
			disk := h.machine.disk
			if memory, ok := disk.(*store.Memory); ok {
				memory.Crash()
			} else if err := h.machine.Close(); err != nil {
				t.Fatal(err)
			}
			h.machine = open(t, o)
		}
		expect := func(when string, value string) {
			t.Helper()
			if got := h.get("0", 0); string(got.Value) != value {
				t.Fatalf("%s: %q, want %q", when, got.Value, value)
			}
		}
		if err := h.machine.FlushNow(); err != nil {
			t.Fatal(err)
		}

		stage, err := h.machine.Stage(meta)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stage.Write(data[:len(data)/2]); err != nil {
			t.Fatal(err)
		}
		crash()
		expect("half of the bytes came", "old")
		if err := h.machine.Install(meta); !errors.Is(err, ErrNotStaged) {
			t.Fatalf("install of what is not there: %v", err)
		}
		crash()

		if err := receive(h.machine, meta, data, 1000); err != nil {
			t.Fatal(err)
		}
		crash()
		expect("staged", "old")

		adopted, err := h.machine.disk.Adopt(stageName(meta))
		if err != nil {
			t.Fatal(err)
		}
		if err := adopted.Close(); err != nil {
			t.Fatal(err)
		}
		crash()
		expect("renamed", "new")
		if err := h.machine.Install(meta); err != nil {
			t.Fatalf("install again: %v", err)
		}
		if h.machine.Durable() != meta.Index || hashOf(t, h.machine) != hashOf(t, from.machine) {
			t.Fatalf("durable %d, want %d", h.machine.Durable(), meta.Index)
		}
		if err := receive(h.machine, meta, data, 1000); err != nil {
			t.Fatal(err)
		}
		if err := h.machine.Install(meta); err != nil {
			t.Fatalf("install of what is in force: %v", err)
		}
		if names, err := h.machine.disk.Staged(); err != nil || len(names) != 0 {
			t.Fatalf("left: %v, %v", names, err)
		}
	})
}

func TestOpenDiscardsSnapshotsThatTheStateHasPassed(t *testing.T) {
	source, _ := memory()
	from := newHarness(t, source)
	from.do(Put([]byte("k"), []byte("1")))
	early, earlyData := stream(t, from.machine)
	for range 5 {
		from.do(Put([]byte("k"), []byte("2")))
	}
	late, lateData := stream(t, from.machine)
	o, disk := memory()
	h := newHarness(t, o)
	if err := errors.Join(receive(h.machine, early, earlyData, 100), receive(h.machine, late, lateData, 100)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.do(Put([]byte("k"), []byte("here")))
	}
	if err := h.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	disk.Crash()
	h.reopen(o)
	if names, err := disk.Staged(); err != nil || len(names) != 1 || names[0] != stageName(late) {
		t.Fatalf("staged: %v, %v", names, err)
	}
	if err := h.machine.Install(late); err != nil {
		t.Fatal(err)
	}
	if got := h.get("k", 0); string(got.Value) != "2" {
		t.Fatalf("after the install: %+v", got)
	}
}

// One that the core has refused, since it has all that is in it, is of the size of the state.
func TestFlushDiscardsSnapshotsThatTheStateHasPassed(t *testing.T) {
	source, _ := memory()
	from := newHarness(t, source)
	for range 3 {
		from.do(Put([]byte("k"), []byte("1")))
	}
	meta, data := stream(t, from.machine)
	for _, restarted := range []bool{false, true} {
		onBoth(t, func(t *testing.T, o Options) {
			h := newHarness(t, o)
			if err := receive(h.machine, meta, data, 100); err != nil {
				t.Fatal(err)
			}
			if restarted {
				if err := h.machine.Close(); err != nil {
					t.Fatal(err)
				}
				h.reopen(o)
			}
			for at, left := range []int{1, 1, 0} {
				h.do(Put([]byte("k"), []byte("here")))
				if err := h.machine.FlushNow(); err != nil {
					t.Fatal(err)
				}
				if names, err := h.machine.disk.Staged(); err != nil || len(names) != left {
					t.Fatalf("at index %d, with one staged of index %d: %v, %v", at+1, meta.Index, names, err)
				}
			}
		})
	}
}

// faulty is a store being staged of which one step fails, once or for good.
type faulty struct {
	store.Staging
	commit, sync, finish error
}

func (f *faulty) Commit(b *store.Batch) error {
	return or(f.commit, func() error { return f.Staging.Commit(b) })
}
func (f *faulty) Sync() error   { return or(f.sync, f.Staging.Sync) }
func (f *faulty) Finish() error { return or(f.finish, f.Staging.Finish) }

func or(err error, step func() error) error {
	if err != nil {
		return err
	}
	return step()
}

// TestASnapshotThatCannotBeKeptLeavesNothing: nobody aborts it once it was to be committed, and the next one may never come.
func TestASnapshotThatCannotBeKeptLeavesNothing(t *testing.T) {
	source, _ := memory()
	from := newHarness(t, source)
	from.do(Put([]byte("k"), []byte("1")))
	meta, data := stream(t, from.machine)
	full := errors.New("no space left")
	for name, x := range map[string]struct {
		fault faulty
		of    []byte
		want  func(error) bool
	}{
		"its end is missing":     {of: data[:len(data)-1], want: func(err error) bool { var r *SnapshotError; return errors.As(err, &r) }},
		"it cannot be written":   {fault: faulty{commit: full}, of: data},
		"it cannot be finished":  {fault: faulty{finish: full}, of: data},
		"its sync before failed": {fault: faulty{sync: full}, of: data},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, Options{Dir: dir})
			stage, err := m.Stage(meta)
			if err != nil {
				t.Fatal(err)
			}
			x.fault.Staging = stage.staging
			stage.staging = &x.fault
			if _, err := stage.Write(x.of); err != nil {
				t.Fatal(err)
			}
			if x.fault.sync != nil { // of which Commit gets the outcome
				stage.syncing = make(chan error, 1)
				stage.syncing <- stage.staging.Sync()
			}
			if err := stage.Commit(); err == nil || x.want == nil && !errors.Is(err, full) || x.want != nil && !x.want(err) {
				t.Fatal(err)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 {
				t.Errorf("left in the directory: %v, %v", left, err)
			}
			if err := x.fault.Staging.Commit(new(store.Batch)); err == nil {
				t.Error("its file is still open")
			}
			if stage.buffer != nil || stage.batch.Bytes() != 0 {
				t.Error("what came is still in memory")
			}
			if err := receive(m, meta, data, 100); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
}

// TestAnswersOutliveTheStore reads what is only in the file, and looks at it when the file is not mapped any more.
func TestAnswersOutliveTheStore(t *testing.T) {
	h := newHarness(t, Options{Dir: t.TempDir()})
	h.do(Put([]byte("a"), []byte("1")))
	h.do(Put([]byte("b"), []byte("2")))
	if err := h.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	one := h.get("a", 0)
	all := h.list(RangeRequest{Keys: All()})
	deleted := h.do(DeleteRange(All()).WithPrevKV())
	if err := h.machine.Close(); err != nil {
		t.Fatal(err)
	}
	if string(one.Value) != "1" || string(all.Items[1].Key) != "b" || string(all.Items[1].Value) != "2" {
		t.Fatalf("%+v, %+v", one, all)
	}
	if prev := deleted.Ops[0].Prev; len(prev) != 2 || string(prev[1].Key) != "b" || string(prev[1].Value) != "2" {
		t.Fatalf("%+v", prev)
	}
}
