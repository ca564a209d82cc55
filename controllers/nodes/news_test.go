package nodes

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// scripted is a node whose stream brings what the test puts in, and that may answer nothing when it is asked.
type scripted struct {
	name   string
	stream chan uint64 // generations
	hangs  bool
}

func (n *scripted) service() admin.Service {
	return admin.Service{
		WaitStatus: func(ctx context.Context, _ *admin.WaitStatusRequest) (*admin.Status, error) {
			select {
			case g := <-n.stream:
				return &admin.Status{Name: n.name, Generation: g}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Status: func(ctx context.Context, _ *admin.StatusRequest) (*admin.Status, error) {
			if n.hangs {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &admin.Status{Name: n.name, Term: 99}, nil
		},
	}
}

// follow has a Watcher follow these nodes, whose names are their addresses, too.
func follow(t *testing.T, all ...*scripted) *Watcher {
	t.Helper()
	byName := map[string]*scripted{}
	var targets []Target
	for _, n := range all {
		n.stream = make(chan uint64, 1)
		byName[n.name] = n
		targets = append(targets, Target{UID: types.UID(n.name), Name: n.name, Address: n.name})
	}
	w := NewWatcher(func(address, _ string) (admin.Service, func(), error) {
		return byName[address].service(), func() {}, nil
	}, func(types.NamespacedName) {})
	w.Follow(demo, targets)
	return w
}

// forgotten ends the following, of which nothing is left.
func forgotten(t *testing.T, w *Watcher) {
	t.Helper()
	w.Follow(demo, nil)
	w.running.Wait()
	_ = w.ReadUntilNews(t.Context(), demo, w.News(demo))
	if news := w.News(demo); news != nil || len(w.clusters) != 0 {
		t.Errorf("%d clusters are left, with news %v", len(w.clusters), news)
	}
}

// lasts is for how long f goes on by the test's clock.
func lasts(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// Who looks at what the nodes said last, and then asks them, is to hear at once also what has come in between.
func TestNewsBetweenALookAndAReadAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, elected, well := &scripted{name: "demo-0", hangs: true}, &scripted{name: "demo-1", hangs: true}, &scripted{name: "demo-2"}
		w := follow(t, gone, elected, well)
		for _, n := range []*scripted{gone, elected, well} {
			n.stream <- 1
		}
		time.Sleep(time.Second)
		news := w.News(demo)
		elected.stream <- 2
		time.Sleep(time.Second)
		var answers map[types.UID]Answer
		if took := lasts(func() { answers = w.ReadUntilNews(t.Context(), demo, news) }); took != minPatience {
			t.Errorf("news that are there already are waited for for %v", took)
		}
		for name, want := range map[types.UID]admin.Status{"demo-0": {Generation: 1}, "demo-1": {Generation: 2}, "demo-2": {Term: raft.Term(99)}} {
			if a := answers[name]; a.Err != nil || a.Status.Generation != want.Generation || a.Status.Term != want.Term {
				t.Errorf("%s says %+v, want %+v", name, a, want)
			}
		}
		if took := lasts(func() { answers = w.ReadUntilNews(t.Context(), demo, w.News(demo)) }); took != readTimeout || answers["demo-1"].Err == nil {
			t.Errorf("without news, a node that does not answer is waited for for %v, and says %+v", took, answers["demo-1"])
		}
		forgotten(t, w)
	})
}

// All nodes are waited for that have just begun to be followed; news of those that were heard are not held up by one that is not.
func TestWhoWasNotHeardYetHoldsUpNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := &scripted{name: "demo-0"}, &scripted{name: "demo-1"}, &scripted{name: "demo-2"}
		w := follow(t, a, b, c)
		after := func(d time.Duration, n *scripted, generation uint64) {
			time.AfterFunc(d, func() { n.stream <- generation })
		}
		after(100*time.Millisecond, a, 1)
		after(500*time.Millisecond, b, 1)
		after(time.Second, a, 2)
		var answers map[types.UID]Answer
		if took := lasts(func() { answers = w.ReadUntilNews(t.Context(), demo, w.News(demo)) }); took != time.Second {
			t.Errorf("news that come after a second are heard after %v", took)
		}
		if answers["demo-0"].Err != nil || answers["demo-1"].Err != nil || !errors.Is(answers["demo-2"].Err, ErrNotAsked) {
			t.Errorf("got %+v", answers)
		}
		forgotten(t, w)
	})
}
