package vfs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
)

// memFile is a file's content. Bytes past data up to size are zero and cost nothing.
type memFile struct {
	data []byte
	size int64
	// pending are the changes since the last good sync, oldest first, each with what is needed to undo it.
	pending []dataChange
}

// dataChange overwrote [off, off+n), which held old before; nil old means zeros.
type dataChange struct {
	off, n     int64
	old        []byte
	sizeBefore int64
	// lost says that a sync of it failed: it is clean in memory but maybe not on the disk. Such changes lie
	// within one sector.
	lost bool
}

// grow makes data at least n bytes long.
func (f *memFile) grow(n int64) {
	if n > int64(len(f.data)) {
		old := len(f.data)
		f.data = slices.Grow(f.data, int(n)-old)[:n]
		clear(f.data[old:])
	}
}

// note remembers how to undo a change of [off, off+n) that is about to be made.
func (f *memFile) note(off, n int64) {
	c := dataChange{off: off, n: n, sizeBefore: f.size}
	if off < int64(len(f.data)) {
		c.old = make([]byte, n)
		copy(c.old, f.data[off:])
	}
	f.pending = append(f.pending, c)
}

func (f *memFile) write(p []byte, off int64) {
	end := off + int64(len(p))
	f.note(off, int64(len(p)))
	f.grow(end)
	copy(f.data[off:], p)
	f.size = max(f.size, end)
}

func (f *memFile) resize(size int64) {
	cut := max(0, f.size-size)
	f.note(min(size, f.size), cut)
	if size < int64(len(f.data)) {
		f.data = f.data[:size]
	}
	f.size = size
}

// undo puts back what the change overwrote, as far as it lies in [from, to).
func (f *memFile) undo(c dataChange, from, to int64) {
	from, to = max(from, c.off), min(to, c.off+c.n)
	if from >= to {
		return
	}
	if c.old == nil {
		if from < int64(len(f.data)) {
			clear(f.data[from:min(to, int64(len(f.data)))])
		}
		return
	}
	f.grow(to)
	copy(f.data[from:to], c.old[from-c.off:to-c.off])
}

// synced makes all durable but what an earlier failed sync has lost and no later write made dirty again.
func (f *memFile) synced() {
	isLost := func(c dataChange) bool { return c.lost }
	if !slices.ContainsFunc(f.pending, isLost) {
		clear(f.pending)
		f.pending = f.pending[:0]
		return
	}
	dirty := map[int64]bool{}
	for _, c := range f.pending {
		for s := c.off / SectorBytes; !c.lost && s*SectorBytes < c.off+c.n; s++ {
			dirty[s] = true
		}
	}
	f.pending = slices.DeleteFunc(f.pending, func(c dataChange) bool { return !c.lost || dirty[c.off/SectorBytes] })
}

// syncFailed marks all as clean without having stored it.
func (f *memFile) syncFailed() {
	var pieces []dataChange
	for _, c := range f.pending {
		for off := c.off; off < c.off+c.n; {
			end := min((off/SectorBytes+1)*SectorBytes, c.off+c.n)
			piece := dataChange{off: off, n: end - off, sizeBefore: f.size, lost: true}
			if c.old != nil {
				piece.old = c.old[off-c.off : end-c.off]
			}
			pieces = append(pieces, piece)
			off = end
		}
	}
	f.pending = pieces
}

// memHandle is an open file.
type memHandle struct {
	disk     *Mem
	file     *memFile
	name     string
	life     int
	writable bool
	closed   bool
}

func (h *memHandle) usable(write bool) error {
	switch {
	case h.closed:
		return pathError("access", h.name, fs.ErrClosed)
	case h.life != h.disk.life:
		return pathError("access", h.name, ErrStale)
	case write && !h.writable:
		return pathError("write", h.name, fs.ErrPermission)
	}
	return nil
}

func (h *memHandle) begin(op Op) error {
	if err := h.disk.begin(op); err != nil {
		return err
	}
	if err := h.usable(op.Kind.Changes()); err != nil {
		h.disk.mu.Unlock()
		return err
	}
	return nil
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.begin(Op{Kind: OpRead, Name: h.name, Offset: off, Bytes: int64(len(p))}); err != nil {
		return 0, err
	}
	defer h.disk.mu.Unlock()
	if off >= h.file.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), h.file.size-off))
	var copied int
	if off < int64(len(h.file.data)) {
		copied = copy(p[:n], h.file.data[off:])
	}
	clear(p[copied:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.begin(Op{Kind: OpWrite, Name: h.name, Offset: off, Bytes: int64(len(p))}); err != nil {
		if errors.Is(err, ErrPowerLost) {
			return 0, err
		}
		return h.writePart(p, off), err
	}
	defer h.disk.mu.Unlock()
	if err := h.disk.reserve(h.file, h.name, off+int64(len(p))); err != nil {
		return 0, err
	}
	h.file.write(p, off)
	return len(p), nil
}

// writePart writes a random number of whole sectors of a write that fails.
func (h *memHandle) writePart(p []byte, off int64) int {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	end := off + int64(len(p))
	if h.usable(true) != nil || len(p) == 0 || end > h.file.size {
		return 0
	}
	sectors := (end-1)/SectorBytes - off/SectorBytes + 1
	stop := (off/SectorBytes + h.disk.random.Int64N(sectors)) * SectorBytes
	if stop <= off {
		return 0
	}
	h.file.write(p[:stop-off], off)
	return int(stop - off)
}

func (h *memHandle) Sync() error {
	if err := h.begin(Op{Kind: OpSync, Name: h.name}); err != nil {
		if !errors.Is(err, ErrPowerLost) {
			h.disk.mu.Lock()
			h.file.syncFailed()
			h.disk.mu.Unlock()
		}
		return err
	}
	defer h.disk.mu.Unlock()
	h.file.synced()
	return nil
}

func (h *memHandle) Preallocate(size int64) error {
	if err := h.begin(Op{Kind: OpPreallocate, Name: h.name, Bytes: size}); err != nil {
		return err
	}
	defer h.disk.mu.Unlock()
	if size <= h.file.size {
		return nil
	}
	if err := h.disk.reserve(h.file, h.name, size); err != nil {
		return err
	}
	h.file.resize(size)
	return nil
}

func (h *memHandle) Truncate(size int64) error {
	if err := h.begin(Op{Kind: OpTruncate, Name: h.name, Bytes: size}); err != nil {
		return err
	}
	defer h.disk.mu.Unlock()
	if err := h.disk.reserve(h.file, h.name, size); err != nil {
		return err
	}
	h.file.resize(size)
	return nil
}

func (h *memHandle) Size() (int64, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.usable(false); err != nil {
		return 0, err
	}
	return h.file.size, nil
}

func (h *memHandle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return pathError("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	return nil
}
