package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestATableThatWasLoadedGoesOnTheSame: a session may be opened by a proposal of another session, so that an entry uses both. Whoever restarts or is made of a
// snapshot must evict the same ones as who ran through.
func TestATableThatWasLoadedGoesOnTheSame(t *testing.T) {
	const sessions, nodes, entries = 40, 10, 2000
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			through, restarted := newTable(bounds{sessions, 8, 1000}), newTable(bounds{sessions, 8, 1000})
			var open []uint64
			for index := uint64(1); index <= entries; index++ {
				nonce := 1 + random.Uint64N(2*sessions)
				header := Header{Sequence: 1, Low: 1}
				if len(open) > 0 {
					header.Session = open[max(0, len(open)-1-random.IntN(nodes))]
				}
				var ids [2]uint64
				for i, table := range []*Table{through, restarted} {
					if _, _, err := table.Begin(index, header); err != nil {
						table.Open(index, 1, index<<32) // by a proposal without a session
						continue
					}
					ids[i] = table.Open(index, 2, nonce)
				}
				if ids[0] != ids[1] {
					t.Fatalf("entry %d opens session %d and, in the table that was loaded, %d", index, ids[0], ids[1])
				}
				if open = append(open, index); ids[0] != 0 {
					open = append(open, ids[0])
				}
				if through.Digest() != restarted.Digest() {
					t.Fatalf("after entry %d the tables hold other sessions", index)
				}
				if random.IntN(50) == 0 {
					records := restarted.Records()
					next := 0
					var err error
					restarted, err = Load(func() (Record, error) {
						if next == len(records) {
							return Record{}, nil
						}
						next++
						return records[next-1], nil
					})
					if err != nil {
						t.Fatal(err)
					}
					restarted.bounds = through.bounds
				}
			}
		})
	}
}
