package session

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// full returns a table with as many sessions and results as it takes, and the next index. All of it has yet to be stored.
func full() (table *Table, next uint64) {
	table = NewTable()
	for id := range uint64(MaxSessions) {
		table.Open(1+id, 1, 1+id)
	}
	return table, use(table, MaxSessions+1, 1, MaxResults/MaxSessions)
}

// use makes so many proposals in each session, the first of a sequence, and returns the next index.
func use(table *Table, index, sequence, count uint64) uint64 {
	result := []byte("a result")
	for _, s := range table.Sessions() {
		for n := range count {
			// What is behind by a session's share is not asked for again, so that nothing is evicted.
			h := Header{Session: s.ID, Sequence: sequence + n, Low: 1 + max(sequence+n, MaxResults/MaxSessions) - MaxResults/MaxSessions}
			if fresh, _, err := table.Begin(index, h); err != nil || !fresh {
				panic(fmt.Sprintf("%+v: fresh %t, %v", h, fresh, err))
			}
			table.Finish(h, result)
			index++
		}
	}
	return index
}

// allocated tells how many pieces of memory, and how many bytes, something takes: what it does for each session or result would show.
func allocated(f func()) (pieces, size uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc
}

// Who applies waits while changes are taken. What they hold must not show in that, and what the table does for it afterwards must be spread over the proposals.
func TestChangesAreTakenAtOnceHoweverManyThereAre(t *testing.T) {
	table, index := full()
	if sessions, results := table.Len(); sessions != MaxSessions || results != MaxResults {
		t.Fatalf("%d sessions and %d results", sessions, results)
	}
	var changes Changes
	if pieces, size := allocated(func() { changes = table.Changes() }); pieces > 10 || size > 4<<10 {
		t.Errorf("%d bytes in %d pieces were allocated to take the changes of a full table", size, pieces)
	}
	if n := len(changes.Records()); n != MaxSessions+MaxResults {
		t.Errorf("%d records", n)
	}
	// A proposal changes its session, drops a result of one chunk and adds one to another.
	const most = 2*uint64(unsafe.Sizeof(chunk{})) + 1<<10
	for round := range uint64(3) {
		_, size := allocated(func() { index = use(table, index, 1+MaxResults/MaxSessions+round, 1) })
		if size/MaxSessions > most {
			t.Errorf("a proposal takes %d bytes on average, want %d at most", size/MaxSessions, most)
		}
	}
}

// Records are of the moment at which the changes were taken, and are made while the table goes on.
func TestRecordsOfChangesAreMadeWhileTheTableGoesOn(t *testing.T) {
	table, index := full()
	for round := range uint64(4) {
		changes := table.Changes()
		want := changes.Records()
		made := make(chan []Record)
		go func() { made <- changes.Records() }()
		index = use(table, index, 1+MaxResults/MaxSessions+round, 1)
		for id := range uint64(32) { // evicts others
			table.Open(index, 2, 1+round<<32+id)
			index++
		}
		if got := <-made; !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: %d records became %d others", round, len(want), len(got))
		}
	}
}

// BenchmarkChanges takes the changes of a full table, all of which has changed, and makes their records. Who applies waits for the first of it only.
func BenchmarkChanges(b *testing.B) {
	table, index := full()
	sequence := uint64(1 + MaxResults/MaxSessions)
	var waited time.Duration
	for b.Loop() {
		b.StopTimer()
		index = use(table, index, sequence, MaxResults/MaxSessions)
		sequence += MaxResults / MaxSessions
		b.StartTimer()
		began := time.Now()
		changes := table.Changes()
		waited += time.Since(began)
		changes.Records()
	}
	b.ReportMetric(float64(waited.Nanoseconds())/float64(b.N), "ns-waited/op")
}

// BenchmarkProposals is what a table costs who applies: sessions that go on, with a flush now and then.
func BenchmarkProposals(b *testing.B) {
	table, index := full()
	table.Changes()
	sequence := uint64(1 + MaxResults/MaxSessions)
	b.ReportAllocs()
	for b.Loop() {
		index = use(table, index, sequence, 1)
		if sequence++; sequence%8 == 0 {
			table.Changes()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxSessions, "ns/proposal")
}
