package sim

import (
	"path/filepath"
	"time"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft/wal"
)

// Bits rot in what is stored. They are found by whoever reads them, at a start or while the program runs; what was
// damaged is never served. One copy at a time rots, since a quorum of good ones must remain: whoever finds damage is
// replaced like a member whose disk is gone.

// mostSetAside is the longest time after which a damaged directory is set aside.
const mostSetAside = 3 * time.Second

// strikeRot flips a bit of the log or of the state of one member.
func (w *world) strikeRot(r *random) {
	h := w.victim(r)
	m := h.member
	if m == nil || m.removed || (h.proc == nil && len(m.disk.unsynced) > 0) || w.operator.acting > 0 || w.opts.Without&MembershipChange != 0 || !w.mayLose(m) {
		return
	}
	switch {
	case m.disk.real != nil && (m.store == nil || r.chance(0.5)):
		if !m.disk.real.rot(m, r) {
			return
		}
		w.coverage.LogBitsFlipped++
	case m.store != nil:
		if !m.store.rot(r) {
			return
		}
		w.coverage.StateBitsFlipped++
	default:
		return
	}
	m.rotten = true
	w.trace(nil, "a bit of member %s flips", m.id)
	if h.proc != nil && r.chance(0.7) {
		// The log is read at a start only: let there be one.
		w.after(r.between(0, 5*time.Second), func() {
			if h.member == m && h.proc != nil && !w.healing {
				h.kill()
				w.restartLater(r, h)
			}
		})
	}
}

// mayLose tells whether the disk of a member may be lost: enough voters, all others with good disks, and no change of the
// membership under way, since what was lost then might be one of two quorums.
func (w *world) mayLose(m *member) bool {
	if now := w.oracle.membership; now.Joint() || len(now.Voters()) < 3 {
		return false
	}
	for _, x := range w.oracle.membership.Members {
		if o := w.members[x.ID]; o != nil && o.doubtful() {
			return false
		}
	}
	for _, o := range w.ordered {
		if o.host != nil && o.shadow.membership().index > w.oracle.committedIndex() {
			return false
		}
	}
	return true
}

// doubtful tells whether the member may not have what it has stored.
func (m *member) doubtful() bool { return m.lost || m.rotten || m.damaged }

// rot flips a bit of some file of the log, and tells whether it did. A bit of the last write is spared where the log looks
// as if that had been torn: the log does not promise to tell the two apart. What it does promise is checked at once, on a copy.
func (d *walDisk) rot(m *member, chance *random) bool {
	names, err := d.fs.List(walDirectory)
	if err != nil || len(names) == 0 {
		return false
	}
	name := filepath.Join(walDirectory, names[chance.n(len(names))])
	bit, ok := d.writtenBit(name, chance)
	if !ok {
		return false
	}
	c := d.fs.Clone(chance.next())
	if err := c.FlipBit(name, bit); err != nil {
		fail("simulation", "%v", err)
	}
	if log, found, err := wal.Open(c, walDirectory, walOptions(m)); err == nil {
		_ = log.Close()
		if image := imageOf(found); image.differs(&m.disk.durable) != "" {
			if found.Repaired == "" {
				fail("damage is found, never served", "bit %d of %s of member %s flips, its log opens: %s", bit, name, m.id, image.differs(&m.disk.durable))
			}
			return false
		}
	}
	if err := d.fs.FlipBit(name, bit); err != nil {
		fail("simulation", "%v", err)
	}
	return true
}

// writtenBit draws a bit of a file, most often one in a byte that is not zero.
func (d *walDisk) writtenBit(name string, chance *random) (int64, bool) {
	f, err := d.fs.OpenRead(name)
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	size, err := f.Size()
	if err != nil || size == 0 {
		return 0, false
	}
	const draws = 12
	at := int64(0)
	for range draws {
		at = int64(chance.n(int(size)))
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err == nil && b[0] != 0 {
			break
		}
	}
	return at*8 + int64(chance.n(8)), true
}

// stateDisk is the disk of a state machine: it can rot.
type stateDisk struct {
	*store.Memory
	open  store.Store
	flips []flip
}

// flip is one bit of one value.
type flip struct {
	bucket store.Bucket
	key    string
	was    string
	bit    int
}

func newStateDisk() *stateDisk { return &stateDisk{Memory: store.NewMemory()} }

// Open returns the store in force, with what has rotted in it.
func (d *stateDisk) Open() (store.Store, error) { return d.handle(d.Memory.Open()) }

// Adopt puts another store in force, of which nothing has rotted.
func (d *stateDisk) Adopt(name string) (store.Store, error) {
	s, err := d.Memory.Adopt(name)
	if err == nil {
		d.flips = nil
	}
	return d.handle(s, err)
}

func (d *stateDisk) handle(s store.Store, err error) (store.Store, error) {
	if err != nil {
		return nil, err
	}
	d.open = s
	return rottingStore{s, d}, nil
}

// rot flips a bit of the value of some record, and tells whether it did.
func (d *stateDisk) rot(chance *random) bool {
	if d.open == nil {
		return false
	}
	v, err := d.open.View()
	if err != nil { // nobody has it open
		if d.open, err = d.Memory.Open(); err != nil {
			fail("simulation", "%v", err)
		}
		if v, err = d.open.View(); err != nil {
			fail("simulation", "%v", err)
		}
	}
	bucket := store.Bucket(chance.n(int(store.Buckets)))
	it := v.Iterate(bucket)
	const mostSteps = 200
	steps := chance.n(mostSteps)
	k, value := it.First()
	for range steps {
		next, nextValue := it.Next()
		if next == nil {
			break
		}
		k, value = next, nextValue
	}
	if k == nil {
		return false
	}
	d.flips = append(d.flips, flip{bucket, string(k), string(value), chance.n(8 * len(value))})
	return true
}

// read returns what is read of a value.
func (d *stateDisk) read(bucket store.Bucket, key, value []byte) []byte {
	for _, f := range d.flips {
		if f.bucket == bucket && f.key == string(key) && f.was == string(value) {
			value = append([]byte(nil), value...)
			value[f.bit/8] ^= 1 << (f.bit % 8)
		}
	}
	return value
}

// scrub reads the whole state of a member in which bits have flipped, as it would be read some day.
func (p *process) scrub() {
	if p.m.rotten && p.real != nil {
		p.w.after(0, func() {
			p.whenRunning(func() {
				p.snapshotReal() // all records
				p.stateHash()    // and what describes them
			})
		})
	}
}

// rottingStore is a store as its reader sees it.
type rottingStore struct {
	store.Store
	disk *stateDisk
}

func (s rottingStore) View() (store.View, error) {
	v, err := s.Store.View()
	if err != nil || len(s.disk.flips) == 0 {
		return v, err
	}
	return rottingView{v, s.disk}, nil
}

type rottingView struct {
	store.View
	disk *stateDisk
}

func (v rottingView) Get(bucket store.Bucket, key []byte) []byte {
	return v.disk.read(bucket, key, v.View.Get(bucket, key))
}

func (v rottingView) Iterate(bucket store.Bucket) store.Iterator {
	return rottingIterator{v.View.Iterate(bucket), bucket, v.disk}
}

type rottingIterator struct {
	store.Iterator
	bucket store.Bucket
	disk   *stateDisk
}

func (i rottingIterator) read(k, v []byte) (key, value []byte) { return k, i.disk.read(i.bucket, k, v) }

func (i rottingIterator) First() (key, value []byte)    { return i.read(i.Iterator.First()) }
func (i rottingIterator) Last() (key, value []byte)     { return i.read(i.Iterator.Last()) }
func (i rottingIterator) Seek(key []byte) (k, v []byte) { return i.read(i.Iterator.Seek(key)) }
func (i rottingIterator) Next() (key, value []byte)     { return i.read(i.Iterator.Next()) }
func (i rottingIterator) Prev() (key, value []byte)     { return i.read(i.Iterator.Prev()) }

var _ store.Disk = (*stateDisk)(nil)
