package watch

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// slow is a hub on a machine, with streams whose consumers do not come.
func slow(t *testing.T, o Options, streams int) *world {
	t.Helper()
	w := worldOf(t, rand.New(rand.NewPCG(1, 1)), o)
	for range streams {
		s, err := w.hub.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		w.streams = append(w.streams, &played{stream: s.(*stream), watches: map[int64]*received{}})
	}
	return w
}

func (w *world) follow(s *played, r Request) {
	w.t.Helper()
	revision, _ := w.machine.Revision()
	id, err := s.stream.Watch(r)
	if err != nil {
		w.t.Fatal(err)
	}
	r.StartRevision = revision + 1
	s.watches[id] = &received{request: r}
}

// checkAll pulls all that there is, and looks at it.
func (w *world) checkAll() {
	w.t.Helper()
	for _, s := range w.streams {
		for w.pull(s) {
		}
		for _, x := range s.watches {
			w.check(x)
		}
	}
	if st := w.hub.Stats(); st.Behind != 0 || w.hub.held != 0 {
		w.t.Errorf("%+v and %d bytes held after everything was pulled", st, w.hub.held)
	}
}

// Each of many watches is within its own bound, and all together are not.
func TestManyWatchesOfASlowConsumerHoldLittle(t *testing.T) {
	const watches, rounds, valueBytes, most = 60, 10, 1000, 48 << 10
	for name, keys := range map[string]func(i int) kv.KeyRange{
		"keys":   func(i int) kv.KeyRange { return kv.One(fmt.Appendf(nil, "%03d", i)) },
		"ranges": func(i int) kv.KeyRange { return kv.Span(fmt.Appendf(nil, "%03d", i), []byte{0}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := slow(t, Options{HeldBytes: most}, 1)
			for i := range watches {
				w.follow(w.streams[0], Request{ID: AutoID, Keys: keys(i)})
			}
			for range rounds {
				for i := range watches {
					w.apply(kv.Put(fmt.Appendf(nil, "%03d", i), make([]byte, valueBytes)))
				}
				w.handOut() // which looks at the bound
			}
			if w.seen["shed"] == 0 {
				t.Error("the bound was not met")
			}
			w.checkAll()
		})
	}
}

// Those who keep up are handed events on, whatever others make the node hold.
func TestOnlySlowConsumersGiveWay(t *testing.T) {
	const watches, rounds, valueBytes, most = 20, 30, 1000, 200 << 10
	w := slow(t, Options{HeldBytes: most}, 3)
	for _, s := range w.streams {
		for i := range watches {
			w.follow(s, Request{ID: AutoID, Keys: kv.Span(fmt.Appendf(nil, "%03d", i), fmt.Appendf(nil, "%03d", i+1))})
		}
	}
	for range rounds {
		for i := range watches {
			w.apply(kv.Put(fmt.Appendf(nil, "%03d", i), make([]byte, valueBytes)))
		}
		w.handOut()
		for _, x := range w.streams[0].stream.watchers {
			if x.group == nil {
				t.Fatal("a watch whose consumer comes every time has fallen behind")
			}
		}
		for w.pull(w.streams[0]) {
		}
	}
	if st := w.hub.Stats(); w.seen["shed"] == 0 || st.Behind == 0 {
		t.Errorf("the bound was not met: %+v", st)
	}
	w.checkAll()
}

// An entry's data is a part of a message, whose memory an event that waits for its consumer must not keep.
func TestEventsThatWaitKeepNoEntries(t *testing.T) {
	w := slow(t, Options{}, 1)
	w.follow(w.streams[0], Request{ID: AutoID, Keys: kv.One([]byte("k"))})
	data, err := kv.AppendProposal(nil, session.Header{}, kv.Put([]byte("k"), []byte("value")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.machine.Apply([]raft.Entry{{Term: 1, Index: w.next, Type: raft.EntryNormal, Data: data}}); err != nil {
		t.Fatal(err)
	}
	w.handOut()
	for i := range data {
		data[i] = 'x'
	}
	for w.pull(w.streams[0]) {
	}
	got := w.streams[0].watches[0].events
	if len(got) != 1 || string(got[0].KV.Key) != "k" || !bytes.Equal(got[0].KV.Value, []byte("value")) {
		t.Fatalf("%+v", got)
	}
}

// What did not fit into a response, since the versions before are as large as the events, is held as all else that waits for the consumer.
func TestWhatIsLeftOfResponsesIsHeldToo(t *testing.T) {
	const watches, rounds, valueBytes, most = 60, 10, 1000, 64 << 10
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprintf("behind=%v", behind), func(t *testing.T) {
			w := slow(t, Options{HeldBytes: most, ResponseBytes: 4 * valueBytes}, 1)
			s := w.streams[0]
			write := func() {
				for range rounds {
					for i := range watches {
						w.apply(kv.Put(fmt.Appendf(nil, "%03d", i), make([]byte, valueBytes)))
					}
					w.handOut()
				}
			}
			if behind {
				write()
			}
			for i := range watches {
				r := Request{ID: AutoID, Keys: kv.One(fmt.Appendf(nil, "%03d", i)), PrevKV: true, StartRevision: 2}
				id, err := s.stream.Watch(r)
				if err != nil {
					t.Fatal(err)
				}
				s.watches[id] = &received{request: r}
			}
			if !behind {
				write()
			}
			told := func() (watches, events int) {
				for _, x := range s.watches {
					if len(x.events) > 0 {
						watches++
					}
					events += len(x.events)
				}
				return watches, events
			}
			for n, _ := told(); n < watches; n, _ = told() {
				w.pull(s)
				held := 0
				for _, x := range s.stream.watchers {
					for _, c := range x.pending {
						held += c.bytes
					}
					if x.rest != nil {
						held += sizeOf(x.rest.Events)
					}
				}
				if held > most {
					t.Fatalf("%d bytes wait for the consumer", held)
				}
			}
			if _, n := told(); n >= watches*rounds {
				t.Fatal("everything fits into the first responses")
			}
			w.checkAll()
		})
	}
}

// A revision is never split, and yet is not gathered for any number of ranges.
func TestOneRevisionForManyRangesTakesLittle(t *testing.T) {
	const watches, keys, most = 100, 1000, 64 << 10
	w := slow(t, Options{HeldBytes: most}, 1)
	var all kv.Txn
	for i := range keys {
		all.Success = append(all.Success, kv.PutOp(fmt.Appendf(nil, "%04d", i), nil))
	}
	w.apply(kv.Transaction(all))
	for i := range watches {
		w.follow(w.streams[0], Request{ID: AutoID, Keys: kv.Span([]byte("0"), fmt.Appendf(nil, "9%d", i))})
	}
	w.follow(w.streams[0], Request{ID: AutoID, Keys: kv.One([]byte("9"))})
	w.apply(kv.DeleteRange(kv.All()))
	w.apply(kv.Put([]byte("9"), nil))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w.handOut()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 32*most {
		t.Errorf("handing %d events to %d ranges took %d bytes", keys, watches, took)
	}
	if behind := w.hub.Stats().Behind; behind != watches {
		t.Errorf("%d watches are behind", behind)
	}
	w.checkAll()
}

// A range may be as large as a request.
func TestWatchedKeysTakeLittle(t *testing.T) {
	const most = 100
	w := slow(t, Options{RangeBytes: most}, 2)
	large := Request{ID: AutoID, Keys: kv.Span(make([]byte, most/2), bytes.Repeat([]byte{1}, most/4))}
	w.follow(w.streams[0], large)
	if _, err := w.streams[1].stream.Watch(large); !errors.Is(err, ErrTooManyWatches) {
		t.Fatalf("a second one: %v", err)
	}
	w.streams[0].stream.Cancel(0)
	w.follow(w.streams[1], large)
	w.streams[1].stream.Close()
	w.follow(w.streams[0], large)
}
