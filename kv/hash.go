package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
)

// HashResult is a checksum of the logical state at an applied index. Members that applied the same entries have the
// same one, whatever each has flushed or removed.
type HashResult struct {
	Hash     uint64
	Revision uint64
	Applied  raft.Index
}

// Hash reads everything. It is meant for comparing members now and then, not for every request.
func (m *Machine) Hash(ctx context.Context) (HashResult, error) {
	var out HashResult
	err := m.whole(func(v *view) error {
		sum, err := hashView(ctx, v)
		out = HashResult{Hash: sum, Revision: v.state.revision, Applied: v.state.meta.Index}
		return err
	})
	if err != nil {
		return HashResult{}, err
	}
	return out, nil
}

// whole calls f with a view at the compacted revision, in which all later versions are too. f must not refuse with store.ErrClosed.
func (m *Machine) whole(f func(v *view) error) error {
	for {
		if err := m.Failure(); err != nil {
			return err
		}
		s := m.published.Load()
		v := &view{state: s, revision: s.compacted, published: &m.published}
		err := v.open()
		if err == nil && v.gone == s.compacted {
			stale, err := m.noteDamage(s.origin, errors.Join(f(v), v.close()))
			if stale {
				continue
			}
			return err
		}
		err = errors.Join(err, v.close())
		switch {
		case err == nil, errors.Is(err, store.ErrClosed) && m.published.Load().store != s.store:
			// History that was given up since may or may not be in the view, or another store is in force: begin again.
		case errors.Is(err, store.ErrClosed):
			return ErrClosed
		default:
			return err
		}
	}
}

// hashView sums a hash of every version that is kept, in whatever order, and of all the rest of the state.
func hashView(ctx context.Context, v *view) (uint64, error) {
	logical, err := v.state.encode()
	if err != nil {
		return 0, err
	}
	sum, err := hashKept(ctx, v, v.state.revision)
	return sum + hashBytes(logical) + v.state.sessions + v.state.leases, err
}

// hashKept sums a hash of every version up to a revision that compaction has not given up. The view is at the compacted revision.
func hashKept(ctx context.Context, v *view, last uint64) (uint64, error) {
	s := v.state
	stored, err := rereadHeader(v.stored)
	if err != nil {
		return 0, err
	}
	var sum uint64
	add := func(key []byte, at *version) error {
		if at.mod <= s.compacted {
			kept, err := v.get(key, false)
			if err != nil {
				return err
			}
			if kept.mod != at.mod || kept.deleted && at.mod < s.compacted {
				return nil
			}
		}
		where := appendRecordKey(nil, at.mod, at.sub)
		sum += hashBytes(where, appendRecord(nil, where, key, at))
		return nil
	}
	it := v.stored.Iterate(bucketRecords)
	n := 0
	for k, data := it.First(); k != nil; k, data = it.Next() {
		key, at, err := decodeRecord(k, data)
		if err != nil {
			return 0, err
		}
		if at.mod > last {
			break
		}
		if err := add(key, &at); err != nil {
			return 0, err
		}
		if n++; n%keysPerView == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	// What the store's view has too is counted there.
	for _, o := range v.overlays() {
		for n := o.head.next[0].Load(); n != nil; n = n.next[0].Load() {
			if n.mod <= stored.logical.revision || n.mod > last {
				continue
			}
			if err := add(n.key, &n.version); err != nil {
				return 0, err
			}
		}
	}
	return sum, nil
}

// HashKV is a checksum of the keys and their history up to a revision; zero means the latest. Members whose answers name the same
// Revision and CompactRevision have the same one. It reads everything. Errors: ErrFutureRevision, ErrCompacted, *CorruptError, or the
// context's.
func (m *Machine) HashKV(ctx context.Context, revision uint64) (HashKVResult, error) {
	var out HashKVResult
	err := m.whole(func(v *view) error {
		s, last := v.state, revision
		if err := checkRevision(revision, s.revision, s.compacted); err != nil {
			return err
		}
		if last == 0 {
			last = s.revision
		}
		sum, err := hashKept(ctx, v, last)
		if sum == 0 {
			sum = hashBytes() // of nothing: zero would look as if there were no answer
		}
		out = HashKVResult{Hash: uint32(sum ^ sum>>32), Revision: last, CompactRevision: s.compacted, Latest: s.revision}
		return err
	})
	if err != nil {
		return HashKVResult{}, err
	}
	return out, nil
}

func hashBytes(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		_, _ = h.Write(p)
	}
	return h.Sum64()
}

// HashKVResult is a checksum of the keys and their history up to Revision, without what CompactRevision gave up.
type HashKVResult struct {
	Hash uint32
	// Revision is the one that was hashed up to, Latest that of the store.
	Revision, CompactRevision, Latest uint64
}

// ApplyVersion numbers what Apply makes of entries, as far as the cluster version does not say it. A build that makes something else of
// the same entries, be it right where this one was wrong, has a higher one, and is not compared with this one.
const ApplyVersion = 2

// RunningHash is a checksum of the state at an index: of all that was applied so far, as it is applied, and of the tables of sessions and
// leases. It costs no reading. Members of one ApplyVersion at the same index and cluster version, which is CompareVersion or above, must
// agree. A member that was made of another's snapshot has that one's.
type RunningHash struct {
	Applied        raft.Index
	Revision       uint64
	ClusterVersion uint32
	Hash           uint64
}

// Members rarely ask each other while they are at the same index, so each keeps the running checksum of some: those of every
// hashPointEvery-th entry, the latest MaxHashPoints of them.
const (
	hashPointEvery = 1024
	MaxHashPoints  = 64
)

// hashPoints are the running checksums of this member at indexes at which all members keep them, the oldest first. They are not
// kept on disk.
type hashPoints struct{ list []RunningHash }

func (p *hashPoints) add(h RunningHash) {
	if len(p.list) == MaxHashPoints {
		p.list = append(p.list[:0], p.list[1:]...)
	}
	p.list = append(p.list, h)
}

// HashPoints returns the running checksums at some of the latest indexes that are a multiple of a number that all members share, and at the
// last applied one, the oldest first: two members that both name an index and a cluster version must agree on the checksum. It is empty
// below CompareVersion.
func (m *Machine) HashPoints() []RunningHash {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := append(make([]RunningHash, 0, len(m.points.list)+1), m.points.list...)
	// As it was published: m.current may be ahead of the two tables' digests.
	now := m.published.Load()
	if now.meta.ClusterVersion < CompareVersion || len(out) > 0 && out[len(out)-1].Applied >= now.meta.Index {
		return out
	}
	return append(out, now.runningHash(now.sessions, now.leases))
}

func (s *state) runningHash(sessions, leases uint64) RunningHash {
	h := s.running
	for _, v := range []uint64{s.revision, s.compacted, sessions, leases} {
		h = mix(h, v)
	}
	for _, a := range s.alarms {
		h = mix(mix(h, uint64(a.Member)), uint64(a.Type))
	}
	return RunningHash{Applied: s.meta.Index, Revision: s.revision, ClusterVersion: s.meta.ClusterVersion, Hash: h}
}
