package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/raftkv/raftkv/raft"
)

// naive is what a table should be, by the words of the documentation: lists that are searched from end to end.
type naive struct {
	bounds   bounds
	sessions []*naiveSession // the least recently used first
}

type naiveSession struct {
	id, low, used uint64
	from          origin
	results       map[uint64]string
}

func (n *naive) find(id uint64) *naiveSession {
	for _, s := range n.sessions {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (n *naive) use(s *naiveSession, index uint64) {
	s.used = index
	sort.SliceStable(n.sessions, func(i, j int) bool { return n.sessions[i].used < n.sessions[j].used })
}

func (n *naive) results() int {
	total := 0
	for _, s := range n.sessions {
		total += len(s.results)
	}
	return total
}

func (n *naive) open(index uint64, from origin) uint64 {
	for _, s := range n.sessions {
		if s.from == from && from.nonce != 0 {
			n.use(s, index)
			return s.id
		}
	}
	if len(n.sessions) == n.bounds.sessions {
		n.sessions = n.sessions[1:]
	}
	n.sessions = append(n.sessions, &naiveSession{id: index, low: 1, used: index, from: from, results: map[uint64]string{}})
	return index
}

func (n *naive) begin(index uint64, h Header) (bool, string, error) {
	if h.Session == 0 {
		return true, "", nil
	}
	s := n.find(h.Session)
	if s == nil {
		return false, "", ErrExpired
	}
	n.use(s, index)
	if h.Sequence == 0 || h.Sequence < h.Low {
		return false, "", ErrSequence
	}
	s.low = max(s.low, h.Low)
	for seq := range s.results {
		if seq < s.low {
			delete(s.results, seq)
		}
	}
	if h.Sequence < s.low {
		return false, "", ErrForgotten
	}
	if h.Sequence >= s.low+uint64(n.bounds.window) {
		return false, "", ErrSequence
	}
	if r, ok := s.results[h.Sequence]; ok {
		return false, r, nil
	}
	return true, "", nil
}

func (n *naive) finish(h Header, result string) {
	if h.Session == 0 {
		return
	}
	for n.results() >= n.bounds.results {
		n.sessions = n.sessions[1:]
	}
	n.find(h.Session).results[h.Sequence] = result
}

// taken are changes whose records are made later, and what the table was when they were taken.
type taken struct {
	changes           Changes
	digest            uint64
	sessions, results int
}

func take(table *Table) taken {
	out := taken{changes: table.Changes(), digest: table.Digest()}
	out.sessions, out.results = table.Len()
	return out
}

// TestTableAgainstNaive runs random proposals, with the table now and then thrown away and loaded from what its changes left. The records of most changes are made
// when the table has long gone on.
func TestTableAgainstNaive(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			b := bounds{sessions: 2 + random.IntN(5), window: 3 + random.IntN(5), results: 10 + random.IntN(10)}
			if seed%2 == 1 { // results in several chunks
				b.window += random.IntN(6 * chunkSequences)
				b.results += b.window
			}
			table, model := newTable(b), &naive{bounds: b}
			stored := map[string][]byte{}
			var waiting []taken
			seen := map[string]int{}
			for index := uint64(1); index < 1500; index++ {
				if random.IntN(8) == 0 {
					from := origin{raft.Incarnation(random.IntN(3)), uint64(random.IntN(3))}
					got, want := table.Open(index, from.incarnation, from.nonce), model.open(index, from)
					if got != want {
						t.Fatalf("index %d: open %d, want %d", index, got, want)
					}
				} else {
					propose(t, random, index, table, model, seen)
				}
				if random.IntN(20) == 0 {
					waiting = append(waiting, take(table))
				}
				if len(waiting) > 0 && random.IntN(25) == 0 {
					reload(t, b, waiting[0], stored)
					waiting = waiting[1:]
				}
				if random.IntN(60) == 0 {
					for _, x := range append(waiting, take(table)) {
						table = reload(t, b, x, stored)
					}
					waiting = nil
				}
				checkSame(t, index, table, model)
			}
			for _, what := range []string{"fresh", "repeat", "expired", "forgotten", "sequence"} {
				if seen[what] == 0 {
					t.Errorf("no proposal was %s", what)
				}
			}
		})
	}
}

func propose(t *testing.T, random *rand.Rand, index uint64, table *Table, model *naive, seen map[string]int) {
	t.Helper()
	h := Header{Session: uint64(random.IntN(3)), Sequence: 1, Low: 1}
	if n := len(model.sessions); n > 0 && random.IntN(10) > 0 {
		s := model.sessions[random.IntN(n)]
		h = Header{Session: s.id, Low: s.low + uint64(random.IntN(3)/2), Sequence: s.low + uint64(random.IntN(model.bounds.window+2))}
		if random.IntN(10) == 0 {
			h.Low = s.low + uint64(random.IntN(model.bounds.window)/2)
		}
		if random.IntN(4) == 0 {
			h.Low = 1 // a late one, from before Low was raised
			if random.IntN(4) == 0 {
				h.Sequence = s.low - 1
			}
		}
	}
	fresh, result, err := table.Begin(index, h)
	wantFresh, wantResult, wantErr := model.begin(index, h)
	if fresh != wantFresh || string(result) != wantResult || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
		t.Fatalf("index %d: %+v: %v %q %v, want %v %q %v", index, h, fresh, result, err, wantFresh, wantResult, wantErr)
	}
	switch {
	case fresh && h.Session != 0:
		seen["fresh"]++
	case errors.Is(err, ErrExpired):
		seen["expired"]++
	case errors.Is(err, ErrForgotten):
		seen["forgotten"]++
	case errors.Is(err, ErrSequence):
		seen["sequence"]++
	case err == nil:
		seen["repeat"]++
	}
	if fresh {
		r := fmt.Sprint("result of ", index)
		table.Finish(h, []byte(r))
		model.finish(h, r)
	}
}

// reload stores what was taken, and returns the table that comes of it.
func reload(t *testing.T, b bounds, x taken, stored map[string][]byte) *Table {
	t.Helper()
	for _, r := range x.changes.Records() {
		if r.Value == nil {
			delete(stored, string(r.Key))
		} else {
			stored[string(r.Key)] = r.Value
		}
	}
	var records []Record
	for k, v := range stored {
		records = append(records, Record{Key: []byte(k), Value: v})
	}
	next, err := load(records)
	if err != nil {
		t.Fatal(err)
	}
	next.bounds = b
	if sessions, results := next.Len(); next.Digest() != x.digest || sessions != x.sessions || results != x.results || len(stored) != sessions+results {
		t.Fatalf("%d sessions and %d results were loaded of %d records, there were %d and %d; or others", sessions, results, len(stored), x.sessions, x.results)
	}
	return next
}

func checkSame(t *testing.T, index uint64, table *Table, model *naive) {
	t.Helper()
	sessions, results := table.Len()
	if sessions != len(model.sessions) || results != model.results() {
		t.Fatalf("index %d: %d sessions and %d results, want %d and %d", index, sessions, results, len(model.sessions), model.results())
	}
	for _, s := range table.Sessions() {
		m := model.find(s.ID)
		if m == nil || m.low != s.Low || m.used != s.Used || m.from != (origin{s.Incarnation, s.Nonce}) {
			t.Fatalf("index %d: %+v, want %+v", index, s, m)
		}
	}
}

func TestLoadRefusesWhatItDidNotWrite(t *testing.T) {
	whole := encodeSession(Session{ID: 1, Low: 1, Used: 1})
	for name, r := range map[string]Record{
		"short key":         {Key: []byte("k"), Value: whole},
		"no value":          {Key: place{1, 0}.key()},
		"newer format":      {Key: place{1, 0}.key(), Value: append([]byte{9}, whole[1:]...)},
		"truncated":         {Key: place{1, 0}.key(), Value: whole[:2]},
		"too long":          {Key: place{1, 0}.key(), Value: append(whole[:len(whole):len(whole)], 0)},
		"result of nothing": {Key: place{1, 1}.key(), Value: []byte{recordFormat, 1}},
	} {
		records := []Record{r}
		_, err := Load(func() (Record, error) {
			if len(records) == 0 {
				return Record{}, nil
			}
			records = nil
			return r, nil
		})
		if !errors.Is(err, errRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []Header{{}, {1, 2, 3}, {^uint64(0), ^uint64(0), ^uint64(0)}} {
		b, err := h.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, rest, err := Decode(append(b, "command"...))
		if err != nil || got != h || string(rest) != "command" {
			t.Errorf("%+v became %+v, %q, %v", h, got, rest, err)
		}
		for n := range b {
			if _, _, err := Decode(b[:n]); err == nil {
				t.Errorf("%d of %d bytes were accepted", n, len(b))
			}
		}
	}
}
