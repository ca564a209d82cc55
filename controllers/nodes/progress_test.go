package nodes

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// A leader's stream does not tell that a voter has caught up (see admin.Board). Who asked it knows, and must not read the opposite at the next look.
func TestWhatANodeSaysWhenAskedIsWhatItSaidLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		says := func(generation uint64, match raft.Index) *admin.Status {
			return &admin.Status{Name: "demo-0", Generation: generation, Members: []admin.MemberStatus{{Match: match}}}
		}
		stream, waits := make(chan *admin.Status, 1), []uint64(nil)
		var asked func() *admin.Status
		wakes := 0
		w := NewWatcher(func(string, string) (admin.Service, func(), error) {
			return admin.Service{
				WaitStatus: func(ctx context.Context, r *admin.WaitStatusRequest) (*admin.Status, error) {
					waits = append(waits, r.Generation)
					select {
					case s := <-stream:
						return s, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				},
				Status: func(context.Context, *admin.StatusRequest) (*admin.Status, error) { return asked(), nil },
			}, func() {}, nil
		}, func(types.NamespacedName) { wakes++ })
		w.Follow(demo, []Target{{UID: "u", Name: "demo-0"}})
		bring := func(s *admin.Status) {
			stream <- s
			time.Sleep(2 * minRound)
			synctest.Wait()
		}
		last := func(what string, generation uint64, match raft.Index) {
			t.Helper()
			if a := w.Last(demo, "u"); a.Err != nil || a.Status.Generation != generation || a.Status.Members[0].Match != match {
				t.Errorf("%s: it is said to have said %+v last, want generation %d and index %d", what, a, generation, match)
			}
		}
		read := func(f func() *admin.Status) {
			asked = f
			_ = w.Read(t.Context(), demo)
			_ = w.ReadUntilNews(t.Context(), demo, w.News(demo))
		}
		bring(says(5, 1))
		read(func() *admin.Status { return says(5, 2) })
		last("progress", 5, 2)
		read(func() *admin.Status { return says(6, 3) })
		last("news, which the stream has yet to bring", 5, 2)
		read(func() *admin.Status { return &admin.Status{Name: "demo-1", Generation: 5} })
		last("another node", 5, 2)
		if wakes != 1 {
			t.Errorf("%d wakes by one piece of news", wakes)
		}
		bring(says(6, 3))
		last("news", 6, 3)
		read(func() *admin.Status {
			late := says(6, 2)
			bring(says(6, 4))
			return late
		})
		last("progress after the call", 6, 4)
		w.Follow(demo, nil)
		w.running.Wait()
		if wakes != 2 || waits[1] != 5 || waits[2] != 6 || waits[len(waits)-1] != 6 {
			t.Errorf("%d wakes by two pieces of news, and the stream was asked for what is newer than %v", wakes, waits)
		}
	})
}
