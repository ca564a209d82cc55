package rest

import (
	"context"
	"sort"
	"sync"

	"github.com/raftkv/raftkv/kv"
)

// fake is a backend that knows just the commands that the front end makes.
type fake struct {
	mu       sync.Mutex
	revision uint64
	items    map[string]kv.KeyValue
	barriers int
	// proposeErr and barrierErr, when set, are returned instead; hang makes both wait for the context.
	proposeErr, barrierErr error
	hang                   bool
	lastRange              kv.RangeRequest
}

func newFake() *fake { return &fake{revision: kv.FirstRevision, items: map[string]kv.KeyValue{}} }

func (f *fake) Propose(ctx context.Context, c kv.Command) (*kv.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.proposeErr != nil {
		return nil, f.proposeErr
	}
	op := c.Txn.Success[0]
	key := string(op.Keys.Start)
	old, exists := f.items[key]
	for _, compare := range c.Txn.Compares {
		holds := old.ModRevision == compare.Number
		if compare.Relation == kv.Greater {
			holds = old.ModRevision > compare.Number
		}
		if !holds {
			return &kv.Result{Revision: f.revision, Current: old.ModRevision}, nil
		}
	}
	result := &kv.Result{Succeeded: true}
	switch {
	case op.Kind == kv.OpPut:
		f.revision++
		if !exists {
			old.CreateRevision = f.revision
		}
		f.items[key] = kv.KeyValue{
			Key: []byte(key), Value: op.Value, CreateRevision: old.CreateRevision, ModRevision: f.revision, Version: old.Version + 1,
		}
	case exists:
		f.revision++
		delete(f.items, key)
		result.Deleted = 1
	}
	result.Revision = f.revision
	return result, nil
}

func (f *fake) ReadBarrier(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.barriers++
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.barrierErr
}

func (f *fake) Get(_ context.Context, key []byte, revision uint64) (kv.GetResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case revision > f.revision:
		return kv.GetResult{}, kv.ErrFutureRevision
	case revision == 1:
		return kv.GetResult{}, kv.ErrCompacted
	}
	item, found := f.items[string(key)]
	return kv.GetResult{KeyValue: item, Found: found, Revision: f.revision}, nil
}

func (f *fake) Range(_ context.Context, r kv.RangeRequest) (kv.RangeResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastRange = r
	switch {
	case r.Revision > f.revision:
		return kv.RangeResult{}, kv.ErrFutureRevision
	case r.Revision == 1:
		return kv.RangeResult{}, kv.ErrCompacted
	}
	out := kv.RangeResult{Revision: f.revision}
	var keys []string
	for k := range f.items {
		start, end := string(r.Keys.Start), string(r.Keys.End)
		if k == start && end == "" || end != "" && k >= start && (end == "\x00" || k < end) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		if r.Limit > 0 && len(out.Items) == r.Limit {
			out.More = true
			break
		}
		item := f.items[k]
		if r.KeysOnly {
			item.Value = nil
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}
