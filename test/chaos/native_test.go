//go:build linux

package chaos

import (
	"context"
	"errors"
	"testing"
	"time"

	native "github.com/raftkv/raftkv/client"
)

// nativeAttempt is how long the native client waits for one node.
const nativeAttempt = 500 * time.Millisecond

// openNative opens a client of all nodes, which asks another when one does not answer, under the same number.
func openNative(t *testing.T, c *cluster) *native.Client {
	t.Helper()
	cfg := native.Config{StaticEndpoints: true, DialTimeout: nativeAttempt, AttemptTimeout: nativeAttempt}
	for _, n := range c.nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.client)
	}
	opened, err := native.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// doNative is do through the native client: what it asks again is applied once, so that the history tells if it is not.
func (o *pairOperation) doNative(c *native.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	first, second := o.keys()
	if o.kind == pairHalf {
		r, err := c.Put(ctx, string(first), []byte(o.value))
		o.revision = r.Revision
		o.outcome, o.text = understandNative(err)
		return
	}
	put := func(key []byte) native.Op { return native.OpPut(string(key), []byte(o.value)) }
	reads := []native.Op{native.OpGet(string(first)), native.OpGet(string(second))}
	writes := []native.Op{put(first), put(second)}
	txn := c.Txn()
	switch o.kind {
	case pairRead:
		txn.Then(reads...)
	case pairWrite:
		txn.Then(writes...)
	case pairRemove:
		txn.Then(native.OpDelete(native.Prefix(o.pair)))
	default:
		holds := native.Value(native.Key(string(first)), []byte(o.old)).Is()
		if o.old == "" {
			holds = native.Missing(native.Key(string(first)))
		}
		txn.If(holds).Then(writes...).Else(reads...)
	}
	r, err := txn.Commit(ctx)
	if errors.Is(err, native.ErrResultLost) && o.kind == pairRemove {
		err = nil // it is done, and how many keys that were is of no interest
	}
	if o.outcome, o.text = understandNative(err); err != nil {
		return
	}
	o.revision, o.swapped = r.Revision, r.Succeeded
	if o.kind == pairRead || o.kind == pairSwap && !r.Succeeded {
		for i, x := range r.Results {
			if len(x.Range.Items) == 1 {
				o.seen[i] = string(x.Range.Items[0].Value)
			}
		}
	}
}

// understandNative tells what became of a call that ended so.
func understandNative(err error) (outcome, string) {
	switch {
	case err == nil:
		return answered, ""
	case errors.Is(err, native.ErrUnavailable), errors.Is(err, native.ErrBusy):
		return refused, err.Error()
	}
	return unknown, err.Error()
}
