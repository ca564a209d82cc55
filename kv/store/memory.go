package store

import (
	"fmt"
	"slices"
	"sort"
	"sync"
)

// Memory is a Disk in memory, for simulations and models. It is safe for concurrent use.
type Memory struct {
	mu sync.Mutex
	// epoch is raised when the handles given out so far become invalid, power when those of stagings do too.
	epoch, power int
	current      roots
	inForce      *memoryStore // nil if none is open
	staged       map[string]roots
	failure      error
}

// roots are the trees of the buckets. Trees are never changed, so that a copy of the roots is a view.
type roots [Buckets]*node

// NewMemory returns an empty disk.
func NewMemory() *Memory { return &Memory{staged: map[string]roots{}} }

// Crash loses power: all handles become invalid, and what they had not committed or finished is gone.
func (m *Memory) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lose()
	m.failure = nil
}

// lose makes all handles invalid. The caller holds mu.
func (m *Memory) lose() {
	m.epoch++
	m.power++
}

// open returns a handle of what is in force. The caller holds mu.
func (m *Memory) open() *memoryStore {
	m.epoch++
	m.inForce = &memoryStore{disk: m, epoch: m.epoch, power: m.power}
	return m.inForce
}

// FailCommits makes every commit and finish fail with err, and change nothing, until the next Crash.
func (m *Memory) FailCommits(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// Open returns the store in force and makes earlier handles invalid, as a new process does.
func (m *Memory) Open() (Store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lose()
	return m.open(), nil
}

// Stage begins a store.
func (m *Memory) Stage(name string) (Staging, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memoryStaging{disk: m, power: m.power, name: name}, nil
}

// Staged returns the names of the finished ones.
func (m *Memory) Staged() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for name := range m.staged {
		out = append(out, name)
	}
	sort.Strings(out)
	return out, nil
}

// Adopt puts a finished one in force.
func (m *Memory) Adopt(name string) (Store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.staged[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotStaged, name)
	}
	delete(m.staged, name)
	if m.inForce != nil {
		last := m.current
		m.inForce.last = &last
	}
	m.current = r
	return m.open(), nil
}

// Discard removes a finished one.
func (m *Memory) Discard(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.staged, name)
	return nil
}

type memoryStore struct {
	disk         *Memory
	epoch, power int
	// last is what it held when another one took its place: it can be read until it is closed.
	last   *roots
	closed bool
}

func (s *memoryStore) View() (View, error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if s.last != nil && !s.closed && s.power == s.disk.power {
		return memoryView{roots: *s.last}, nil
	}
	if s.epoch != s.disk.epoch {
		return nil, ErrClosed
	}
	return memoryView{roots: s.disk.current}, nil
}

func (s *memoryStore) Commit(b *Batch) error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if s.epoch != s.disk.epoch {
		return ErrClosed
	}
	if s.disk.failure != nil {
		return s.disk.failure
	}
	s.disk.current = s.disk.current.with(b)
	return nil
}

func (s *memoryStore) Stats() Stats {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	var n int64
	for _, root := range s.disk.current {
		if root != nil {
			n += root.bytes
		}
	}
	return Stats{FileBytes: n, UsedBytes: n}
}

func (s *memoryStore) Close() error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.closed = true
	if s.epoch == s.disk.epoch {
		s.disk.epoch++
	}
	return nil
}

type memoryView struct{ roots roots }

func (v memoryView) Get(bucket Bucket, key []byte) []byte {
	if n := v.roots[bucket].seek(key); n != nil && string(n.key) == string(key) {
		return n.value
	}
	return nil
}

func (v memoryView) Iterate(bucket Bucket) Iterator { return &memoryIterator{root: v.roots[bucket]} }

func (v memoryView) Close() error { return nil }

type memoryIterator struct {
	root, at *node
}

func (i *memoryIterator) First() (key, value []byte)    { return i.move(i.root.first()) }
func (i *memoryIterator) Last() (key, value []byte)     { return i.move(i.root.last()) }
func (i *memoryIterator) Seek(key []byte) (k, v []byte) { return i.move(i.root.seek(key)) }

func (i *memoryIterator) Next() (key, value []byte) {
	if i.at == nil {
		return nil, nil
	}
	return i.move(i.root.after(i.at.key))
}

func (i *memoryIterator) Prev() (key, value []byte) {
	if i.at == nil {
		return nil, nil
	}
	return i.move(i.root.before(i.at.key))
}

func (i *memoryIterator) move(to *node) (key, value []byte) {
	i.at = to
	if to == nil {
		return nil, nil
	}
	return to.key, to.value
}

type memoryStaging struct {
	disk  *Memory
	power int
	name  string
	roots roots
	done  bool
}

func (s *memoryStaging) Commit(b *Batch) error {
	if s.done {
		return ErrClosed
	}
	own := Batch{ops: slices.Clone(b.ops), bytes: b.bytes}
	for i := range own.ops {
		o := &own.ops[i]
		o.key, o.value = slices.Clone(o.key), slices.Clone(o.value)
	}
	s.roots = s.roots.with(&own)
	return nil
}

func (s *memoryStaging) Sync() error { return nil }

func (s *memoryStaging) Finish() error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if s.done || s.power != s.disk.power {
		return ErrClosed
	}
	if s.disk.failure != nil {
		return s.disk.failure
	}
	s.done = true
	s.disk.staged[s.name] = s.roots
	return nil
}

func (s *memoryStaging) Abort() error {
	s.done = true
	return nil
}
