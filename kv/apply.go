package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

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
	compacted := m.current.compacted
	results, changes, err := m.applyBatch(entries)
	if err != nil {
		// Before the lock is let go: what was applied by half must never be flushed.
		err = m.failLocked(err)
	}
	full := m.current.active.bytes >= m.options.FlushBytes
	compacts := m.current.compacted != compacted
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if changes != nil {
		m.options.Observer.Applied(*changes)
	}
	if full && m.options.Synchronous {
		return results, m.FlushNow()
	}
	if full {
		m.Flush()
	} else if compacts {
		m.poke()
	}
	return results, nil
}

// applyBatch applies the entries and publishes the state after the last of them. Without an observer, or when nothing changed
// that it is told of, changes is nil. The caller holds mu.
func (m *Machine) applyBatch(entries []raft.Entry) (_ []any, changes *Changes, _ error) {
	a := applier{machine: m, state: &m.current, observed: m.options.Observer != nil}
	compacted := m.current.compacted
	a.view = &view{state: a.state, writer: true}
	results := make([]any, len(entries))
	for i := range entries {
		r, err := a.entry(&entries[i])
		if err != nil {
			_ = a.view.close()
			return nil, nil, fmt.Errorf("apply entry %d: %w", entries[i].Index, err)
		}
		if r != nil {
			results[i] = r
		}
	}
	if err := a.view.close(); err != nil {
		return nil, nil, err
	}
	m.current.sessions, m.current.leases = m.sessions.Digest(), m.leases.digest
	if m.current.active.unsettled() >= settleMost {
		m.current.active.settle()
	}
	m.publish()
	if a.observed && (len(a.events) > 0 || len(a.changes) > 0 || m.current.compacted != compacted) {
		changes = &Changes{Revision: m.current.revision, Compacted: m.current.compacted, Events: a.events, Leases: a.changes}
	}
	return results, changes, nil
}

// applier applies the entries of one batch.
type applier struct {
	machine *Machine
	state   *state
	// view reads at the revision of the transaction that is being applied, and so sees its writes.
	view *view
	// sub numbers the writes of the transaction.
	sub uint32
	// readBytes is what the reads of the transaction have returned so far, readItems in how many items; keptBytes is what those of the batch take in memory.
	readBytes, readItems, keptBytes int
	// index is that of the entry.
	index uint64

	// observed says that somebody wants to know of events and changes.
	observed bool
	events   []Event
	changes  []LeaseChange
}

func (a *applier) entry(e *raft.Entry) (*Result, error) {
	if e.Index != a.state.meta.Index+1 {
		return nil, fmt.Errorf("the state machine is at index %d: entries must follow without a gap", a.state.meta.Index)
	}
	a.index = uint64(e.Index)
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
		if len(a.state.alarms) > 0 {
			a.state.alarms = alarmsOf(a.state.alarms, members)
		}
	case raft.EntryClusterVersion:
		if len(e.Data) != 4 {
			return nil, fmt.Errorf("a cluster version of %d bytes", len(e.Data))
		}
		a.clusterVersion(binary.BigEndian.Uint32(e.Data))
	default:
		return nil, fmt.Errorf("unknown type %s: a newer build wrote this entry", e.Type)
	}
	a.state.meta.Index, a.state.meta.Term = e.Index, e.Term
	if e.Index%hashPointEvery == 0 && a.compares() {
		a.machine.points.add(a.state.runningHash(a.machine.sessions.Digest(), a.machine.leases.digest))
	}
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
	if err != nil || c.format > firstCommandFormat && !a.hasLeases() {
		// Before the cluster version allows it, a member of an older build refuses it too.
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
		a.note(uint64(c.Kind), c.Revision)
		return a.done(), nil
	case CommandAlarm:
		a.state.alarms = withAlarm(a.state.alarms, c.Alarm, !c.Lower)
		return a.done(), nil
	case CommandLeaseGrant, CommandLeaseRevoke, CommandLeaseRenew, CommandLeaseExpire:
		return a.leaseCommand(&c)
	}
	return a.transaction(c.Txn)
}

func (a *applier) done() *Result { return &Result{Revision: a.state.revision, Succeeded: true} }

// hasLeases tells whether the cluster version allows leases and all that came with them.
func (a *applier) hasLeases() bool { return a.state.meta.ClusterVersion >= leaseVersion }

// compares tells whether the cluster version allows members to be compared by their running checksums.
func (a *applier) compares() bool { return a.state.meta.ClusterVersion >= CompareVersion }

// clusterVersion takes over what was committed. The running checksum begins anew where more goes into it: whatever builds members ran
// before, they agree from there on.
func (a *applier) clusterVersion(v uint32) {
	before := a.compares()
	a.state.meta.ClusterVersion = v
	if a.compares() != before {
		a.state.running = 0
	}
}

// note adds to the running checksum.
func (a *applier) note(what ...uint64) {
	if !a.hasLeases() {
		return
	}
	for _, v := range what {
		a.state.running = mix(a.state.running, v)
	}
}

func (a *applier) transaction(t *Txn) (*Result, error) {
	if err := t.checkWrites(); err != nil {
		return a.refuse(err), nil
	}
	a.begin()
	p, err := a.path(t)
	if err != nil {
		return nil, err
	}
	refusal, err := a.check(t, &p)
	if err != nil {
		return nil, err
	}
	if refusal != nil {
		return a.refuse(refusal), nil
	}
	out, err := a.run(t, &p)
	if err != nil {
		return nil, err
	}
	a.end()
	r := &Result{Revision: a.state.revision, Succeeded: out.Succeeded, Ops: out.Ops}
	r.Deleted = countDeleted(out.Ops)
	if !r.Succeeded && len(r.Ops) == 1 && r.Ops[0].Range != nil && len(r.Ops[0].Range.Items) == 1 {
		r.Current = r.Ops[0].Range.Items[0].ModRevision
	}
	a.bound(r)
	return r, nil
}

// itemBytes is what an item of a result takes beside its key and value, roughly.
const itemBytes = 96

// bound leaves out what the operations of a transaction returned if the results of the batch would take too much. Which those are differs from member to member, as
// batches do, so nothing that is replicated may depend on it. All members apply a batch, and again when they start: where it takes all memory of one, it
// does so on all, for good.
func (a *applier) bound(r *Result) {
	takes := a.readBytes + a.readItems*itemBytes
	if a.keptBytes+takes > a.machine.options.MaxBatchReadBytes {
		r.Ops, r.Repeated = nil, true
		return
	}
	a.keptBytes += takes
}

// begin starts a transaction: what it writes has the next revision.
func (a *applier) begin() {
	a.view.revision = a.state.revision + 1
	a.sub, a.readBytes, a.readItems = 0, 0, 0
}

// end takes the revision if anything was written.
func (a *applier) end() {
	if a.sub > 0 {
		a.state.revision++
	}
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

// run carries out the branch that the path names.
func (a *applier) run(t *Txn, p *path) (*TxnResult, error) {
	out := &TxnResult{Succeeded: p.succeeded}
	ops := t.branch(p)
	out.Ops = make([]OpResult, len(ops))
	nested := p.nested
	for i := range ops {
		var err error
		switch op, result := &ops[i], &out.Ops[i]; op.Kind {
		case OpPut:
			err = a.put(op, result)
		case OpDelete:
			err = a.remove(op, result)
		case OpRange:
			err = a.read(op, result)
		case OpTxn:
			result.Txn, err = a.run(op.Txn, &nested[0])
			nested = nested[1:]
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (a *applier) put(op *Op, out *OpResult) error {
	key := op.Keys.Start
	old, err := a.view.get(key, op.PrevKV || op.IgnoreValue)
	if err != nil {
		return err
	}
	v := version{create: a.view.revision, count: 1, lease: op.Lease, value: op.Value}
	if old.exists() {
		v.create, v.count = old.create, old.count+1
		a.keep(op, out, key, &old)
		if op.IgnoreLease {
			v.lease = old.lease
		}
		if op.IgnoreValue {
			// It may belong to the view of the store.
			v.value = bytes.Clone(old.value)
		}
	}
	a.write(key, v, &old)
	return nil
}

// keep adds a replaced version to the result if it was asked for.
func (a *applier) keep(op *Op, out *OpResult, key []byte, old *version) {
	if !op.PrevKV {
		return
	}
	if a.readBytes += len(key) + len(old.value); a.readBytes > MaxTxnReadBytes {
		out.PrevTruncated = true
		return
	}
	kept := old.keyValue(key)
	// The value may belong to the view of the store.
	kept.Value = bytes.Clone(old.value)
	out.Prev = append(out.Prev, kept)
	a.readItems++
}

// write adds a version of a key that takes the place of old.
func (a *applier) write(key []byte, v version, old *version) {
	v.mod, v.sub = a.view.revision, a.sub
	a.sub++
	a.state.active.add(key, v)
	if a.hasLeases() {
		a.noteWrite(key, &v, old)
		if old.lease != 0 || v.lease != 0 {
			a.machine.leases.attach(string(key), old.lease, v.lease)
		}
	}
	if !a.observed {
		return
	}
	a.events = append(a.events, v.event(key))
}

// noteWrite adds a version that takes the place of old to the running checksum.
func (a *applier) noteWrite(key []byte, v, old *version) {
	a.note(v.mod<<1|uint64(boolByte(v.deleted)), uint64(crc32.Checksum(key, castagnoli))<<32|uint64(crc32.Checksum(v.value, castagnoli)), uint64(v.lease))
	if !a.compares() {
		return
	}
	a.note(v.create, v.count)
	// What was read of the store goes in too, so that one that has gone wrong shows when the key is next written. Tombstones do not: when
	// compaction removes them is each member's own affair.
	if old.exists() {
		a.note(old.mod, old.count)
	}
}

func (a *applier) remove(op *Op, out *OpResult) error {
	if op.Keys.single() {
		old, err := a.view.get(op.Keys.Start, op.PrevKV)
		if err != nil || !old.exists() {
			return err
		}
		a.keep(op, out, op.Keys.Start, &old)
		a.write(op.Keys.Start, version{deleted: true}, &old)
		out.Deleted = 1
		return nil
	}
	scan, err := a.view.scan(op.Keys, op.Keys.Start)
	for err == nil && scan.valid() {
		var kv KeyValue
		if kv, err = scan.load(op.PrevKV); err != nil {
			break
		}
		old := version{mod: kv.ModRevision, create: kv.CreateRevision, count: kv.Version, lease: kv.Lease, value: kv.Value}
		a.keep(op, out, kv.Key, &old)
		// The tombstone sorts before the version that the scan is at, so the scan does not meet it.
		a.write(kv.Key, version{deleted: true}, &old)
		out.Deleted++
		err = scan.next()
	}
	return err
}

func (a *applier) read(op *Op, out *OpResult) error {
	v := a.view
	if op.Range.Revision != 0 {
		var err error
		if v, err = v.at(op.Range.Revision); err != nil {
			return err
		}
	}
	c := newCollector(op.Range, MaxTxnReadBytes-a.readBytes)
	if err := c.collect(v, op.Keys.Start, 0); err != nil {
		return err
	}
	if err := c.finish(v); err != nil {
		return err
	}
	if c.overflow {
		// The first of those that were looked at are not the first of all.
		c.result.Items, c.result.More = nil, true
	}
	a.readBytes += c.bytes
	a.readItems += len(c.result.Items)
	c.result.Revision = a.state.revision
	if a.sub > 0 {
		c.result.Revision++
	}
	out.Range = &c.result
	return nil
}
