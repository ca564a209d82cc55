package disk

import (
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"
)

// SectorBytes is the unit that is written whole or not at all.
const SectorBytes = 512

// Inode names a file or a directory, whatever its name is. It is never used again.
type Inode uint64

// Root is the directory that everything is in.
const Root Inode = 1

// Info describes an inode.
type Info struct {
	Inode Inode
	Dir   bool
	Bytes int64
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Info
}

// Disk is a tree of files. It is safe for concurrent use. Its errors are of type syscall.Errno.
type Disk struct {
	// syncTime is how long a sync takes, in which others may write.
	syncTime time.Duration

	mu    sync.Mutex
	nodes map[Inode]*node
	last  Inode
	log   []op
}

type node struct {
	entries map[string]Inode // nil for a file
	content content
}

// New returns an empty disk on which a sync takes at least syncTime.
func New(syncTime time.Duration) *Disk {
	return &Disk{syncTime: syncTime, nodes: map[Inode]*node{Root: {entries: map[string]Inode{}}}, last: Root}
}

// Operations returns how many operations were done so far: what is done from now on has this number or a higher one.
func (d *Disk) Operations() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

func (d *Disk) directory(i Inode) (*node, error) {
	n := d.nodes[i]
	if n == nil {
		return nil, syscall.ESTALE
	}
	if n.entries == nil {
		return nil, syscall.ENOTDIR
	}
	return n, nil
}

func (d *Disk) file(i Inode) (*node, error) {
	n := d.nodes[i]
	if n == nil {
		return nil, syscall.ESTALE
	}
	if n.entries != nil {
		return nil, syscall.EISDIR
	}
	return n, nil
}

func (d *Disk) info(i Inode) Info {
	n := d.nodes[i]
	return Info{Inode: i, Dir: n.entries != nil, Bytes: n.content.size}
}

// Stat describes an inode.
func (d *Disk) Stat(i Inode) (Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nodes[i] == nil {
		return Info{}, syscall.ESTALE
	}
	return d.info(i), nil
}

// Lookup finds a name in a directory.
func (d *Disk) Lookup(dir Inode, name string) (Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.directory(dir)
	if err != nil {
		return Info{}, err
	}
	i, ok := n.entries[name]
	if !ok {
		return Info{}, syscall.ENOENT
	}
	return d.info(i), nil
}

// List returns the names in a directory in their order.
func (d *Disk) List(dir Inode) ([]Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.directory(dir)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		out = append(out, Entry{name, d.info(n.entries[name])})
	}
	return out, nil
}

// Make makes an empty file or directory.
func (d *Disk) Make(dir Inode, name string, directory bool) (Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.directory(dir)
	if err != nil {
		return Info{}, err
	}
	if _, taken := n.entries[name]; taken {
		return Info{}, syscall.EEXIST
	}
	d.last++
	made := &node{}
	if directory {
		made.entries = map[string]Inode{}
	}
	d.nodes[d.last] = made
	n.entries[name] = d.last
	d.log = append(d.log, op{kind: opName, name: nameChange{
		inode: d.last, made: true, directory: directory, to: place{dir, name},
	}})
	return d.info(d.last), nil
}

// Remove takes a name away. Whoever has the file open goes on with it.
func (d *Disk) Remove(dir Inode, name string, directory bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.directory(dir)
	if err != nil {
		return err
	}
	i, ok := n.entries[name]
	switch {
	case !ok:
		return syscall.ENOENT
	case !directory && d.nodes[i].entries != nil:
		return syscall.EISDIR
	case directory && d.nodes[i].entries == nil:
		return syscall.ENOTDIR
	case len(d.nodes[i].entries) > 0:
		return syscall.ENOTEMPTY
	}
	delete(n.entries, name)
	d.log = append(d.log, op{kind: opName, name: nameChange{inode: i, from: place{dir, name}}})
	return nil
}

// Rename moves a file or a directory, in place of a file or an empty directory that has the new name.
func (d *Disk) Rename(from Inode, oldName string, to Inode, newName string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	source, err := d.directory(from)
	if err != nil {
		return err
	}
	target, err := d.directory(to)
	if err != nil {
		return err
	}
	i, ok := source.entries[oldName]
	if !ok {
		return syscall.ENOENT
	}
	if old, taken := target.entries[newName]; taken && len(d.nodes[old].entries) > 0 {
		return syscall.ENOTEMPTY
	}
	delete(source.entries, oldName)
	target.entries[newName] = i
	d.log = append(d.log, op{kind: opName, name: nameChange{inode: i, from: place{from, oldName}, to: place{to, newName}}})
	return nil
}

// Read fills p from an offset on, as far as the file goes.
func (d *Disk) Read(i Inode, p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.file(i)
	if err != nil {
		return 0, err
	}
	return n.content.read(p, off), nil
}

// Write stores a copy of p.
func (d *Disk) Write(i Inode, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.file(i)
	if err != nil {
		return err
	}
	c := change{off: off, data: slices.Clone(p), size: max(n.content.size, off+int64(len(p)))}
	n.content.apply(c)
	d.log = append(d.log, op{kind: opData, inode: i, change: c})
	return nil
}

// Resize cuts a file off or lengthens it by zeros.
func (d *Disk) Resize(i Inode, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.file(i)
	if err != nil {
		return err
	}
	c := change{off: size, zeros: max(0, n.content.size-size), size: size}
	n.content.apply(c)
	d.log = append(d.log, op{kind: opData, inode: i, change: c})
	return nil
}

// Sync makes durable what was done to a file's content, or to the names in a directory, before it was called.
func (d *Disk) Sync(i Inode) error {
	d.mu.Lock()
	from, known := len(d.log), d.nodes[i] != nil
	d.mu.Unlock()
	if !known {
		return syscall.ESTALE
	}
	time.Sleep(d.syncTime)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, op{kind: opSync, inode: i, before: from})
	return nil
}
