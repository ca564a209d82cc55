package watch

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/kv"
)

// AutoID asks for an ID that is not in use in the stream.
const AutoID = -1

// NoID is the ID in responses that are about the whole stream.
const NoID = -1

// Request says what to watch.
type Request struct {
	// ID names the watch within its stream; AutoID chooses one, from 0 on.
	ID   int64
	Keys kv.KeyRange
	// StartRevision is the first revision of interest; zero means what is written from now on. A later one than the
	// store's is waited for.
	StartRevision uint64
	// PrevKV asks for the version before each event, unless that is compacted. They are read as the response is made. Without Fragment those of one
	// revision are held at a time, which are what its transaction deleted and overwrote: one that is past Options.RevisionBytes with them ends the
	// watch with ErrRevisionTooLarge.
	PrevKV bool
	// NoPut and NoDelete leave such events out.
	NoPut, NoDelete bool
	// Fragment allows the events of one revision to be split over several responses; without it a response is as large as its revision.
	Fragment bool
	// ProgressNotify asks for a response without events when there was none for a while.
	ProgressNotify bool
}

// Response is one message to whoever watches.
type Response struct {
	// ID is the watch's; NoID in an answer to Stream.RequestProgress.
	ID int64
	// Revision is that of the store. In a response without events all that was written up to it, and that the watch is to
	// see, was delivered before; behind it a client can resume: what it has had is not later, and the watch begins no later than right behind it.
	Revision uint64
	// Created is set in the first response of a watch, which holds no events.
	Created bool
	// Canceled is set in the last response of a watch. Err says why, nil if Cancel was called.
	Canceled bool
	Err      error
	// CompactRevision is set when the watch was cancelled because history that it needed is compacted: the lowest revision that
	// can still be watched from.
	CompactRevision uint64
	// Fragment says that more responses with events of the same batch follow, next of all in the stream unless the watch is cancelled.
	Fragment bool
	// Events are in the order of their revisions. Those of one revision are never split but by Fragment.
	Events []kv.Event
}

var (
	// ErrDuplicateID says that the stream has a watch of that ID.
	ErrDuplicateID = errors.New("the stream has a watch of that ID already")
	// ErrEmptyRange says that the range can hold no key.
	ErrEmptyRange = errors.New("the range to watch is empty")
	// ErrTooManyWatches says that a bound of watches is met: close some, or use another stream or node.
	ErrTooManyWatches = errors.New("there are too many watches")
	// ErrRevisionTooLarge says that one revision has more in the versions before than one response may hold. All before it was delivered.
	ErrRevisionTooLarge = errors.New("the versions before the events of one revision are too large for one response: watch with fragments, or without them")
	// ErrClosed says that the stream or the node is closed.
	ErrClosed = errors.New("the watch stream is closed")
)

// Stream is a set of watches that one consumer reads. All methods but Next may be called by any goroutine.
type Stream interface {
	// Watch adds a watch, and returns its ID. Next tells of it with Created before anything else of it. A start revision that is compacted
	// shows as Canceled in Next. Errors: ErrDuplicateID, ErrEmptyRange, ErrTooManyWatches, ErrClosed.
	Watch(Request) (int64, error)
	// Cancel ends a watch; Next tells of it with Canceled, after which nothing of it comes. It returns false if there is none of that ID.
	Cancel(id int64) bool
	// RequestProgress asks for one response with NoID once every watch of the stream has had all events up to the revision that it tells, and none
	// has had or begins with a later one.
	RequestProgress()
	// Next waits for the next response. It is for one goroutine. Errors: ErrClosed, or the context's.
	Next(ctx context.Context) (Response, error)
	// Close ends all watches. It may be called twice.
	Close()
}
