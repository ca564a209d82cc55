package kv

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/kv/store"
)

// leaseTable is the part of the replicated state that knows the leases and which keys hang on them. It has no clock.
type leaseTable struct {
	leases map[LeaseID]*leaseState
	// changed holds what differs from the store, as it is to be there.
	changed map[leasePlace]leaseRecord
	// digest is the sum of the digests of all that the table holds.
	digest uint64
	keys   int
}

type leaseState struct {
	Lease
	keys map[string]struct{}
}

// leasePlace names a record: a lease if the key is empty, which no key is, or the attachment of a key.
type leasePlace struct {
	id  LeaseID
	key string
}

func newLeaseTable() *leaseTable {
	return &leaseTable{leases: map[LeaseID]*leaseState{}, changed: map[leasePlace]leaseRecord{}}
}

func (t *leaseTable) grant(l Lease) {
	t.leases[l.ID] = &leaseState{Lease: l}
	t.digest += digestLease(l)
	t.changed[leasePlace{id: l.ID}] = leaseRecord{lease: l}
}

// renew notes the entry that renewed a lease.
func (t *leaseTable) renew(s *leaseState, index uint64) {
	t.digest -= digestLease(s.Lease)
	s.Renewed = index
	t.digest += digestLease(s.Lease)
	t.changed[leasePlace{id: s.ID}] = leaseRecord{lease: s.Lease}
}

// attach moves a key from one lease to another; zero is none, and so is a lease that is not there.
func (t *leaseTable) attach(key string, from, to LeaseID) {
	if s := t.leases[from]; s != nil && from != to {
		if _, ok := s.keys[key]; ok {
			delete(s.keys, key)
			t.note(from, key, -1)
		}
	}
	s := t.leases[to]
	if s == nil {
		return
	}
	if _, ok := s.keys[key]; ok {
		return
	}
	if s.keys == nil {
		s.keys = map[string]struct{}{}
	}
	s.keys[key] = struct{}{}
	t.note(to, key, 1)
}

// note keeps count of an attachment that came or went.
func (t *leaseTable) note(id LeaseID, key string, n int) {
	t.keys += n
	t.digest += uint64(n) * digestAttachment(id, key)
	t.changed[leasePlace{id, key}] = leaseRecord{gone: n < 0}
}

// revoke removes a lease that has no keys any more.
func (t *leaseTable) revoke(s *leaseState) {
	t.digest -= digestLease(s.Lease)
	delete(t.leases, s.ID)
	t.changed[leasePlace{id: s.ID}] = leaseRecord{gone: true}
}

// sortedKeys returns the keys of a lease in their order.
func (s *leaseState) sortedKeys() []string {
	out := make([]string, 0, len(s.keys))
	for k := range s.keys {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// all returns the leases in no order.
func (t *leaseTable) all() []Lease {
	out := make([]Lease, 0, len(t.leases))
	for _, s := range t.leases {
		out = append(out, s.Lease)
	}
	return out
}

// leaseRecord is what is to be at a place of the store.
type leaseRecord struct {
	lease Lease // unless the record is an attachment
	gone  bool
}

// changes returns what has changed since the last call, and forgets that it has. Apply waits for it, so it takes no longer for a
// million leases than for one.
func (t *leaseTable) changes() map[leasePlace]leaseRecord {
	out := t.changed
	t.changed = map[leasePlace]leaseRecord{}
	return out
}

// putLeases adds the changes to a batch, in the order of the records.
func putLeases(b *store.Batch, changes map[leasePlace]leaseRecord) {
	places := slices.SortedFunc(maps.Keys(changes), func(x, y leasePlace) int {
		return cmp.Or(cmp.Compare(uint64(x.id), uint64(y.id)), strings.Compare(x.key, y.key))
	})
	for _, p := range places {
		r := changes[p]
		key := append(binary.BigEndian.AppendUint64(nil, uint64(p.id)), p.key...)
		switch {
		case r.gone:
			b.Delete(bucketLeases, key)
		case p.key == "":
			v := binary.AppendUvarint([]byte{leaseFormat}, uint64(r.lease.TTL))
			b.Put(bucketLeases, key, seal(key, binary.AppendUvarint(v, r.lease.Renewed)))
		default:
			b.Put(bucketLeases, key, seal(key, []byte{leaseFormat}))
		}
	}
}

// leaseFormat is the first byte of every record of a lease: the time to live and the index that renewed it follow as uvarints;
// nothing follows in that of an attachment. The key of a record is the lease's ID, big-endian, and the key that is attached.
const leaseFormat = 1

const leaseIDBytes = 8

// loadLeases reads what the changes have left in the store.
func loadLeases(v store.View) (*leaseTable, error) {
	t := newLeaseTable()
	it := v.Iterate(bucketLeases)
	for k, data := it.First(); k != nil; k, data = it.Next() {
		body, ok := unseal(k, data)
		if !ok || len(k) < leaseIDBytes || len(body) == 0 || body[0] != leaseFormat {
			return nil, &CorruptError{What: "lease record", Key: slices.Clone(k), Reason: "the checksum or the format does not match"}
		}
		id := LeaseID(binary.BigEndian.Uint64(k))
		if key := k[leaseIDBytes:]; len(key) > 0 {
			if t.leases[id] == nil {
				return nil, &CorruptError{What: "lease record", Key: slices.Clone(key), Reason: "the key is attached to a lease that is missing"}
			}
			t.attach(string(key), 0, id)
			continue
		}
		d := decoder{data: body[1:]}
		l := Lease{ID: id, TTL: int64(d.uvarint()), Renewed: d.uvarint()}
		if d.failed || len(d.data) != 0 {
			return nil, &CorruptError{What: "lease record", Key: slices.Clone(k), Reason: "the record cannot be decoded"}
		}
		t.grant(l)
	}
	clear(t.changed)
	return t, nil
}

func digestLease(l Lease) uint64 { return mix(mix(mix(0, uint64(l.ID)), uint64(l.TTL)), l.Renewed) }

func digestAttachment(id LeaseID, key string) uint64 {
	return mix(mix(1, uint64(id)), hashBytes([]byte(key)))
}

// mix is one step of a multiply-and-shift hash. It guards against mistakes, not against malice.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// LeaseIDs returns the IDs of the leases in their order, as they are after the last Apply. Writes wait while they are gathered, and to look at each of a million
// leases for it would take several times as long.
func (m *Machine) LeaseIDs() []LeaseID {
	m.mu.Lock()
	out := make([]LeaseID, 0, len(m.leases.leases))
	for id := range m.leases.leases {
		out = append(out, id)
	}
	m.mu.Unlock()
	slices.Sort(out)
	return out
}

// Lease looks a lease up.
func (m *Machine) Lease(id LeaseID) (Lease, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.leases.leases[id]
	if !ok {
		return Lease{}, false
	}
	return s.Lease, true
}

// LeaseKeys returns the keys that are attached to a lease, in their order.
func (m *Machine) LeaseKeys(id LeaseID) []string {
	m.mu.Lock()
	var keys []string
	if s, ok := m.leases.leases[id]; ok {
		keys = make([]string, 0, len(s.keys))
		for k := range s.keys {
			keys = append(keys, k)
		}
	}
	m.mu.Unlock()
	slices.Sort(keys)
	return keys
}
