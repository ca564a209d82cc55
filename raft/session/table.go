package session

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/raftkv/raftkv/raft"
)

// Bounds of a table. They are part of the replicated state machine: changing one needs a new cluster version.
const (
	// MaxSessions is the number of open sessions. One more evicts the session that was used least recently.
	MaxSessions = 4096
	// MaxWindow is how far a sequence may be ahead of its session's Low, in proposals.
	MaxWindow = 8192
	// MaxResults is the number of results that all sessions keep together. One more evicts whole sessions, the least
	// recently used first.
	MaxResults = 64 << 10
	// MaxResultBytes is the length of one result.
	MaxResultBytes = 128
)

// Reasons for which a proposal is not applied. Errors of Begin are part of the replicated state.
var (
	// ErrExpired says that the session is not in the table: it was evicted or never opened.
	ErrExpired = errors.New("the session is unknown or has expired: open a new one")
	// ErrForgotten says that the sequence is below Low, so that its result is gone. It was not applied again.
	ErrForgotten = errors.New("the sequence is below the session's low mark: its result is no longer known")
	// ErrSequence says that the sequence is zero, below the header's own Low, or MaxWindow or more above Low.
	ErrSequence = errors.New("the sequence number is outside of the session's window")
)

// Session describes one open session.
type Session struct {
	// ID is the log index of the entry that opened it.
	ID uint64
	// Incarnation and Nonce tell the process that opened it.
	Incarnation raft.Incarnation
	Nonce       uint64
	// Low is the lowest sequence that may still be asked for.
	Low uint64
	// Used is the log index of the last entry that belonged to it.
	Used uint64
}

type bounds struct {
	sessions, window, results int
}

// Table is the set of open sessions. It changes only by entries applied in order and is the same on every
// member that applied the same ones. It is not safe for concurrent use.
type Table struct {
	bounds   bounds
	sessions map[uint64]*state
	origins  map[origin]uint64
	// used orders the sessions, the least recently used first.
	used    *list.List
	results int
	digest  uint64
	// generation counts the calls of Changes. What was changed in an earlier one belongs to its Changes, and is copied before it is changed again.
	generation uint64
	// since is what has changed in this generation.
	since Changes
}

type origin struct {
	incarnation raft.Incarnation
	nonce       uint64
}

type state struct {
	*head
	results window
	element *list.Element
	// opened is the generation in which the session came: the store has a record of it if that is an earlier one.
	opened uint64
}

// head is what the record of a session tells.
type head struct {
	Session
	// generation is that in which it was changed last; closed says that the session has ended in it.
	generation uint64
	closed     bool
}

// place is where a record is kept: a session (sequence zero) or one of its results.
type place struct {
	session, sequence uint64
}

// NewTable returns an empty table.
func NewTable() *Table {
	return newTable(bounds{sessions: MaxSessions, window: MaxWindow, results: MaxResults})
}

func newTable(b bounds) *Table {
	return &Table{
		bounds:   b,
		sessions: map[uint64]*state{},
		origins:  map[origin]uint64{},
		used:     list.New(),

		generation: 1, // that of what is loaded is 0
	}
}

// Open opens a session by the entry at index and returns its ID. An origin with a nonce that is not zero has at most
// one session: opening it again returns the first one.
func (t *Table) Open(index uint64, incarnation raft.Incarnation, nonce uint64) uint64 {
	from := origin{incarnation, nonce}
	if id, ok := t.origins[from]; ok && nonce != 0 {
		s := t.sessions[id]
		t.touch(s, index, s.Low)
		return id
	}
	if len(t.sessions) >= t.bounds.sessions {
		t.evict(t.used.Front().Value.(*state))
	}
	t.insert(Session{ID: index, Incarnation: incarnation, Nonce: nonce, Low: 1, Used: index}, t.generation)
	return index
}

// Begin looks at the header of the entry at index. It says whether the command behind it is to be applied now.
// When it is not, either err tells why it never will be, or result is that of the first time.
// After a fresh command was applied, Finish records its result.
func (t *Table) Begin(index uint64, h Header) (fresh bool, result []byte, err error) {
	if h.Session == 0 {
		return true, nil, nil
	}
	s, ok := t.sessions[h.Session]
	if !ok {
		return false, nil, ErrExpired
	}
	if h.Sequence == 0 || h.Sequence < h.Low {
		t.touch(s, index, s.Low)
		return false, nil, ErrSequence
	}
	t.touch(s, index, h.Low)
	if h.Sequence < s.Low {
		return false, nil, ErrForgotten
	}
	if h.Sequence-s.Low >= uint64(t.bounds.window) {
		return false, nil, ErrSequence
	}
	if result, there := s.results.get(h.Sequence); there {
		return false, result, nil
	}
	return true, nil, nil
}

// Finish keeps the result of the command that Begin called fresh, at most MaxResultBytes long. It does not copy it.
func (t *Table) Finish(h Header, result []byte) {
	if h.Session == 0 {
		return
	}
	if len(result) > MaxResultBytes {
		panic(fmt.Sprintf("session: a result of %d bytes, the limit is %d", len(result), MaxResultBytes))
	}
	s, ok := t.sessions[h.Session]
	if !ok {
		panic(fmt.Sprintf("session: a result for session %d, which is not open", h.Session))
	}
	// The one in use is the last in the order, and its window is smaller than the bound of all: it stays.
	for t.results >= t.bounds.results {
		t.evict(t.used.Front().Value.(*state))
	}
	t.keep(s, h.Sequence, result)
	t.results++
	t.digest += digestResult(s.ID, h.Sequence, result)
}

// keep puts a result that the store does not have yet.
func (t *Table) keep(s *state, sequence uint64, result []byte) {
	c := s.results.put(sequence, result, t.generation)
	c.fresh |= bitOf(sequence)
	if !c.listed {
		c.listed, c.at = true, len(t.since.fresh)
		t.since.fresh = append(t.since.fresh, freshChunk{s.ID, c})
	}
}

// unlist lets go of a chunk that nobody needs any more, unless Changes have it.
func (t *Table) unlist(c *chunk) {
	if c != nil && c.listed && c.generation == t.generation {
		t.since.fresh[c.at].chunk = nil
	}
}

// Len returns the number of open sessions and of results kept.
func (t *Table) Len() (sessions, results int) { return len(t.sessions), t.results }

// Digest is a checksum of all that the table holds. Equal tables have equal digests, however they came about.
func (t *Table) Digest() uint64 { return t.digest }

// Sessions returns the open sessions, sorted by ID.
func (t *Table) Sessions() []Session {
	out := make([]Session, 0, len(t.sessions))
	for _, s := range t.sessions {
		out = append(out, s.Session)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// touch notes that the session was used, and raises its Low, if it is lower.
func (t *Table) touch(s *state, index, low uint64) {
	t.digest -= digestSession(s.Session)
	t.forgetBelow(s, low)
	t.own(s)
	s.Used, s.Low = index, max(s.Low, low)
	t.digest += digestSession(s.Session)
	t.used.MoveToBack(s.element)
	// An entry uses two sessions when a proposal of one opens the other, maybe again: these are in the order of their IDs, in which Load finds them.
	if e := s.element.Prev(); e != nil {
		if before := e.Value.(*state); before.Used == index && before.ID > s.ID {
			t.used.MoveBefore(s.element, e)
		}
	}
}

// own makes the head of a session one that may be changed in this generation.
func (t *Table) own(s *state) {
	if s.generation == t.generation {
		return
	}
	h := *s.head
	h.generation = t.generation
	s.head = &h
	t.since.heads = append(t.since.heads, &h)
}

// forgetBelow forgets the results below low.
func (t *Table) forgetBelow(s *state, low uint64) {
	if low > s.Low {
		t.forgetUpTo(s, low-1)
	}
}

// forgetUpTo forgets the results up to and including that of last.
func (t *Table) forgetUpTo(s *state, last uint64) {
	for sequence, result := range s.results.from(s.Low) {
		if sequence > last {
			return
		}
		t.results--
		t.digest -= digestResult(s.ID, sequence, result)
		stored, gone := s.results.remove(sequence, t.generation)
		if stored {
			t.since.dropped = append(t.since.dropped, place{s.ID, sequence})
		}
		t.unlist(gone)
	}
}

func (t *Table) evict(s *state) {
	t.forgetUpTo(s, math.MaxUint64)
	t.unlist(s.results.spare)
	t.digest -= digestSession(s.Session)
	t.used.Remove(s.element)
	delete(t.sessions, s.ID)
	if from := (origin{s.Incarnation, s.Nonce}); t.origins[from] == s.ID {
		delete(t.origins, from)
	}
	if s.generation == t.generation {
		s.closed = true
	}
	if s.opened < t.generation {
		t.since.dropped = append(t.since.dropped, place{s.ID, 0})
	}
}

// insert adds a session that came in a generation.
func (t *Table) insert(x Session, generation uint64) {
	s := &state{head: &head{Session: x, generation: generation}, results: newWindow(t.bounds.window), opened: generation}
	if generation == t.generation {
		t.since.heads = append(t.since.heads, s.head)
	}
	s.element = t.used.PushBack(s)
	t.sessions[s.ID] = s
	t.origins[origin{s.Incarnation, s.Nonce}] = s.ID
	t.digest += digestSession(s.Session)
}
