package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Errors that only Mem gives.
var (
	// ErrPowerLost is what every operation gets between a power cut and Crash.
	ErrPowerLost = errors.New("the power is off")
	// ErrStale is what a file or lock gets that was opened before the last Crash.
	ErrStale = errors.New("opened before the last crash")
)

// OpKind is what an operation does.
type OpKind uint8

// The operations that a hook sees.
const (
	OpCreate OpKind = iota + 1
	OpOpen
	OpRename
	OpRemove
	OpList
	OpMkdir
	OpSyncDir
	OpLock
	OpRead
	OpWrite
	OpSync
	OpPreallocate
	OpTruncate
)

// Changes tells whether the operation may alter the disk or what of it is durable.
func (k OpKind) Changes() bool {
	switch k {
	case OpOpen, OpList, OpLock, OpRead:
		return false
	}
	return true
}

// Op is an operation that is about to be done.
type Op struct {
	Kind   OpKind
	Name   string
	Offset int64 // of OpRead and OpWrite
	Bytes  int64 // of OpRead and OpWrite; the new size for OpPreallocate and OpTruncate
}

// Mem is a disk in memory. It is safe for concurrent use, but only one user at a time makes it deterministic.
type Mem struct {
	mu       sync.Mutex
	random   *rand.Rand
	hook     func(Op) error
	capacity int64
	// powerLeft counts down with each changing operation; none is done at zero.
	powerLeft int
	changes   int
	// life counts crashes, to tell stale handles.
	life  int
	locks map[string]bool

	// names is what users see, durable what a crash falls back to, pending the steps between them.
	names   map[string]*memFile
	dirs    map[string]bool
	durable struct {
		names map[string]*memFile
		dirs  map[string]bool
	}
	pending []nameChange
}

// nameChange binds newName to file (or makes the directory newName) and frees oldName; either may be empty.
type nameChange struct {
	dir              string
	oldName, newName string
	file             *memFile
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty disk whose accidents follow from the seed.
func NewMem(seed uint64) *Mem {
	const stream = 0x766673 // any constant: the seed alone tells disks apart
	m := &Mem{
		random:    rand.New(rand.NewPCG(seed, stream)),
		capacity:  math.MaxInt64,
		powerLeft: math.MaxInt,
		locks:     map[string]bool{},
		names:     map[string]*memFile{},
		dirs:      map[string]bool{".": true, "/": true},
	}
	m.durable.names = map[string]*memFile{}
	m.durable.dirs = map[string]bool{".": true, "/": true}
	return m
}

// SetHook has hook called before each operation, without any lock held: it may wait. When it returns an error the
// operation fails with it: a write after a part of its sectors, a sync after having marked the data clean.
func (m *Mem) SetHook(hook func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// SetCapacity bounds the sum of all files' sizes; past it writes fail with ENOSPC.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// CutPowerAfter lets n more changing operations happen; all that come later fail with ErrPowerLost until Crash.
func (m *Mem) CutPowerAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.powerLeft = n
}

// Changes returns how many changing operations were done so far.
func (m *Mem) Changes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes
}

// FlipBit inverts one bit of a file, durably, as a decaying disk would.
func (m *Mem) FlipBit(name string, bit int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.names[filepath.Clean(name)]
	if f == nil {
		return pathError("flip", name, fs.ErrNotExist)
	}
	if bit < 0 || bit/8 >= f.size {
		return pathError("flip", name, fmt.Errorf("bit %d is outside of %d bytes", bit, f.size))
	}
	f.grow(bit/8 + 1)
	f.data[bit/8] ^= 1 << (bit % 8)
	return nil
}

// Clone returns an independent copy of what users see now, all of it durable, with its own seed.
func (m *Mem) Clone(seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem(seed)
	c.dirs = maps.Clone(m.dirs)
	for name, f := range m.names {
		c.names[name] = &memFile{data: slices.Clone(f.data), size: f.size}
	}
	c.durable.names = maps.Clone(c.names)
	c.durable.dirs = maps.Clone(c.dirs)
	return c
}

// begin asks hook and power whether an operation may happen. It returns with mu held unless there is an error.
func (m *Mem) begin(op Op) error {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	var err error
	if hook != nil {
		err = hook(op)
	}
	m.mu.Lock()
	if m.powerLeft == 0 {
		m.mu.Unlock()
		return pathError("access", op.Name, ErrPowerLost)
	}
	if op.Kind.Changes() {
		m.powerLeft--
		m.changes++
	}
	if err != nil {
		m.mu.Unlock()
		return pathError("access", op.Name, err)
	}
	return nil
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	name = filepath.Clean(name)
	if err := m.begin(Op{Kind: OpCreate, Name: name}); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if !m.dirs[filepath.Dir(name)] {
		return nil, pathError("create", name, fs.ErrNotExist)
	}
	if m.names[name] != nil || m.dirs[name] {
		return nil, pathError("create", name, fs.ErrExist)
	}
	f := &memFile{}
	m.names[name] = f
	m.pending = append(m.pending, nameChange{dir: filepath.Dir(name), newName: name, file: f})
	return &memHandle{disk: m, file: f, name: name, life: m.life, writable: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, true) }

// OpenRead implements FS.
func (m *Mem) OpenRead(name string) (File, error) { return m.open(name, false) }

func (m *Mem) open(name string, writable bool) (File, error) {
	name = filepath.Clean(name)
	if err := m.begin(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	f := m.names[name]
	if f == nil {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return &memHandle{disk: m, file: f, name: name, life: m.life, writable: writable}, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	oldName, newName = filepath.Clean(oldName), filepath.Clean(newName)
	if err := m.begin(Op{Kind: OpRename, Name: oldName}); err != nil {
		return err
	}
	defer m.mu.Unlock()
	f := m.names[oldName]
	if f == nil {
		return pathError("rename", oldName, fs.ErrNotExist)
	}
	if filepath.Dir(oldName) != filepath.Dir(newName) {
		return pathError("rename", newName, errors.New("the new name is in another directory"))
	}
	delete(m.names, oldName)
	m.names[newName] = f
	m.pending = append(m.pending, nameChange{dir: filepath.Dir(newName), oldName: oldName, newName: newName, file: f})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	name = filepath.Clean(name)
	if err := m.begin(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	defer m.mu.Unlock()
	f := m.names[name]
	if f == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	delete(m.names, name)
	m.pending = append(m.pending, nameChange{dir: filepath.Dir(name), oldName: name, file: f})
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	dir = filepath.Clean(dir)
	if err := m.begin(Op{Kind: OpList, Name: dir}); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return nil, pathError("list", dir, fs.ErrNotExist)
	}
	var out []string
	for name := range m.names {
		if filepath.Dir(name) == dir {
			out = append(out, filepath.Base(name))
		}
	}
	for name := range m.dirs {
		if filepath.Dir(name) == dir && name != dir {
			out = append(out, filepath.Base(name))
		}
	}
	slices.Sort(out)
	return out, nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	if err := m.begin(Op{Kind: OpMkdir, Name: dir}); err != nil {
		return err
	}
	defer m.mu.Unlock()
	var missing []string
	for d := dir; !m.dirs[d]; d = filepath.Dir(d) {
		if m.names[d] != nil {
			return pathError("mkdir", d, fs.ErrExist)
		}
		missing = append(missing, d)
	}
	for _, d := range slices.Backward(missing) {
		m.dirs[d] = true
		m.pending = append(m.pending, nameChange{dir: filepath.Dir(d), newName: d})
	}
	return nil
}

// SyncDir implements FS. When it fails the names stay as uncertain as they were.
func (m *Mem) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	if err := m.begin(Op{Kind: OpSyncDir, Name: dir}); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return pathError("sync", dir, fs.ErrNotExist)
	}
	left := m.pending[:0]
	for _, c := range m.pending {
		if c.dir == dir {
			m.settle(c)
		} else {
			left = append(left, c)
		}
	}
	clear(m.pending[len(left):])
	m.pending = left
	return nil
}

// settle makes one change of names durable.
func (m *Mem) settle(c nameChange) {
	if c.oldName != "" && m.durable.names[c.oldName] == c.file {
		delete(m.durable.names, c.oldName)
	}
	switch {
	case c.newName == "":
	case c.file == nil:
		m.durable.dirs[c.newName] = true
	default:
		m.durable.names[c.newName] = c.file
	}
}

// Lock implements FS.
func (m *Mem) Lock(dir string) (io.Closer, error) {
	dir = filepath.Clean(dir)
	if err := m.begin(Op{Kind: OpLock, Name: dir}); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return nil, pathError("lock", dir, fs.ErrNotExist)
	}
	if m.locks[dir] {
		return nil, pathError("lock", dir, ErrLocked)
	}
	m.locks[dir] = true
	return &memLock{disk: m, dir: dir, life: m.life}, nil
}

type memLock struct {
	disk *Mem
	dir  string
	life int
}

func (l *memLock) Close() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if l.life != l.disk.life {
		return pathError("unlock", l.dir, ErrStale)
	}
	delete(l.disk.locks, l.dir)
	return nil
}

// Size implements FS.
func (m *Mem) Size(name string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.names[filepath.Clean(name)]
	if f == nil {
		return 0, pathError("stat", name, fs.ErrNotExist)
	}
	return f.size, nil
}

// FreeSpace implements FS.
func (m *Mem) FreeSpace(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, m.capacity-m.used()), nil
}

func (m *Mem) used() int64 {
	var sum int64
	for _, f := range m.names {
		sum += f.size
	}
	return sum
}

// reserve fails when the file cannot grow to size.
func (m *Mem) reserve(f *memFile, name string, size int64) error {
	if size > f.size && size-f.size > m.capacity-m.used() {
		return pathError("write", name, syscall.ENOSPC)
	}
	return nil
}
