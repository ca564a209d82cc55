package sim

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// image is what a log on disk says when it is read.
type image struct {
	hard    raft.HardState
	start   raft.Position
	entries []raft.Entry
	// snapshot is the last one behind which the log began anew.
	snapshot *raft.SnapshotMeta
}

func (m *image) last() raft.Position {
	if n := len(m.entries); n > 0 {
		return raft.Position{Index: m.entries[n-1].Index, Term: m.entries[n-1].Term}
	}
	return m.start
}

func (m *image) term(i raft.Index) (raft.Term, bool) {
	switch {
	case i == m.start.Index:
		return m.start.Term, true
	case i < m.start.Index || i > m.last().Index:
		return 0, false
	}
	return m.entries[i-m.start.Index-1].Term, true
}

func (m *image) has(p raft.Position) bool {
	t, ok := m.term(p.Index)
	return ok && t == p.Term
}

// write replaces everything from the index of the first entry on.
func (m *image) write(entries []raft.Entry) {
	if len(entries) == 0 {
		return
	}
	first := entries[0].Index
	if first <= m.start.Index || first > m.last().Index+1 {
		fail("storage contract", "entries from %d are to be stored in a log of %d..%d", first, m.start.Index+1, m.last().Index)
	}
	m.entries = append(m.entries[:first-m.start.Index-1], entries...)
}

// restart begins the log anew behind a snapshot, unless it has its last entry: then what follows is kept.
func (m *image) restart(snapshot *raft.SnapshotMeta) {
	m.snapshot = snapshot
	at := raft.Position{Index: snapshot.Index, Term: snapshot.Term}
	if m.has(at) {
		m.cut(at.Index)
		return
	}
	m.start, m.entries = at, nil
}

// cut drops the entries up to and including index.
func (m *image) cut(index raft.Index) {
	if index <= m.start.Index {
		return
	}
	t, ok := m.term(index)
	if !ok {
		fail("storage contract", "a log of %d..%d is to be cut at %d", m.start.Index+1, m.last().Index, index)
	}
	m.entries = append([]raft.Entry(nil), m.entries[index-m.start.Index:]...)
	m.start = raft.Position{Index: index, Term: t}
}

// record is the least that a power loss keeps or drops as a whole.
type record struct {
	hard    *raft.HardState
	restart *raft.SnapshotMeta
	entries []raft.Entry
}

func (m *image) apply(r record) {
	if r.hard != nil {
		m.hard = *r.hard
	}
	if r.restart != nil {
		m.restart(r.restart)
	}
	m.write(r.entries)
}

// clone returns a copy that shares only the entries' data.
func (m *image) clone() image {
	return image{hard: m.hard, start: m.start, entries: slices.Clone(m.entries), snapshot: m.snapshot}
}

// disk is the log of one data directory: what survives a power loss, and the batch that was written and not synced
// yet. In a part of the runs the real write-ahead log does the work (walDisk), and this is what it is compared with.
type disk struct {
	durable  image
	unsynced []*raft.StoreRequest
	real     *walDisk // nil: the model alone
}

// records lists what a batch changes, in the order in which it reaches the disk.
func records(batch []*raft.StoreRequest) []record {
	var out []record
	for _, r := range batch {
		if r.HardState != nil {
			out = append(out, record{hard: r.HardState})
		}
		if r.Snapshot != nil {
			out = append(out, record{restart: r.Snapshot})
		}
		if len(r.Entries) > 0 {
			out = append(out, record{entries: r.Entries})
		}
	}
	return out
}

// write hands a batch to the operating system.
func (d *disk) write(batch []*raft.StoreRequest) { d.unsynced = batch }

// sync makes what was written durable. An error means that nobody knows whether it is.
func (d *disk) sync() error {
	if d.real != nil {
		if err := d.real.log.Append(d.unsynced); err != nil {
			return err
		}
	}
	d.settle()
	return nil
}

// failSync is a sync that fails: what was written can be read until the power is lost.
func (d *disk) failSync() error {
	if d.real != nil {
		return d.real.failSync(d.unsynced)
	}
	return errSync
}

func (d *disk) settle() {
	for _, r := range records(d.unsynced) {
		d.durable.apply(r)
	}
	d.unsynced = nil
}

// cut drops the log up to and including a position from the disk.
func (d *disk) cut(at raft.Position) error {
	d.durable.cut(at.Index)
	if d.real != nil {
		return d.real.log.Compact(at)
	}
	return nil
}

// kill is the end of the process that used the disk: what it wrote stays.
func (d *disk) kill(chance *random) {
	if d.real != nil {
		d.real.kill(d.unsynced, chance)
	}
}

// losePower drops what was not synced, but for a part of it that reached the disk all the same: some whole
// records, and of the one after them some entries.
func (d *disk) losePower(chance *random) (dropped bool) {
	dropped = len(d.unsynced) > 0
	if d.real != nil {
		d.real.losePower(d.unsynced, chance)
		return dropped
	}
	all := records(d.unsynced)
	keep := chance.n(len(all) + 1)
	for _, r := range all[:keep] {
		d.durable.apply(r)
	}
	if keep < len(all) {
		if torn := all[keep].entries; len(torn) > 0 {
			d.durable.write(torn[:chance.n(len(torn))])
		}
	}
	d.unsynced = nil
	return dropped
}

// prepare makes the log of a new member, behind the state that it begins with.
func (d *disk) prepare(m *member, state *raft.SnapshotMeta) {
	var batch []*raft.StoreRequest
	if state.Index > 0 {
		batch = append(batch, &raft.StoreRequest{HardState: &raft.HardState{Term: state.Term}, Snapshot: state})
	}
	d.write(batch)
	if d.real != nil {
		d.real.prepare(m, batch)
	}
	d.settle()
}

// open reads the log. What is read was made durable, since it must not vanish later.
func (d *disk) open(m *member) error {
	if d.real == nil {
		d.settle()
		return nil
	}
	found, err := d.real.open(m)
	if err != nil {
		return err
	}
	after := d.durable.clone()
	for _, r := range records(d.unsynced) {
		after.apply(r)
	}
	d.unsynced = nil
	if why := found.differs(&d.durable); why != "" {
		if why2 := found.differs(&after); why2 != "" {
			fail("the write-ahead log holds what was stored", "member %s: compared with what was durable: %s; with the batch under way: %s", m.id, why, why2)
		}
	}
	d.durable = found
	return nil
}

// differs says in what the image, which may begin earlier, is not the other.
func (m *image) differs(o *image) string {
	switch {
	case m.hard != o.hard:
		return fmt.Sprintf("hard state %v instead of %v", m.hard, o.hard)
	case m.start.Index > o.start.Index:
		return fmt.Sprintf("the log starts behind %v instead of %v", m.start, o.start)
	case m.last() != o.last():
		return fmt.Sprintf("the log ends at %v instead of %v", m.last(), o.last())
	case !m.has(o.start):
		return fmt.Sprintf("the entry %v is missing", o.start)
	case (m.snapshot == nil) != (o.snapshot == nil) || (m.snapshot != nil && m.snapshot.Index != o.snapshot.Index):
		return "another snapshot is to be in force"
	}
	for i, e := range m.entries[o.start.Index-m.start.Index:] {
		if want := o.entries[i]; e.Index != want.Index || e.Term != want.Term || e.Type != want.Type || !bytes.Equal(e.Data, want.Data) {
			return fmt.Sprintf("entry %d of term %d is not the one that was stored", e.Index, e.Term)
		}
	}
	return ""
}
