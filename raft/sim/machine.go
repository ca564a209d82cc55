package sim

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// opKind is what a client asks of a register.
type opKind uint8

const (
	opRead opKind = iota
	opWrite
	opSwap    // compare-and-swap
	opOpen    // opens a session
	opCompact // gives up history
	opPast    // a read at an old revision
)

func (k opKind) String() string {
	return [...]string{"read", "write", "swap", "open", "compact", "past"}[k]
}

// command is what an entry carries: set key to value, for a swap only if it holds old. A command that opens a session
// has a nonce for its value, one that gives up history a revision.
type command struct {
	header session.Header
	kind   opKind
	key    int
	value  uint64
	old    uint64
}

func (c command) encode() []byte {
	b, _ := c.header.AppendBinary(make([]byte, 0, 32))
	b = append(b, byte(c.kind), byte(c.key))
	b = binary.AppendUvarint(b, c.value)
	return binary.AppendUvarint(b, c.old)
}

func decodeCommand(data []byte) (command, bool) {
	h, rest, err := session.Decode(data)
	if err != nil || len(rest) < 4 {
		return command{}, false
	}
	c := command{header: h, kind: opKind(rest[0]), key: int(rest[1])}
	rest = rest[2:]
	value, n := binary.Uvarint(rest)
	if n <= 0 {
		return command{}, false
	}
	old, m := binary.Uvarint(rest[n:])
	c.value, c.old = value, old
	return c, m > 0
}

// result is what a client gets to know: the value read or the session opened, or whether a swap found what it expected.
type result struct {
	value   uint64
	swapped bool
	// revision is that of the state right after it.
	revision uint64
	refused  error
}

// machine is the replicated state: registers, and what each session did last (thesis §6.3). A clone of it is a
// snapshot.
type machine struct {
	meta      raft.SnapshotMeta
	registers []uint64
	// revision counts the writes, and history before compacted is given up.
	revision, compacted uint64
	sessions            []openSession // by ID
	sum                 uint64        // of the digests of the sessions
}

// openSession is a session and what it did last. Its ID is the index of the entry that opened it.
type openSession struct {
	id, nonce uint64
	sequence  uint64
	used      uint64 // index of the last entry that belonged to it
	result    result
}

func newMachine(meta raft.SnapshotMeta, keys int) *machine {
	return &machine{meta: meta, registers: make([]uint64, keys), revision: kv.FirstRevision}
}

func (m *machine) clone() *machine {
	return &machine{
		meta:      m.meta, // memberships are values that nobody changes in place
		revision:  m.revision,
		compacted: m.compacted,
		registers: append([]uint64(nil), m.registers...),
		sessions:  append([]openSession(nil), m.sessions...),
		sum:       m.sum,
	}
}

func (m *machine) position() raft.Position {
	return raft.Position{Index: m.meta.Index, Term: m.meta.Term}
}

// digest is equal for equal states.
func (m *machine) digest() uint64 {
	h := newHash()
	h.mix(uint64(m.meta.Index), uint64(m.meta.Term), uint64(m.meta.ClusterVersion), uint64(m.meta.Membership.Index))
	if m.meta.Membership.Index > 0 { // a member that joins replays without the one that the log began with
		for _, x := range m.meta.Membership.Members {
			h.mix(uint64(x.ID), uint64(x.Incarnation))
			for _, flag := range []bool{x.Learner, x.OutgoingVoter, x.Leaving} {
				if flag {
					h.mix(1)
				} else {
					h.mix(0)
				}
			}
		}
	}
	h.mix(m.revision, m.compacted)
	h.mix(m.registers...)
	h.mix(m.sum)
	return uint64(h)
}

func (s *openSession) digest() uint64 {
	h := newHash()
	h.mix(s.id, s.nonce, s.sequence, s.used)
	return uint64(h)
}

// apply applies one entry, which carries c if it is a normal one. fresh tells whether the command took effect now,
// rather than being a repeat.
func (m *machine) apply(e raft.Entry, c command, noDedup bool) (r result, fresh bool) {
	m.meta.Index, m.meta.Term = e.Index, e.Term
	switch e.Type {
	case raft.EntryMembership:
		var next raft.Membership
		if err := next.UnmarshalBinary(e.Data); err != nil {
			fail("apply", "entry %d: %v", e.Index, err)
		}
		m.meta.Membership = next
		return result{}, false
	case raft.EntryClusterVersion:
		m.meta.ClusterVersion = binary.BigEndian.Uint32(e.Data)
		return result{}, false
	case raft.EntryEmpty:
		return result{}, false
	}
	if c.kind == opOpen {
		return m.open(c, uint64(e.Index))
	}
	if c.header.Session == 0 {
		return m.change(c), true
	}
	i, ok := slices.BinarySearchFunc(m.sessions, c.header.Session, func(s openSession, id uint64) int { return cmp.Compare(s.id, id) })
	if !ok {
		return result{refused: kv.ErrExpired}, false
	}
	last := &m.sessions[i]
	m.sum -= last.digest()
	defer func() { m.sum += last.digest() }()
	last.used = uint64(e.Index)
	if !noDedup && c.header.Sequence <= last.sequence {
		return last.result, false
	}
	r = m.change(c)
	last.sequence, last.result = c.header.Sequence, r
	return r, true
}

func (m *machine) change(c command) (r result) {
	switch c.kind {
	case opWrite:
		m.registers[c.key] = c.value
		m.revision++
	case opSwap:
		if m.registers[c.key] == c.old {
			m.registers[c.key] = c.value
			m.revision++
			r.swapped = true
		}
	case opCompact:
		switch {
		case c.value > m.revision:
			r.refused = kv.ErrFutureRevision
		case c.value <= m.compacted:
			r.refused = kv.ErrCompacted
		default:
			m.compacted = c.value
		}
	}
	r.revision = m.revision
	return r
}

// open opens a session, once for each nonce.
func (m *machine) open(c command, index uint64) (result, bool) {
	for i := range m.sessions {
		if s := &m.sessions[i]; s.nonce == c.value {
			m.sum -= s.digest()
			s.used = index
			m.sum += s.digest()
			return result{value: s.id, revision: m.revision}, false
		}
	}
	m.evict()
	s := openSession{id: index, nonce: c.value, used: index}
	m.sessions = append(m.sessions, s)
	m.sum += s.digest()
	return result{value: index, revision: m.revision}, true
}
