package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// gate is a disk on which whatever maintenance writes stands still while it is shut.
type gate struct {
	store.Disk
	mu      sync.Mutex
	shut    chan struct{} // nil while it is open; closed to open it
	waiting chan struct{} // has a place for one word: somebody waits
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return
	}
	select {
	case g.waiting <- struct{}{}:
	default:
	}
	<-shut
}

func (g *gate) Open() (store.Store, error) {
	s, err := g.Disk.Open()
	return gatedStore{s, g}, err
}

func (g *gate) Stage(name string) (store.Staging, error) {
	s, err := g.Disk.Stage(name)
	return gatedStaging{s, g}, err
}

func (g *gate) Adopt(name string) (store.Store, error) {
	s, err := g.Disk.Adopt(name)
	return gatedStore{s, g}, err
}

type gatedStore struct {
	store.Store
	gate *gate
}

func (s gatedStore) Commit(b *store.Batch) error {
	s.gate.pass()
	return s.Store.Commit(b)
}

type gatedStaging struct {
	store.Staging
	gate *gate
}

func (s gatedStaging) Commit(b *store.Batch) error {
	s.gate.pass()
	return s.Staging.Commit(b)
}

func (s gatedStaging) Finish() error {
	s.gate.pass()
	return s.Staging.Finish()
}

// maintenance is what a store does beside requests.
var maintenance = []struct {
	name string
	run  func(context.Context, *Machine) error
}{
	{"flush", func(_ context.Context, m *Machine) error { return m.FlushNow() }},
	{"compaction", func(ctx context.Context, m *Machine) error {
		_, compacted := m.Revision()
		return m.Scrub(ctx, compacted)
	}},
	{"defragmentation", func(ctx context.Context, m *Machine) error { return m.Defragment(ctx) }},
	{"snapshot", func(ctx context.Context, m *Machine) error {
		s, err := m.Snapshot(ctx)
		if err != nil {
			return err
		}
		_, err = s.WriteTo(io.Discard)
		return errors.Join(err, s.Close())
	}},
	{"checksum of the whole", func(ctx context.Context, m *Machine) error {
		_, err := m.Hash(ctx)
		return err
	}},
}

// TestNoRequestWaitsForMaintenance: while the disk that maintenance writes to stands still, reads of all kinds and writes go on.
func TestNoRequestWaitsForMaintenance(t *testing.T) {
	const patience = 60 * time.Second
	for _, x := range maintenance {
		if x.name == "checksum of the whole" {
			continue // it writes nothing
		}
		t.Run(x.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			disk := &gate{Disk: store.NewMemory(), waiting: make(chan struct{}, 1)}
			h := newHarness(t, Options{Disk: disk})
			for i := range 100 {
				h.do(Put([]byte("k"), []byte{byte(i)}))
			}
			if err := h.machine.FlushNow(); err != nil {
				t.Fatal(err)
			}
			h.do(Compact(FirstRevision + 90))
			disk.close()
			done := make(chan error, 1)
			go func() { done <- x.run(ctx, h.machine) }()
			select {
			case <-disk.waiting:
			case <-ctx.Done():
				t.Fatal("it never wrote")
			}
			requests := make(chan struct{})
			go func() {
				defer close(requests)
				for i := range 100 {
					r, err := h.machine.Apply([]raft.Entry{{Term: 1, Index: raft.Index(len(h.log) + 1 + i), Type: raft.EntryNormal,
						Data: proposal(t, session.Header{}, Put([]byte("k"), []byte("while")))}})
					if err != nil || r[0].(*Result).Err != nil {
						t.Error(r, err)
						return
					}
					got, err := h.machine.Get(ctx, []byte("k"), 0)
					if err != nil || string(got.Value) != "while" {
						t.Error(got, err)
					}
					if _, err := h.machine.Range(ctx, RangeRequest{Keys: All(), Revision: FirstRevision + 95}); err != nil {
						t.Error(err)
					}
					if _, _, err := h.machine.Events(ctx, EventsRequest{Match: func([]byte) bool { return true }, From: FirstRevision + 95, MostEvents: 10, MostBytes: 1000}); err != nil {
						t.Error(err)
					}
					_ = h.machine.Stats()
				}
			}()
			select {
			case <-requests:
			case <-ctx.Done():
				t.Fatal("requests wait for it")
			}
			disk.open()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// BenchmarkMaintenance tells how long writes (batches of 16) and reads take beside maintenance of 300,000 keys with as much history, for
// as long as that takes. "nothing" is the same load beside a pause. Every run has a control, which calculates for about as long as a write
// takes and asks the store for nothing: it waits for the processor only, so what a request takes more than that is the store's.
func BenchmarkMaintenance(b *testing.B) {
	const keys, batch = 300_000, 16
	kinds := append(slices.Clone(maintenance), maintenance[0])
	kinds[len(kinds)-1].name = "nothing"
	kinds[len(kinds)-1].run = func(context.Context, *Machine) error {
		time.Sleep(2 * time.Second)
		return nil
	}
	for _, x := range kinds {
		b.Run(x.name, func(b *testing.B) {
			ctx := context.Background()
			m := open(b, Options{Dir: b.TempDir(), QuotaBytes: 8 << 30})
			fill(b, m, keys)
			fill(b, m, keys)
			var writes, reads, control []time.Duration
			random := rand.New(rand.NewPCG(1, 1))
			for b.Loop() {
				b.StopTimer()
				next := m.Applied().Index + 1
				entries := make([]raft.Entry, 0, batch)
				apply := func(commands ...Command) {
					entries = entries[:0]
					for _, c := range commands {
						entries = append(entries, raft.Entry{Term: 1, Index: next, Type: raft.EntryNormal, Data: proposal(b, session.Header{}, c)})
						next++
					}
					if _, err := m.Apply(entries); err != nil {
						b.Error(err)
					}
				}
				revision, compacted := m.Revision()
				if revision > compacted {
					apply(Compact(revision))
				}
				stop := make(chan struct{})
				var load sync.WaitGroup
				load.Go(func() {
					commands := make([]Command, batch)
					for tick := time.NewTicker(2 * time.Millisecond); ; {
						select {
						case <-stop:
							return
						case <-tick.C:
						}
						for i := range commands {
							commands[i] = Put(benchKey(random.Uint64N(keys)), make([]byte, benchValueBytes))
						}
						began := time.Now()
						apply(commands...)
						writes = append(writes, time.Since(began))
					}
				})
				load.Go(func() {
					random := rand.New(rand.NewPCG(2, 2))
					for tick := time.NewTicker(time.Millisecond); ; {
						select {
						case <-stop:
							return
						case <-tick.C:
						}
						began := time.Now()
						if _, err := m.Get(ctx, benchKey(random.Uint64N(keys)), 0); err != nil {
							b.Error(err)
						}
						reads = append(reads, time.Since(began))
					}
				})
				load.Go(func() {
					work := make([]byte, 100<<10)
					for tick := time.NewTicker(time.Millisecond); ; {
						select {
						case <-stop:
							return
						case <-tick.C:
						}
						began := time.Now()
						binary.BigEndian.PutUint32(work, crc32.ChecksumIEEE(work))
						control = append(control, time.Since(began))
					}
				})
				b.StartTimer()
				if err := x.run(ctx, m); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				close(stop)
				load.Wait()
				b.StartTimer()
			}
			report := func(name string, all []time.Duration) {
				if len(all) == 0 {
					return
				}
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)*999/1000])/1e6, name+"-p99.9-ms")
				b.ReportMetric(float64(all[len(all)-1])/1e6, name+"-most-ms")
			}
			report("write", writes)
			report("read", reads)
			report("control", control)
		})
	}
}
