package etcd

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/server/backend"
)

// maxRefusedWatches bounds the refusals of watches that wait to be told; who asks for more does not read the answers.
const maxRefusedWatches = 64

type watchService struct {
	pb.UnimplementedWatchServer
	*Server
}

// Watch serves one stream of watches: one goroutine takes requests, another sends what the store has to tell.
func (s *watchService) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	store, err := s.opened()
	if err != nil {
		return err
	}
	watches, err := store.Watch()
	if err != nil {
		return err
	}
	defer watches.Close()
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	w := &watcher{stream: stream, store: store, watches: watches, refused: make(chan *pb.WatchResponse, maxRefusedWatches)}
	// Recv returns when the call has ended, and the call ends when this method returns.
	go func() {
		// A client that asks for no more watches goes on hearing of those that it has.
		if err := w.receive(ctx); !errors.Is(err, io.EOF) {
			cancel(err)
		}
	}()
	err = w.send(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

type watcher struct {
	stream  grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]
	store   backend.Store
	watches watch.Stream
	refused chan *pb.WatchResponse
	// live is how many watches there are, cancelled ones included until that was told.
	live atomic.Int64
}

// receive takes requests until the client has ended its side.
func (w *watcher) receive(ctx context.Context) error {
	for {
		r, err := w.stream.Recv()
		if err != nil {
			return err
		}
		switch x := r.RequestUnion.(type) {
		case *pb.WatchRequest_CreateRequest:
			if err := w.create(ctx, x.CreateRequest); err != nil {
				return err
			}
		case *pb.WatchRequest_CancelRequest:
			if x.CancelRequest != nil {
				w.watches.Cancel(x.CancelRequest.WatchId)
			}
		case *pb.WatchRequest_ProgressRequest:
			if w.live.Load() > 0 { // nobody's progress is none
				w.watches.RequestProgress()
			}
		}
	}
}

// errBelowZero refuses a watch from a revision below zero, as etcd does: none is as old as that.
var errBelowZero = errors.New("the first revision of the watch is below zero")

func (w *watcher) create(ctx context.Context, r *pb.WatchCreateRequest) error {
	if r == nil {
		return nil
	}
	request := watch.Request{
		ID: r.WatchId, Keys: watched(r.Key, r.RangeEnd), StartRevision: unsigned(r.StartRevision), PrevKV: r.PrevKv,
		Fragment: r.Fragment, ProgressNotify: r.ProgressNotify,
	}
	if r.WatchId == 0 {
		request.ID = watch.AutoID // zero is "choose" in etcd's messages
	}
	for _, f := range r.Filters {
		switch f {
		case pb.WatchCreateRequest_NOPUT:
			request.NoPut = true
		case pb.WatchCreateRequest_NODELETE:
			request.NoDelete = true
		}
	}
	err := errBelowZero
	if r.StartRevision >= 0 {
		w.live.Add(1) // before it can be told of
		if _, err = w.watches.Watch(request); err != nil {
			w.live.Add(-1)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, watch.ErrClosed):
		return rpctypes.ErrGRPCStopped
	}
	refusal := &pb.WatchResponse{Header: header(w.store, 0), WatchId: watch.NoID, Created: true, Canceled: true, CancelReason: refusalText(err)}
	select {
	case w.refused <- refusal:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refusalText is what etcd says for a watch that cannot be.
func refusalText(err error) string {
	switch {
	case errors.Is(err, watch.ErrDuplicateID):
		return "mvcc: duplicate watch ID provided on the WatchStream"
	case errors.Is(err, watch.ErrEmptyRange):
		return "mvcc: watcher range is empty"
	case errors.Is(err, errBelowZero):
		return rpctypes.ErrorDesc(rpctypes.ErrGRPCCompacted)
	}
	return "etcdserver: " + err.Error()
}

// watched is the range of a watch, in which an empty key without an end is the least key.
func watched(key, end []byte) kv.KeyRange {
	if len(key) == 0 {
		key = []byte{0}
	}
	return keyRange(key, end)
}

// send sends what the store tells, and refusals, until ctx ends.
func (w *watcher) send(ctx context.Context) error {
	responses := make(chan *pb.WatchResponse)
	failed := make(chan error, 1)
	go func() {
		var p pace
		for {
			r, err := w.watches.Next(ctx)
			if err == nil {
				err = hold(ctx, p.wait(&r, time.Now()))
			}
			if err != nil {
				failed <- err
				return
			}
			select {
			case responses <- w.response(&r):
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
		}
	}()
	// Etcd's client forgets the fragments that it has gathered when it hears of a watch that is made or refused: none is told of between them.
	parted := false
	for {
		refused := w.refused
		if parted {
			refused = nil
		}
		var r *pb.WatchResponse
		select {
		case r = <-responses:
			parted = r.Fragment
		case r = <-refused:
		case err := <-failed:
			return err
		}
		if err := w.stream.Send(r); err != nil {
			return err
		}
	}
}

// hold waits unless ctx ends before.
func hold(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *watcher) response(r *watch.Response) *pb.WatchResponse {
	out := &pb.WatchResponse{
		Header: header(w.store, r.Revision), WatchId: r.ID, Created: r.Created, Canceled: r.Canceled,
		CompactRevision: signed(r.CompactRevision), Fragment: r.Fragment, Events: events(r.Events),
	}
	if r.Canceled {
		w.live.Add(-1)
	}
	switch {
	case r.CompactRevision != 0:
		out.CancelReason = rpctypes.ErrorDesc(rpctypes.ErrGRPCCompacted)
	case r.Err != nil:
		out.CancelReason = "etcdserver: " + r.Err.Error()
	}
	return out
}

func events(in []kv.Event) []*mvccpb.Event {
	if len(in) == 0 {
		return nil
	}
	out := make([]*mvccpb.Event, len(in))
	for i := range in {
		e := &mvccpb.Event{Kv: keyValue(&in[i].KV)}
		if in[i].Type == kv.EventDelete {
			e.Type = mvccpb.Event_DELETE
		}
		if in[i].Prev != nil {
			e.PrevKv = keyValue(in[i].Prev)
		}
		out[i] = e
	}
	return out
}
