package kv

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// Apply applies committed entries. It returns a *Result for each EntryNormal and nil for the others. An error means
// that this member's state cannot be trusted to go on.
func (m *Machine) Apply(entries []raft.Entry) ([]any, error) {
	m.mu.Lock()
	for m.unusable() == nil && m.current.active.bytes >= m.options.MaxOverlayBytes {
		m.Flush()
		m.overlayMoved.Wait()
	}
	if err := m.unusable(); err != nil {
		m.mu.Unlock()
		return nil, err
	}
	results, err := m.applyBatch(entries)
	if err != nil {
		// Before the lock is let go: what was applied by half must never be flushed.
		err = m.failLocked(err)
	}
	full := m.current.active.bytes >= m.options.FlushBytes
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if full && m.options.Synchronous {
		return results, m.FlushNow()
	}
	if full {
		m.Flush()
	}
	return results, nil
}

// applyBatch applies the entries and publishes the state after the last of them. The caller holds mu.
func (m *Machine) applyBatch(entries []raft.Entry) ([]any, error) {
	a := applier{machine: m, state: &m.current}
	a.view = view{state: a.state, writer: true}
	results := make([]any, len(entries))
	for i := range entries {
		r, err := a.entry(&entries[i])
		if err != nil {
			_ = a.view.close()
			return nil, fmt.Errorf("apply entry %d: %w", entries[i].Index, err)
		}
		if r != nil {
			results[i] = r
		}
	}
	if err := a.view.close(); err != nil {
		return nil, err
	}
	m.current.sessions = m.sessions.Digest()
	m.publish()
	return results, nil
}

// applier applies the entries of one batch.
type applier struct {
	machine *Machine
	state   *state
	// view reads at the revision of the transaction that is being applied, and so sees its writes.
	view view
	// sub numbers the writes of the transaction.
	sub uint32
	// readBytes is what the reads of the transaction have returned so far.
	readBytes int
}

func (a *applier) entry(e *raft.Entry) (*Result, error) {
	if e.Index != a.state.meta.Index+1 {
		return nil, fmt.Errorf("the state machine is at index %d: entries must follow without a gap", a.state.meta.Index)
	}
	var result *Result
	switch e.Type {
	case raft.EntryNormal:
		var err error
		if result, err = a.proposal(e); err != nil {
			return nil, err
		}
	case raft.EntryEmpty:
	case raft.EntryMembership:
		var members raft.Membership
		if err := members.UnmarshalBinary(e.Data); err != nil {
			return nil, err
		}
		a.state.meta.Membership = members
	case raft.EntryClusterVersion:
		if len(e.Data) != 4 {
			return nil, fmt.Errorf("a cluster version of %d bytes", len(e.Data))
		}
		a.state.meta.ClusterVersion = binary.BigEndian.Uint32(e.Data)
	default:
		return nil, fmt.Errorf("unknown type %s: a newer build wrote this entry", e.Type)
	}
	a.state.meta.Index, a.state.meta.Term = e.Index, e.Term
	return result, nil
}

// proposal applies a command unless it is a repeat.
func (a *applier) proposal(e *raft.Entry) (*Result, error) {
	h, data, err := session.Decode(e.Data)
	if err != nil {
		return a.refuse(ErrMalformed), nil
	}
	sessions := a.machine.sessions
	fresh, kept, err := sessions.Begin(uint64(e.Index), h)
	switch {
	case err != nil:
		return a.refuse(err), nil
	case !fresh:
		return decodeResult(kept)
	}
	result, err := a.command(e, data)
	if err != nil {
		return nil, err
	}
	if h.Session != 0 {
		sessions.Finish(h, result.encode())
	}
	return result, nil
}

func (a *applier) refuse(err error) *Result {
	return &Result{Err: err, Revision: a.state.revision}
}

func (a *applier) command(e *raft.Entry, data []byte) (*Result, error) {
	c, err := DecodeCommand(data)
	if err != nil {
		return a.refuse(ErrMalformed), nil
	}
	switch c.Kind {
	case CommandOpenSession:
		id := a.machine.sessions.Open(uint64(e.Index), c.Incarnation, c.Nonce)
		return &Result{Revision: a.state.revision, Succeeded: true, Session: id}, nil
	case CommandCompact:
		switch {
		case c.Revision > a.state.revision:
			return a.refuse(ErrFutureRevision), nil
		case c.Revision <= a.state.compacted:
			return a.refuse(ErrCompacted), nil
		}
		a.state.compacted = c.Revision
		return &Result{Revision: a.state.revision, Succeeded: true}, nil
	}
	return a.transaction(c.Txn)
}

func (a *applier) transaction(t *Txn) (*Result, error) {
	if err := t.checkWrites(); err != nil {
		return a.refuse(err), nil
	}
	if err := t.checkReads(a.state.revision, a.state.compacted); err != nil {
		return a.refuse(err), nil
	}
	a.view.revision = a.state.revision + 1
	a.sub, a.readBytes = 0, 0
	out, err := a.run(t)
	if err != nil {
		return nil, err
	}
	if a.sub > 0 {
		a.state.revision++
	}
	r := &Result{Revision: a.state.revision, Succeeded: out.Succeeded, Ops: out.Ops}
	r.Deleted = countDeleted(out.Ops)
	if !r.Succeeded && len(r.Ops) == 1 && r.Ops[0].Range != nil && len(r.Ops[0].Range.Items) == 1 {
		r.Current = r.Ops[0].Range.Items[0].ModRevision
	}
	return r, nil
}

func countDeleted(ops []OpResult) uint64 {
	var n uint64
	for i := range ops {
		n += ops[i].Deleted
		if ops[i].Txn != nil {
			n += countDeleted(ops[i].Txn.Ops)
		}
	}
	return n
}

func (a *applier) run(t *Txn) (*TxnResult, error) {
	out := &TxnResult{Succeeded: true}
	for i := range t.Compares {
		ok, err := a.holds(&t.Compares[i])
		if err != nil {
			return nil, err
		}
		if !ok {
			out.Succeeded = false
			break
		}
	}
	ops := t.Success
	if !out.Succeeded {
		ops = t.Failure
	}
	out.Ops = make([]OpResult, len(ops))
	for i := range ops {
		if err := a.op(&ops[i], &out.Ops[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (a *applier) op(op *Op, out *OpResult) error {
	switch op.Kind {
	case OpPut:
		return a.put(op, out)
	case OpDelete:
		return a.remove(op, out)
	case OpRange:
		return a.read(op, out)
	}
	var err error
	out.Txn, err = a.run(op.Txn)
	return err
}

func (a *applier) put(op *Op, out *OpResult) error {
	key := op.Keys.Start
	old, err := a.view.get(key, op.PrevKV)
	if err != nil {
		return err
	}
	v := version{create: a.view.revision, count: 1, lease: op.Lease, value: op.Value}
	if old.exists() {
		v.create, v.count = old.create, old.count+1
		a.keep(op, out, key, old)
	}
	a.write(key, v)
	return nil
}

// keep adds a replaced version to the result if it was asked for.
func (a *applier) keep(op *Op, out *OpResult, key []byte, old version) {
	if !op.PrevKV {
		return
	}
	if a.readBytes += len(key) + len(old.value); a.readBytes > MaxTxnReadBytes {
		out.PrevTruncated = true
		return
	}
	// The value may belong to the view of the store.
	old.value = bytes.Clone(old.value)
	out.Prev = append(out.Prev, old.keyValue(key))
}

func (a *applier) write(key []byte, v version) {
	v.mod, v.sub = a.view.revision, a.sub
	a.sub++
	a.state.active.add(key, v)
}

func (a *applier) remove(op *Op, out *OpResult) error {
	if op.Keys.single() {
		old, err := a.view.get(op.Keys.Start, op.PrevKV)
		if err != nil || !old.exists() {
			return err
		}
		a.keep(op, out, op.Keys.Start, old)
		a.write(op.Keys.Start, version{deleted: true})
		out.Deleted = 1
		return nil
	}
	scan, err := a.view.scan(op.Keys, op.Keys.Start)
	for err == nil && scan.valid() {
		var old KeyValue
		if old, err = scan.load(op.PrevKV); err != nil {
			break
		}
		a.keep(op, out, old.Key, version{mod: old.ModRevision, create: old.CreateRevision, count: old.Version,
			lease: old.Lease, value: old.Value})
		// The tombstone sorts before the version that the scan is at, so the scan does not meet it.
		a.write(old.Key, version{deleted: true})
		out.Deleted++
		err = scan.next()
	}
	return err
}

func (a *applier) read(op *Op, out *OpResult) error {
	v := &a.view
	if op.Range.Revision != 0 {
		v = &view{state: a.state, revision: op.Range.Revision}
		defer func() { _ = v.close() }()
	}
	c := collector{request: op.Range, mostBytes: MaxTxnReadBytes - a.readBytes}
	if err := c.collect(v, op.Keys.Start, 0); err != nil {
		return err
	}
	a.readBytes += c.bytes
	c.result.Revision = a.state.revision
	if a.sub > 0 {
		c.result.Revision++
	}
	out.Range = &c.result
	return nil
}

// holds evaluates one compare.
func (a *applier) holds(c *Compare) (bool, error) {
	withValue := c.Target == TargetValue
	if c.Keys.single() {
		v, err := a.view.get(c.Keys.Start, withValue)
		if err != nil {
			return false, err
		}
		return c.holdsFor(&v), nil
	}
	scan, err := a.view.scan(c.Keys, c.Keys.Start)
	if err != nil {
		return false, err
	}
	if !scan.valid() {
		return c.holdsFor(&version{}), nil
	}
	for scan.valid() {
		kv, err := scan.load(withValue)
		if err != nil {
			return false, err
		}
		v := version{mod: kv.ModRevision, create: kv.CreateRevision, count: kv.Version, lease: kv.Lease, value: kv.Value}
		if !c.holdsFor(&v) {
			return false, nil
		}
		if err := scan.next(); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (c *Compare) holdsFor(v *version) bool {
	if !v.exists() {
		v = &version{}
		if c.Target == TargetValue {
			return false
		}
	}
	var order int
	switch c.Target {
	case TargetVersion:
		order = cmp.Compare(v.count, c.Number)
	case TargetCreate:
		order = cmp.Compare(v.create, c.Number)
	case TargetMod:
		order = cmp.Compare(v.mod, c.Number)
	case TargetValue:
		order = bytes.Compare(v.value, c.Value)
	case TargetLease:
		order = cmp.Compare(v.lease, int64(c.Number))
	}
	switch c.Relation {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	}
	return order > 0
}
