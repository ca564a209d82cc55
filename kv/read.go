package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/kv/store"
)

// keysPerView bounds the life of a view of the store: a longer range goes on in a new one.
const keysPerView = 8192

// GetResult is the answer to Get.
type GetResult struct {
	KeyValue
	// Found tells whether the key exists at the revision; KeyValue is zero if not.
	Found bool
	// Revision is the latest revision of the store when the key was read, whatever revision was read at.
	Revision uint64
}

// Get reads one key at a revision; zero means the latest. Errors: ErrFutureRevision, ErrCompacted, *CorruptError.
func (m *Machine) Get(ctx context.Context, key []byte, revision uint64) (GetResult, error) {
	var out GetResult
	err := m.read(ctx, revision, func(v *view) error {
		found, err := v.get(key, true)
		if err != nil {
			return err
		}
		out = GetResult{Revision: v.state.revision}
		if found.exists() {
			if v.stored != nil {
				found.value = bytes.Clone(found.value)
			}
			out.Found, out.KeyValue = true, found.keyValue(key)
		}
		return nil
	})
	return out, err
}

// Range reads the keys of a range in their order. Errors: ErrFutureRevision, ErrCompacted, *CorruptError, a
// *TooLargeError for a range that is to be sorted and too large for it, or the context's.
func (m *Machine) Range(ctx context.Context, r RangeRequest) (RangeResult, error) {
	most := m.options.MaxResultBytes
	if r.MaxBytes > 0 {
		most = r.MaxBytes
	}
	c := newCollector(r, most)
	from, at := r.Keys.Start, r.Revision
	for first := true; ; first = false {
		before := c
		err := m.read(ctx, at, func(v *view) error {
			c = before
			if first {
				// All views of this range read at the revision of the first.
				at, c.result.Revision = v.revision, v.state.revision
			}
			if err := c.collect(v, from, keysPerView); err != nil || c.resume != nil {
				return err
			}
			return c.finish(v)
		})
		if err != nil {
			return RangeResult{}, err
		}
		if c.resume == nil && c.overflow {
			return RangeResult{}, &TooLargeError{What: "the range to sort", Unit: "bytes or more", Size: c.bytes, Most: most}
		}
		if c.resume == nil {
			return c.result, nil
		}
		from = c.resume
	}
}

// Read runs a transaction that writes nothing, as of the latest revision. Errors: ErrMalformed if it would write, those of its ranges,
// *CorruptError, or the context's.
func (m *Machine) Read(ctx context.Context, t *Txn) (*Result, error) {
	if t.Writes() {
		return nil, fmt.Errorf("%w: a transaction that writes has to be proposed", ErrMalformed)
	}
	var out *Result
	err := m.read(ctx, 0, func(v *view) error {
		a := applier{machine: m, state: v.state, view: v}
		p, err := a.path(t)
		if err != nil {
			return err
		}
		refusal, err := a.check(t, &p)
		if err := errors.Join(refusal, err); err != nil {
			return err
		}
		result, err := a.run(t, &p)
		if err == nil {
			out = &Result{Revision: v.state.revision, Succeeded: result.Succeeded, Ops: result.Ops}
		}
		return err
	})
	return out, err
}

// Writes tells whether the transaction has an operation that writes, on either branch.
func (t *Txn) Writes() bool {
	return t.any(func(op *Op) bool { return op.Kind == OpPut || op.Kind == OpDelete })
}

// ReadsRanges tells whether the transaction reads ranges of more than one key, on either branch: up to MaxTxnReadBytes then.
func (t *Txn) ReadsRanges() bool {
	return t.any(func(op *Op) bool { return op.Kind == OpRange && len(op.Range.Keys.End) > 0 && !op.Range.CountOnly })
}

// read calls f with a view at the revision. It begins again when the store is replaced or compacted under it; f must
// then forget what it did. Damage that f comes across fails the machine.
func (m *Machine) read(ctx context.Context, revision uint64, f func(v *view) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.Failure(); err != nil {
			return err
		}
		s := m.published.Load()
		if err := checkRevision(revision, s.revision, s.compacted); err != nil {
			return err
		}
		v := view{state: s, revision: revision, published: &m.published}
		if revision == 0 {
			v.revision = s.revision
		}
		err := errors.Join(f(&v), v.close())
		switch {
		case errors.Is(err, store.ErrClosed) && m.published.Load().store != s.store:
			continue // Install replaced the store.
		case errors.Is(err, store.ErrClosed):
			return ErrClosed
		case v.gone > v.revision && revision != 0:
			// The view of the store is younger than s: history that f needed may have been missing from it.
			return ErrCompacted
		case v.gone > v.revision || v.gone > v.earliest && v.earliest != 0:
			continue // f looks at the compacted revision anew
		case err != nil:
			stale, err := m.noteDamage(s.origin, err)
			if stale {
				continue
			}
			return err
		}
		// Damage may have been found elsewhere meanwhile.
		return m.Failure()
	}
}
