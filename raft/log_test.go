package raft

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// TestLogAgainstASlice does at random to a log and to a plain slice what members do to logs, across many chunks.
func TestLogAgainstASlice(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 5))
			start := Position{Index(random.IntN(2 * chunkEntries)), 1}
			l, plain := newMemLog(start, nil), []Entry(nil)
			term := Term(1)
			kept := map[Index][]Entry{} // slices handed out, which must stay as they are
			copies := map[Index][]Entry{}
			for range 100 {
				switch k := random.IntN(10); {
				case k < 6:
					var more []Entry
					for range random.IntN(1200) {
						more = append(more, Entry{Term: term, Index: l.end.Index + Index(len(more)) + 1, Type: EntryNormal, Data: make([]byte, random.IntN(700))})
					}
					if len(more) == 1 {
						l.appendOne(more[0])
					} else {
						l.append(more)
					}
					plain = append(plain, more...)
				case k < 7 && len(plain) > 0:
					at := random.IntN(len(plain))
					if random.IntN(2) == 0 {
						at = max(0, len(plain)-1-random.IntN(20))
					}
					l.truncate(plain[at].Index)
					plain = plain[:at:at]
					term++
				case k < 9 && len(plain) > 0:
					at := random.IntN(len(plain))
					l.stored = l.end.Index
					l.compact(plain[at].Index)
					start = Position{plain[at].Index, plain[at].Term}
					plain = slices.Clone(plain[at+1:])
				case random.IntN(20) == 0:
					start = Position{l.end.Index + Index(random.IntN(5000)), term}
					l.restart(start)
					plain = nil
				}
				compareLog(t, random, &l, start, plain)
				if len(plain) > 1 {
					from := random.IntN(len(plain))
					got := l.slice(plain[from].Index, plain[len(plain)-1].Index)
					kept[plain[from].Index], copies[plain[from].Index] = got, slices.Clone(got)
				}
			}
			for i, s := range kept {
				if !slices.EqualFunc(s, copies[i], sameEntry) {
					t.Fatalf("what was handed out from %d on was written to", i)
				}
			}
		})
	}
}

func sameEntry(a, b Entry) bool {
	return a.Term == b.Term && a.Index == b.Index && len(a.Data) == len(b.Data)
}

func compareLog(t *testing.T, random *rand.Rand, l *memLog, start Position, plain []Entry) {
	t.Helper()
	last := start
	if n := len(plain); n > 0 {
		last = Position{plain[n-1].Index, plain[n-1].Term}
	}
	if l.start != start || l.last() != last || l.bytes() != sumOf(plain) {
		t.Fatalf("the log is %v..%v of %d bytes, want %v..%v of %d", l.start, l.last(), l.bytes(), start, last, sumOf(plain))
	}
	if len(plain) == 0 {
		return
	}
	for range 5 {
		from := random.IntN(len(plain))
		to := from + random.IntN(len(plain)-from)
		want := plain[from : to+1]
		if got := l.slice(want[0].Index, want[len(want)-1].Index); !slices.EqualFunc(got, want, sameEntry) {
			t.Fatalf("entries %d to %d differ", want[0].Index, want[len(want)-1].Index)
		}
		if got := l.size(want[0].Index, want[len(want)-1].Index); got != sumOf(want) {
			t.Fatalf("entries %d to %d have %d bytes, want %d", want[0].Index, want[len(want)-1].Index, got, sumOf(want))
		}
		bound := random.IntN(200_000)
		fit := 1
		for fit < len(want) && sumOf(want[:fit+1]) <= bound {
			fit++
		}
		if got, size := l.limited(want[0].Index, want[len(want)-1].Index, bound); len(got) != fit || size != sumOf(got) {
			t.Fatalf("%d entries of %d bytes within %d, want %d", len(got), size, bound, fit)
		}
		if i := want[0].Index; !l.has(Position{i, want[0].Term}) || l.has(Position{i, want[0].Term + 1}) {
			t.Fatalf("entry %d has another term", i)
		}
		asked := Term(random.IntN(int(last.Term) + 2))
		hint := start.Index
		for _, e := range plain[:to+1] {
			if e.Term <= asked {
				hint = e.Index
			}
		}
		if got := l.lastNotAbove(plain[to].Index, asked); got != hint {
			t.Fatalf("the last entry of a term up to %d is %d, want %d", asked, got, hint)
		}
	}
	keep := random.IntN(l.bytes() + 1)
	at := start.Index
	for i := 0; i < len(plain) && sumOf(plain[i:]) > keep; i++ {
		at = plain[i].Index
		if i > 50 {
			return // the rest takes long by hand
		}
	}
	if got := l.firstKeeping(keep); got != at {
		t.Fatalf("to keep %d bytes the log begins behind %d, want %d", keep, got, at)
	}
}

func sumOf(entries []Entry) int {
	size := 0
	for i := range entries {
		size += entries[i].EncodedSize()
	}
	return size
}

func TestWhatAnEntrysPlaceTakes(t *testing.T) {
	if got := int(reflect.TypeFor[Entry]().Size()) + int(reflect.TypeFor[uint64]().Size()); got != EntryPlaceBytes {
		t.Errorf("a place takes %d bytes, EntryPlaceBytes is %d", got, EntryPlaceBytes)
	}
}
