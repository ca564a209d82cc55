package watch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// slow is a hub on a machine, with streams whose consumers do not come.
func slow(t *testing.T, o Options, streams int) *world {
	t.Helper()
	w := &world{Rand: rand.New(rand.NewPCG(1, 1)), t: t, next: 1, seen: map[string]int{}, hub: NewHub(o)}
	var err error
	if w.machine, err = kv.Open(kv.Options{Disk: store.NewMemory(), Synchronous: true, Observer: w}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.machine.Close() })
	w.hub.store = w.machine
	w.hub.handOut()
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
