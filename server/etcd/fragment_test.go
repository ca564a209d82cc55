package etcd

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
)

// told is a store whose watches tell what a test says.
type told struct {
	still
	responses chan watch.Response
}

func (s *told) Watch() (watch.Stream, error) { return &telling{of: s}, nil }

type telling struct {
	of   *told
	made bool
}

func (s *telling) Watch(watch.Request) (int64, error) {
	if s.made {
		return 0, watch.ErrDuplicateID
	}
	s.made = true
	return 1, nil
}

func (*telling) Cancel(int64) bool { return false }
func (*telling) RequestProgress()  {}
func (*telling) Close()            {}

func (s *telling) Next(ctx context.Context) (watch.Response, error) {
	select {
	case r := <-s.of.responses:
		return r, nil
	case <-ctx.Done():
		return watch.Response{}, ctx.Err()
	}
}

// Etcd's client forgets the fragments that it has when it hears of any watch that is made: a watch that is refused must not come between them.
func TestNoRefusalComesBetweenFragments(t *testing.T) {
	store := &told{still: still{leader: 1}, responses: make(chan watch.Response)}
	_, c := serve(t, store)
	w, err := pb.NewWatchClient(c).Watch(within(t))
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k"), Fragment: true}}}
	next := func() *pb.WatchResponse {
		t.Helper()
		r, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if err := w.Send(create); err != nil {
		t.Fatal(err)
	}
	store.responses <- watch.Response{ID: 1, Created: true, Revision: 1}
	next()
	part := []kv.Event{{KV: kv.KeyValue{Key: []byte("k"), ModRevision: 2}}}
	store.responses <- watch.Response{ID: 1, Revision: 2, Fragment: true, Events: part}
	if r := next(); !r.Fragment {
		t.Fatal(r)
	}
	for range 3 { // the second and third are refused
		if err := w.Send(create); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		store.responses <- watch.Response{ID: 1, Revision: 2, Fragment: true, Events: part}
		if r := next(); r.WatchId != 1 {
			t.Fatalf("between fragments came %v", r)
		}
	}
	store.responses <- watch.Response{ID: 1, Revision: 2, Events: part}
	if r := next(); r.WatchId != 1 || r.Fragment {
		t.Fatal(r)
	}
	for range 3 {
		if r := next(); r.WatchId != watch.NoID || !r.Canceled {
			t.Fatal(r)
		}
	}
}
