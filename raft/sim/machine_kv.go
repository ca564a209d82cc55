package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/replica/bootstrap"
)

// In a part of the runs every member also has the real state machine, on a store in memory that loses what it has
// not committed. Entries are then its real proposals, clients get its answers, snapshots are its streams, and all of
// it is compared with the model (machine.go).

const clusterID = 1

// encode makes an entry's data of a command.
func (w *world) encodeCommand(c command) []byte {
	if !w.plan.realMachine {
		return c.encode()
	}
	key, value := registerName(c.key), binary.BigEndian.AppendUint64(nil, c.value)
	var cmd kv.Command
	switch c.kind {
	case opOpen:
		cmd = kv.OpenSession(clusterID, c.value)
	case opCompact:
		cmd = kv.Compact(c.value)
	case opWrite:
		cmd = kv.Put(key, value)
	case opSwap:
		holds := kv.Compare{Keys: kv.One(key), Relation: kv.Equal, Target: kv.TargetValue, Value: binary.BigEndian.AppendUint64(nil, c.old)}
		if c.old == 0 {
			holds = kv.Compare{Keys: kv.One(key), Relation: kv.Equal, Target: kv.TargetVersion}
		}
		cmd = kv.Transaction(kv.Txn{Compares: []kv.Compare{holds}, Success: []kv.Op{kv.PutOp(key, value)}})
	}
	data, err := kv.AppendProposal(nil, c.header, cmd)
	if err != nil {
		fail("encoding", "%v", err)
	}
	return data
}

func registerName(key int) []byte { return fmt.Appendf(nil, "register-%d", key) }

// decode reads the command of an entry, for the model.
func (w *world) decodeCommand(e raft.Entry) command {
	if e.Type != raft.EntryNormal {
		return command{}
	}
	if !w.plan.realMachine {
		c, ok := decodeCommand(e.Data)
		if !ok {
			fail("apply", "entry %d of term %d carries damaged data % x", e.Index, e.Term, e.Data)
		}
		return c
	}
	h, rest, err := session.Decode(e.Data)
	if err != nil {
		fail("apply", "entry %d: %v", e.Index, err)
	}
	cmd, err := kv.DecodeCommand(rest)
	if err != nil {
		fail("apply", "entry %d: %v", e.Index, err)
	}
	if cmd.Kind == kv.CommandOpenSession {
		return command{header: h, kind: opOpen, value: cmd.Nonce}
	}
	if cmd.Kind == kv.CommandCompact {
		return command{header: h, kind: opCompact, value: cmd.Revision}
	}
	put := cmd.Txn.Success[0]
	c := command{header: h, kind: opWrite, value: binary.BigEndian.Uint64(put.Value)}
	if _, err := fmt.Sscanf(string(put.Keys.Start), "register-%d", &c.key); err != nil {
		fail("apply", "entry %d writes %q: %v", e.Index, put.Keys.Start, err)
	}
	if len(cmd.Txn.Compares) == 1 {
		c.kind = opSwap
		if old := cmd.Txn.Compares[0].Value; len(old) == 8 {
			c.old = binary.BigEndian.Uint64(old)
		}
	}
	return c
}

// foundMachine makes the first state of one of the first members.
func (m *member) foundMachine(first raft.Membership) {
	m.store = newStateDisk()
	if len(first.Members) == 0 {
		return
	}
	entries, err := bootstrap.FirstEntries(first)
	if err != nil {
		fail("bootstrap", "%v", err)
	}
	real, err := m.openMachine()
	if err != nil {
		fail("bootstrap", "%v", err)
	}
	if _, err := real.Apply(entries); err != nil {
		fail("bootstrap", "%v", err)
	}
	if err := real.FlushNow(); err != nil {
		fail("bootstrap", "%v", err)
	}
	m.store.Crash()
}

func (m *member) openMachine() (*kv.Machine, error) {
	return kv.Open(kv.Options{Disk: m.store, ClusterID: clusterID, Synchronous: true, Logger: slog.New(slog.DiscardHandler)})
}

// bootMachine opens the real state machine, which must hold what the model says is durable.
func (p *process) bootMachine() error {
	if !p.w.plan.realMachine {
		return nil
	}
	p.m.fill(p.m.full) // the end of the last process has made room
	var err error
	if p.real, err = p.m.openMachine(); err != nil {
		return err
	}
	p.sameMeta("restart")
	return nil
}

func (p *process) sameMeta(when string) {
	got, want := p.real.Applied(), p.machine.meta
	if got.Index != want.Index || got.Term != want.Term || got.ClusterVersion != want.ClusterVersion || !got.Membership.Equal(want.Membership) {
		fail("the state machine is where it should be", "member %s after %s: %+v instead of %+v", p.m.id, when, got, want)
	}
}

// applyReal applies a batch to the real machine, and returns its results.
func (p *process) applyReal(batch []raft.Entry) []any {
	if p.real == nil {
		return nil
	}
	results, err := p.real.Apply(batch)
	if err != nil {
		p.diskFails("apply", err)
	}
	return results
}

// sameResult compares what the real machine answered with the model.
func (p *process) sameResult(e raft.Entry, c command, want result, fresh bool, got any) {
	r, ok := got.(*kv.Result)
	if !ok {
		fail("apply", "member %s: entry %d has no result", p.m.id, e.Index)
	}
	switch {
	case errors.Is(r.Err, kv.ErrExpired) != errors.Is(want.refused, kv.ErrExpired):
		fail("exactly once", "member %s: entry %d of session %d gets %v, of the model %v", p.m.id, e.Index, c.header.Session, r.Err, want.refused)
	case !fresh && r.Err != nil:
		return // expired, or a repeat of what the session has put behind it
	case !errors.Is(r.Err, want.refused):
		fail("apply", "member %s: entry %d is answered by %v, by the model with %v", p.m.id, e.Index, r.Err, want.refused)
	case r.Revision != want.revision && fresh:
		fail("apply", "member %s: entry %d leads to revision %d, for the model to %d", p.m.id, e.Index, r.Revision, want.revision)
	case r.Repeated == fresh && c.kind != opOpen:
		fail("exactly once", "member %s: entry %d is a repeat: %t, for the model: %t", p.m.id, e.Index, r.Repeated, !fresh)
	case c.kind == opSwap && r.Succeeded != want.swapped:
		fail("apply", "member %s: the swap of entry %d succeeded: %t, for the model: %t", p.m.id, e.Index, r.Succeeded, want.swapped)
	case c.kind == opOpen && r.Session != want.value:
		fail("apply", "member %s: entry %d opens session %d, for the model %d", p.m.id, e.Index, r.Session, want.value)
	}
}

// value reads a register for a client.
func (p *process) value(key int) uint64 {
	want := p.machine.registers[key]
	if p.real == nil {
		return want
	}
	got, err := p.real.Get(context.Background(), registerName(key), 0)
	if err != nil {
		p.diskFails("reads", err)
	}
	var value uint64
	if got.Found {
		value = binary.BigEndian.Uint64(got.Value)
	}
	if value != want {
		fail("reads", "member %s reads %d in register %d at entry %d, the model has %d", p.m.id, value, key, p.machine.meta.Index, want)
	}
	return value
}

// flushReal makes the real machine durable. It takes all that was applied.
func (p *process) flushReal() {
	if err := p.real.FlushNow(); err != nil {
		p.diskFails("the state becomes durable", err)
	}
	if got := p.real.Durable(); got != p.machine.meta.Index {
		fail("apply", "member %s has flushed %d of %d", p.m.id, got, p.machine.meta.Index)
	}
}

// snapshotReal returns the stream of a snapshot, which makes durable what was applied.
func (p *process) snapshotReal() []byte {
	s, err := p.real.Snapshot(context.Background())
	if err != nil {
		p.diskFails("snapshots", err)
	}
	p.m.durable = p.machine.clone()
	p.w.oracle.flushed(p.m)
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		p.diskFails("snapshots", err)
	}
	if err := s.Close(); err != nil {
		fail("snapshots", "member %s: %v", p.m.id, err)
	}
	return b.Bytes()
}

// stageReal takes a snapshot's stream, or a part of it that a broken connection leaves. It tells whether the snapshot is
// staged.
func (p *process) stageReal(meta raft.SnapshotMeta, stream []byte, whole bool) bool {
	stage, err := p.real.Stage(meta)
	if err != nil {
		fail("snapshots", "member %s: %v", p.m.id, err)
	}
	if !whole {
		stream = stream[:p.random.n(len(stream))]
	}
	const piece = 1000
	for len(stream) > 0 && err == nil {
		n := min(piece, len(stream))
		_, err = stage.Write(stream[:n])
		stream = stream[n:]
	}
	if err == nil && whole {
		if err = stage.Commit(); err != nil && p.m.full {
			p.w.trace(p, "has no room for a snapshot: %v", err)
			whole = false
		}
	}
	if err == nil && !whole || err != nil && p.m.full {
		err = stage.Abort()
	}
	if err != nil {
		fail("snapshots", "member %s: %v", p.m.id, err)
	}
	return whole
}

// installReal puts the staged snapshot in force.
func (p *process) installReal(meta raft.SnapshotMeta) {
	if err := p.real.Install(meta); err != nil {
		p.diskFails("snapshots", err)
	}
	p.sameMeta("the installation of a snapshot")
}

// stateHash is a checksum of all that the real machine holds, zero without one.
func (p *process) stateHash() uint64 {
	if p.real == nil {
		return 0
	}
	h, err := p.real.Hash(context.Background())
	if err != nil {
		p.diskFails("state machine safety", err)
	}
	return h.Hash
}
