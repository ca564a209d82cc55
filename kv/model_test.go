package kv

import (
	"bytes"
	"errors"
	"slices"
	"sort"

	"github.com/raftkv/raftkv/raft/session"
)

// model is what a Machine should be: a map with the whole history, and no care for time or space.
type model struct {
	revision, compacted uint64
	history             map[string][]version // oldest first
	sessions            map[uint64]*modelSession
	index               uint64
	// clusterVersion below 2 knows no leases and no commands of format 2.
	clusterVersion uint32
	leases         map[LeaseID]Lease
	alarms         map[Alarm]bool
}

type modelSession struct {
	incarnation, nonce, low uint64
	results                 map[uint64]*Result
}

func newModel() *model {
	return &model{revision: 1, history: map[string][]version{}, sessions: map[uint64]*modelSession{},
		leases: map[LeaseID]Lease{}, alarms: map[Alarm]bool{}}
}

// at returns the version of a key that was in force at a revision, nil if there was none.
func (m *model) at(key string, revision uint64) *version {
	var found *version
	for i := range m.history[key] {
		if v := &m.history[key][i]; v.mod <= revision {
			found = v
		}
	}
	if found == nil || found.deleted {
		return nil
	}
	return found
}

func (m *model) keys(r KeyRange, revision uint64) []string {
	var out []string
	for k := range m.history {
		in := k == string(r.Start)
		if len(r.End) > 0 {
			in = k >= string(r.Start) && (string(r.End) == "\x00" || k < string(r.End))
		}
		if in && m.at(k, revision) != nil {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}

func (m *model) keyValues(r KeyRange, revision uint64) []KeyValue {
	var out []KeyValue
	for _, k := range m.keys(r, revision) {
		v := m.at(k, revision)
		out = append(out, KeyValue{Key: []byte(k), Value: v.value, CreateRevision: v.create, ModRevision: v.mod, Version: v.count, Lease: v.lease})
	}
	return out
}

func (m *model) read(r RangeRequest, revision uint64) *RangeResult {
	all := m.keyValues(r.Keys, revision)
	out := &RangeResult{}
	if r.CountOnly || r.WithCount {
		out.Count = uint64(len(all))
	}
	if r.CountOnly {
		return out
	}
	all = slices.DeleteFunc(all, func(kv KeyValue) bool {
		return kv.ModRevision < r.MinModRevision || r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
			kv.CreateRevision < r.MinCreateRevision || r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision
	})
	if r.Sort != SortNone {
		less := map[SortTarget]func(a, b KeyValue) bool{
			SortByKey:     func(a, b KeyValue) bool { return string(a.Key) < string(b.Key) },
			SortByVersion: func(a, b KeyValue) bool { return a.Version < b.Version },
			SortByCreate:  func(a, b KeyValue) bool { return a.CreateRevision < b.CreateRevision },
			SortByMod:     func(a, b KeyValue) bool { return a.ModRevision < b.ModRevision },
			SortByValue:   func(a, b KeyValue) bool { return string(a.Value) < string(b.Value) },
		}[r.Target]
		sort.SliceStable(all, func(i, j int) bool {
			if r.Sort == SortDescending {
				return less(all[j], all[i])
			}
			return less(all[i], all[j])
		})
	}
	if r.Limit > 0 && len(all) > r.Limit {
		all, out.More = all[:r.Limit], true
	}
	for i := range all {
		if r.KeysOnly {
			all[i].Value = nil
		}
	}
	out.Items = all
	return out
}

// propose is one entry.
func (m *model) propose(h session.Header, c Command) *Result {
	m.index++
	refuse := func(err error) *Result { return &Result{Err: err, Revision: m.revision} }
	if h.Session != 0 {
		s, ok := m.sessions[h.Session]
		switch {
		case !ok:
			return refuse(ErrExpired)
		case h.Sequence == 0 || h.Sequence < h.Low:
			return refuse(ErrSequence)
		}
		s.low = max(s.low, h.Low)
		if h.Sequence < s.low {
			return refuse(ErrForgotten)
		}
		if h.Sequence >= s.low+session.MaxWindow {
			return refuse(ErrSequence)
		}
		if first, ok := s.results[h.Sequence]; ok {
			again := *first
			again.Ops, again.Repeated = nil, true
			return &again
		}
	}
	r := m.command(c)
	if h.Session != 0 {
		m.sessions[h.Session].results[h.Sequence] = r
	}
	return r
}

func (m *model) command(c Command) *Result {
	refuse := func(err error) *Result { return &Result{Err: err, Revision: m.revision} }
	done := func() *Result { return &Result{Revision: m.revision, Succeeded: true} }
	if m.clusterVersion < 2 && c.writtenFormat() == 2 {
		return refuse(ErrMalformed)
	}
	switch c.Kind {
	case CommandLeaseGrant:
		l := c.Leases[0]
		switch _, exists := m.leases[l.ID]; {
		case m.full():
			return refuse(ErrNoSpace)
		case l.TTL <= 0 || l.TTL > MaxLeaseTTL:
			return refuse(ErrLeaseTTL)
		case l.ID == 0:
			return refuse(ErrLeaseNotFound)
		case exists:
			return refuse(ErrLeaseExists)
		}
		m.leases[l.ID] = Lease{ID: l.ID, TTL: l.TTL, Renewed: m.index}
		return done()
	case CommandLeaseRevoke:
		if _, ok := m.leases[c.Leases[0].ID]; !ok {
			return refuse(ErrLeaseNotFound)
		}
		deleted := m.revoke(c.Leases[0].ID)
		return &Result{Revision: m.revision, Succeeded: true, Deleted: deleted}
	case CommandLeaseRenew:
		for _, l := range c.Leases {
			if have, ok := m.leases[l.ID]; ok {
				m.leases[l.ID] = Lease{ID: l.ID, TTL: have.TTL, Renewed: m.index}
			}
		}
		return done()
	case CommandLeaseExpire:
		var deleted uint64
		for _, l := range c.Leases {
			if have, ok := m.leases[l.ID]; ok && have.Renewed == l.Renewed {
				deleted += m.revoke(l.ID)
			}
		}
		return &Result{Revision: m.revision, Succeeded: true, Deleted: deleted}
	case CommandAlarm:
		m.alarms[c.Alarm] = !c.Lower
		return done()
	case CommandOpenSession:
		for id, s := range m.sessions {
			if c.Nonce != 0 && s.nonce == c.Nonce && s.incarnation == uint64(c.Incarnation) {
				return &Result{Revision: m.revision, Succeeded: true, Session: id}
			}
		}
		m.sessions[m.index] = &modelSession{incarnation: uint64(c.Incarnation), nonce: c.Nonce, low: 1, results: map[uint64]*Result{}}
		return &Result{Revision: m.revision, Succeeded: true, Session: m.index}
	case CommandCompact:
		if c.Revision > m.revision {
			return refuse(ErrFutureRevision)
		}
		if c.Revision <= m.compacted {
			return refuse(ErrCompacted)
		}
		m.compacted = c.Revision
		return &Result{Revision: m.revision, Succeeded: true}
	}
	if err := c.Txn.checkWrites(); err != nil {
		return refuse(err)
	}
	return m.transact(c.Txn)
}

func (m *model) transact(x *Txn) *Result {
	t := modelTxn{m: m, next: m.revision + 1}
	holds := map[*Txn]bool{}
	t.decide(x, holds)
	if err := t.check(x, holds); err != nil {
		return &Result{Err: err, Revision: m.revision}
	}
	out := t.run(x, holds)
	if t.writes > 0 {
		m.revision++
	}
	r := &Result{Revision: m.revision, Succeeded: out.Succeeded, Ops: out.Ops, Deleted: t.deleted}
	if !r.Succeeded && len(r.Ops) == 1 && r.Ops[0].Range != nil && len(r.Ops[0].Range.Items) == 1 {
		r.Current = r.Ops[0].Range.Items[0].ModRevision
	}
	return r
}

// succeed raises the revisions for a new cluster, which has no alarms, and no sessions either unless it goes on with the same members' state.
func (m *model) succeed(o RestoreOptions, inPlace bool) {
	m.revision += o.BumpRevision
	if o.MarkCompacted {
		m.compacted = m.revision
	}
	clear(m.alarms)
	if !inPlace {
		clear(m.sessions)
	}
}

func (m *model) full() bool {
	for a, up := range m.alarms {
		if up && a.Type == AlarmNoSpace {
			return true
		}
	}
	return false
}

// leased returns the keys that exist and hang on a lease.
func (m *model) leased(id LeaseID) []string {
	var out []string
	for _, kv := range m.keyValues(All(), m.revision) {
		if kv.Lease == id {
			out = append(out, string(kv.Key))
		}
	}
	return out
}

func (m *model) revoke(id LeaseID) uint64 {
	t := modelTxn{m: m, next: m.revision + 1}
	for _, key := range m.leased(id) {
		t.write(key, version{deleted: true})
	}
	if t.writes > 0 {
		m.revision++
	}
	delete(m.leases, id)
	return uint64(t.writes)
}

// decide takes the compares of all that would run, before anything does.
func (t *modelTxn) decide(x *Txn, holds map[*Txn]bool) {
	holds[x] = true
	for _, c := range x.Compares {
		holds[x] = holds[x] && t.holds(c)
	}
	for _, op := range x.taken(holds) {
		if op.Kind == OpTxn {
			t.decide(op.Txn, holds)
		}
	}
}

func (t *Txn) taken(holds map[*Txn]bool) []Op {
	if holds[t] {
		return t.Success
	}
	return t.Failure
}

func (t *modelTxn) check(x *Txn, holds map[*Txn]bool) error {
	for _, op := range x.taken(holds) {
		_, leased := t.m.leases[op.Lease]
		var err error
		switch {
		case op.Kind == OpTxn:
			err = t.check(op.Txn, holds)
		case op.Kind == OpPut && t.m.full():
			err = ErrNoSpace
		case op.Kind == OpPut && (op.IgnoreValue || op.IgnoreLease) && t.m.at(string(op.Keys.Start), t.m.revision) == nil:
			err = ErrKeyNotFound
		case op.Kind == OpPut && op.Lease != 0 && !leased && t.m.clusterVersion >= 2:
			err = ErrLeaseNotFound
		case op.Kind == OpRange && op.Range.Revision > t.m.revision:
			err = ErrFutureRevision
		case op.Kind == OpRange && op.Range.Revision != 0 && op.Range.Revision < t.m.compacted:
			err = ErrCompacted
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type modelTxn struct {
	m       *model
	next    uint64
	writes  uint32
	deleted uint64
}

func (t *modelTxn) write(key string, v version) {
	h := t.m.history[key]
	if len(h) > 0 && h[len(h)-1].mod == t.next {
		panic("checkWrites let a transaction pass that writes a key twice")
	}
	v.mod = t.next
	t.m.history[key] = append(h, v)
	t.writes++
}

func (t *modelTxn) run(x *Txn, holds map[*Txn]bool) *TxnResult {
	out := &TxnResult{Succeeded: holds[x]}
	for _, op := range x.taken(holds) {
		out.Ops = append(out.Ops, t.op(op, holds))
	}
	return out
}

func (t *modelTxn) op(op Op, holds map[*Txn]bool) OpResult {
	var out OpResult
	switch op.Kind {
	case OpPut:
		old := t.m.keyValues(One(op.Keys.Start), t.next)
		v := version{create: t.next, count: 1, lease: op.Lease, value: op.Value}
		if len(old) > 0 {
			v.create, v.count = old[0].CreateRevision, old[0].Version+1
			if op.IgnoreValue {
				v.value = old[0].Value
			}
			if op.IgnoreLease {
				v.lease = old[0].Lease
			}
		}
		if op.PrevKV {
			out.Prev = old
		}
		t.write(string(op.Keys.Start), v)
	case OpDelete:
		old := t.m.keyValues(op.Keys, t.next)
		for _, kv := range old {
			t.write(string(kv.Key), version{deleted: true})
		}
		if op.PrevKV {
			out.Prev = old
		}
		out.Deleted = uint64(len(old))
		t.deleted += out.Deleted
	case OpRange:
		at := op.Range.Revision
		if at == 0 {
			at = t.next
		}
		r := op.Range
		r.Keys = op.Keys
		out.Range = t.m.read(r, at)
		out.Range.Revision = t.next - 1
		if t.writes > 0 {
			out.Range.Revision = t.next
		}
	case OpTxn:
		out.Txn = t.run(op.Txn, holds)
	}
	return out
}

func (t *modelTxn) holds(c Compare) bool {
	all := t.m.keyValues(c.Keys, t.next)
	if len(all) == 0 {
		if c.Target == TargetValue {
			return false
		}
		all = []KeyValue{{}}
	}
	for _, kv := range all {
		var less, equal bool
		number := func(v uint64) { less, equal = v < c.Number, v == c.Number }
		switch c.Target {
		case TargetVersion:
			number(kv.Version)
		case TargetCreate:
			number(kv.CreateRevision)
		case TargetMod:
			number(kv.ModRevision)
		case TargetLease:
			less, equal = kv.Lease < int64(c.Number), kv.Lease == int64(c.Number)
		case TargetValue:
			less, equal = string(kv.Value) < string(c.Value), bytes.Equal(kv.Value, c.Value)
		}
		ok := map[Relation]bool{Equal: equal, NotEqual: !equal, Less: less, Greater: !less && !equal}[c.Relation]
		if !ok {
			return false
		}
	}
	return true
}

// sameResult tells whether the machine's result is the model's.
func sameResult(got, want *Result) bool {
	return errors.Is(got.Err, want.Err) && (got.Err == nil) == (want.Err == nil) && got.Revision == want.Revision &&
		got.Succeeded == want.Succeeded && got.Deleted == want.Deleted && got.Current == want.Current &&
		got.Session == want.Session && got.Repeated == want.Repeated && sameOps(got.Ops, want.Ops)
}

func sameOps(got, want []OpResult) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		g, w := &got[i], &want[i]
		if g.Deleted != w.Deleted || !sameKVs(g.Prev, w.Prev) || (g.Range == nil) != (w.Range == nil) || (g.Txn == nil) != (w.Txn == nil) {
			return false
		}
		if g.Range != nil && !sameRange(g.Range, w.Range) {
			return false
		}
		if g.Txn != nil && (g.Txn.Succeeded != w.Txn.Succeeded || !sameOps(g.Txn.Ops, w.Txn.Ops)) {
			return false
		}
	}
	return true
}

func sameRange(got, want *RangeResult) bool {
	return got.More == want.More && got.Count == want.Count && got.Revision == want.Revision && sameKVs(got.Items, want.Items)
}

func sameKVs(got, want []KeyValue) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if !equalKV(got[i], want[i]) {
			return false
		}
	}
	return true
}
