package session

import (
	"math"
	"testing"
)

// The last sequence of all is one as any other: a repeat of it is recognised, it is part of an image, and it goes with its session.
func TestTheLastSequenceOfAll(t *testing.T) {
	table := newTable(bounds{sessions: 2, window: 8, results: 10})
	id := table.Open(1, 1, 1)
	h := Header{Session: id, Sequence: math.MaxUint64, Low: math.MaxUint64 - 3}
	if fresh, _, err := table.Begin(2, h); !fresh || err != nil {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	table.Finish(h, []byte("first"))
	table.Amend(h, []byte("second"))
	if fresh, result, err := table.Begin(3, h); fresh || err != nil || string(result) != "second" {
		t.Fatalf("the repeat is fresh: %v; its result is %q, %v", fresh, result, err)
	}
	records := table.Records()
	again, err := load(records)
	if err != nil || len(records) != 2 || again.Digest() != table.Digest() {
		t.Fatalf("%d records load as another table: %v", len(records), err)
	}
	for index := range uint64(4) {
		table.Open(10+index, 1, 10+index)
	}
	if sessions, results := table.Len(); sessions != 2 || results != 0 {
		t.Fatalf("%d sessions and %d results are left", sessions, results)
	}
}
