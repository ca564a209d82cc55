package sim

import "github.com/raftkv/raftkv/raft"

// image is what a log on disk says when it is read.
type image struct {
	hard    raft.HardState
	start   raft.Position
	entries []raft.Entry
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
func (m *image) restart(at raft.Position) {
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
	restart *raft.Position
	entries []raft.Entry
}

func (m *image) apply(r record) {
	if r.hard != nil {
		m.hard = *r.hard
	}
	if r.restart != nil {
		m.restart(*r.restart)
	}
	m.write(r.entries)
}

// disk is the log of one data directory: what survives a power loss, and what was written and not synced yet.
type disk struct {
	durable  image
	unsynced []record
}

// write hands a request to the operating system.
func (d *disk) write(r *raft.StoreRequest, forgetHardState bool) {
	if r.HardState != nil && !forgetHardState {
		d.unsynced = append(d.unsynced, record{hard: r.HardState})
	}
	if r.Snapshot != nil {
		at := raft.Position{Index: r.Snapshot.Index, Term: r.Snapshot.Term}
		d.unsynced = append(d.unsynced, record{restart: &at})
	}
	if len(r.Entries) > 0 {
		d.unsynced = append(d.unsynced, record{entries: r.Entries})
	}
}

// sync makes all that was written durable. Opening a log does so too, since what it read must not vanish later.
func (d *disk) sync() {
	for _, r := range d.unsynced {
		d.durable.apply(r)
	}
	d.unsynced = d.unsynced[:0]
}

// losePower drops what was not synced, but for a part of it that reached the disk all the same: some whole
// records, and of the one after them some entries.
func (d *disk) losePower(chance *random) (dropped bool) {
	keep := chance.n(len(d.unsynced) + 1)
	for _, r := range d.unsynced[:keep] {
		d.durable.apply(r)
	}
	if keep < len(d.unsynced) {
		dropped = true
		if torn := d.unsynced[keep].entries; len(torn) > 0 {
			d.durable.write(torn[:chance.n(len(torn))])
		}
	}
	d.unsynced = d.unsynced[:0]
	return dropped
}
