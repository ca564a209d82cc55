package kv

import (
	"bytes"
	"context"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// harness is a machine and the log that it was given.
type harness struct {
	t       testing.TB
	machine *Machine
	log     []raft.Entry
}

func open(t testing.TB, o Options) *Machine {
	t.Helper()
	m, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func newHarness(t testing.TB, o Options) *harness {
	return &harness{t: t, machine: open(t, o)}
}

// memory returns options for a synchronous machine in memory.
func memory() (Options, *store.Memory) {
	disk := store.NewMemory()
	return Options{Disk: disk, Synchronous: true}, disk
}

func proposal(t testing.TB, h session.Header, c Command) []byte {
	t.Helper()
	data, err := AppendProposal(nil, h, c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// do applies one command outside of any session.
func (h *harness) do(c Command) *Result {
	h.t.Helper()
	return h.propose(session.Header{}, c)
}

func (h *harness) propose(header session.Header, c Command) *Result {
	h.t.Helper()
	out := h.entry(raft.EntryNormal, proposal(h.t, header, c))
	return out.(*Result)
}

func (h *harness) entry(kind raft.EntryType, data []byte) any {
	h.t.Helper()
	e := raft.Entry{Term: 1, Index: raft.Index(len(h.log) + 1), Type: kind, Data: data}
	h.log = append(h.log, e)
	out, err := h.machine.Apply([]raft.Entry{e})
	if err != nil {
		h.t.Fatal(err)
	}
	return out[0]
}

// reopen replaces the machine by one that is opened anew, and replays the log.
func (h *harness) reopen(o Options) {
	h.t.Helper()
	h.machine = open(h.t, o)
	h.replay()
}

func (h *harness) replay() {
	h.t.Helper()
	if from := h.machine.Applied().Index; int(from) < len(h.log) {
		if _, err := h.machine.Apply(h.log[from:]); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *harness) get(key string, revision uint64) GetResult {
	h.t.Helper()
	out, err := h.machine.Get(context.Background(), []byte(key), revision)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *harness) list(r RangeRequest) RangeResult {
	h.t.Helper()
	out, err := h.machine.Range(context.Background(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func hashOf(t testing.TB, m *Machine) HashResult {
	t.Helper()
	out, err := m.Hash(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// transfer sends a snapshot of one machine to another and puts it in force.
func transfer(t testing.TB, from, to *Machine) {
	t.Helper()
	s, err := from.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	stage, err := to.Stage(s.Meta())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteTo(stage); err != nil {
		t.Fatal(err)
	}
	if err := stage.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := to.Install(s.Meta()); err != nil {
		t.Fatal(err)
	}
}

func equalKV(a, b KeyValue) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.CreateRevision == b.CreateRevision &&
		a.ModRevision == b.ModRevision && a.Version == b.Version && a.Lease == b.Lease
}
