package kv

import (
	"fmt"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// Small entries may ask for much, and a batch holds very many of them. What is left out of their results is none of what members must agree on.
func TestWhatABatchReturnsIsBounded(t *testing.T) {
	const keys, valueBytes, asked = 10, 1000, 20
	all := RangeOp(RangeRequest{Keys: All()})
	reads := map[string]func(i int) Txn{
		"ranges": func(int) Txn { return Txn{Success: []Op{PutOp([]byte("x"), nil), all}} },
		"items": func(int) Txn {
			return Txn{Success: []Op{PutOp([]byte("x"), nil), RangeOp(RangeRequest{Keys: All(), KeysOnly: true})}}
		},
		"before": func(i int) Txn {
			return Txn{Success: []Op{{Kind: OpPut, Keys: One(fmt.Appendf(nil, "%d", i%keys)), Value: make([]byte, valueBytes), PrevKV: true}}}
		},
		"nested": func(int) Txn {
			return Txn{Success: []Op{PutOp([]byte("x"), nil), {Kind: OpTxn, Txn: &Txn{Success: []Op{all}}}}}
		},
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			most := 3500
			if name == "ranges" || name == "nested" {
				most = 3 * keys * (valueBytes + 2*itemBytes)
			}
			bounded := func() *harness {
				o, _ := memory()
				o.MaxBatchReadBytes = most
				return newHarness(t, o)
			}
			h, single := bounded(), bounded()
			for _, x := range []*harness{h, single} {
				x.entry(raft.EntryClusterVersion, []byte{0, 0, 0, CompareVersion})
				x.do(OpenSession(1, 1))
				for i := range keys {
					x.do(Put(fmt.Append(nil, i), make([]byte, valueBytes)))
				}
			}
			id := uint64(2)
			for round := range uint64(2) {
				var entries []raft.Entry
				add := func(c Command) {
					header := session.Header{Session: id, Sequence: 100*round + uint64(len(entries)) + 1, Low: 1}
					entries = append(entries, raft.Entry{Term: 1, Index: raft.Index(len(h.log) + len(entries) + 1), Type: raft.EntryNormal, Data: proposal(t, header, c)})
				}
				for i := range asked {
					add(Transaction(read(i)))
				}
				add(CompareAndPut([]byte("1"), 1, nil)) // fails, and tells the present revision
				add(Put([]byte("y"), nil))
				h.log = append(h.log, entries...)
				got, err := h.machine.Apply(entries)
				if err != nil {
					t.Fatal(err)
				}
				whole, took := 0, 0
				for i := range entries {
					single.log = append(single.log, entries[i])
					alone, err := single.machine.Apply(entries[i : i+1])
					if err != nil {
						t.Fatal(err)
					}
					g, w := *got[i].(*Result), alone[0].(*Result)
					if !g.Repeated {
						took += memoryOf(g.Ops)
						if i < asked {
							whole++
						}
					} else if g.Ops != nil {
						t.Fatalf("a result is lost, and not: %+v", g)
					} else {
						g.Ops, g.Repeated = w.Ops, false
					}
					if !sameResult(&g, w) || w.Repeated {
						t.Fatalf("entry %d:\ngot  %+v\nwant %+v", i, g, w)
					}
				}
				if took > most || whole < 2 || whole == asked || got[asked+1].(*Result).Repeated {
					t.Errorf("%d of %d results are whole, and take %d bytes; the last is lost: %t", whole, asked, took, got[asked+1].(*Result).Repeated)
				}
			}
			sameHashes(t, h.machine, single.machine)
		})
	}
}

func memoryOf(ops []OpResult) int {
	n := 0
	add := func(items []KeyValue) {
		for _, kv := range items {
			n += len(kv.Key) + len(kv.Value) + itemBytes
		}
	}
	for i := range ops {
		add(ops[i].Prev)
		if ops[i].Range != nil {
			add(ops[i].Range.Items)
		}
		if ops[i].Txn != nil {
			n += memoryOf(ops[i].Txn.Ops)
		}
	}
	return n
}
