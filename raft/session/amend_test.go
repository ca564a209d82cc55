package session

import (
	"fmt"
	"testing"
)

// A table whose results are amended later is the same as one that was told them at once, and a whole image of it is read back the same.
func TestAmendedResultsAreAsIfTheyHadBeenKnown(t *testing.T) {
	at, later := newTable(bounds{sessions: 3, window: 8, results: 10}), newTable(bounds{sessions: 3, window: 8, results: 10})
	type amendment struct {
		h      Header
		result []byte
	}
	var pending []amendment
	index := uint64(0)
	for round := range 60 {
		index++
		if round%12 == 0 {
			if a, b := at.Open(index, 1, index), later.Open(index, 1, index); a != b {
				t.Fatalf("sessions %d and %d", a, b)
			}
			continue
		}
		open := at.Sessions()
		s := open[round%len(open)]
		h := Header{Session: s.ID, Sequence: s.Low + uint64(round%4), Low: s.Low + uint64(round%5)/4}
		if h.Sequence < h.Low {
			h.Sequence = h.Low
		}
		freshA, _, errA := at.Begin(index, h)
		freshB, _, errB := later.Begin(index, h)
		if freshA != freshB || (errA == nil) != (errB == nil) {
			t.Fatalf("round %d: %t, %v and %t, %v", round, freshA, errA, freshB, errB)
		}
		if freshA {
			result := fmt.Appendf(nil, "result-%d", round)
			at.Finish(h, result)
			later.Finish(h, nil)
			pending = append(pending, amendment{h, result})
		}
		if round%7 == 0 { // the end of a batch
			for _, p := range pending {
				later.Amend(p.h, p.result)
			}
			pending = nil
			if at.Digest() != later.Digest() {
				t.Fatalf("round %d: the tables differ", round)
			}
		}
	}
	for _, p := range pending {
		later.Amend(p.h, p.result)
	}
	records := later.Records()
	read, err := Load(func() (Record, error) {
		if len(records) == 0 {
			return Record{}, nil
		}
		r := records[0]
		records = records[1:]
		return r, nil
	})
	if err != nil || read.Digest() != at.Digest() {
		t.Errorf("a whole image is read back as another table: %v", err)
	}
}
