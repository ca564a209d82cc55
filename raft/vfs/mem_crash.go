package vfs

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
)

// fate decides what a crash does to one kind of thing that was not synced.
type fate uint8

const (
	loseAll fate = iota
	keepAll
	chance // twice, so that the mixed outcomes are the common ones
	chanceToo
	fates
)

func (m *Mem) drawFate() fate { return fate(m.random.IntN(int(fates))) }

// keeps draws whether one thing survives.
func (m *Mem) keeps(f fate) bool {
	switch f {
	case loseAll:
		return false
	case keepAll:
		return true
	}
	return m.random.IntN(2) == 0
}

// Crash is a loss of power and the start after it: each name and each sector that was not synced is found as it
// was after any one of the changes since. Locks are gone, files that were open are stale, the power is on again.
func (m *Mem) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	nameFate, dataFate := m.drawFate(), m.drawFate()
	for _, c := range m.pending {
		if m.keeps(nameFate) {
			m.settle(c)
		}
	}
	m.pending = nil
	m.dropOrphans()
	m.names = maps.Clone(m.durable.names)
	m.dirs = maps.Clone(m.durable.dirs)
	for _, name := range slices.Sorted(maps.Keys(m.names)) {
		m.tear(m.names[name], dataFate)
	}
	m.locks = map[string]bool{}
	m.powerLeft = math.MaxInt
	m.life++
}

// dropOrphans removes what lies in a directory that was lost.
func (m *Mem) dropOrphans() {
	var alive func(dir string) bool
	alive = func(dir string) bool {
		parent := filepath.Dir(dir)
		return m.durable.dirs[dir] && (parent == dir || alive(parent))
	}
	maps.DeleteFunc(m.durable.dirs, func(dir string, _ bool) bool { return !alive(dir) })
	maps.DeleteFunc(m.durable.names, func(name string, _ *memFile) bool { return !alive(filepath.Dir(name)) })
}

// tear takes each sector of a file back to how it was after one of the changes that touched it, and the
// length likewise.
func (m *Mem) tear(f *memFile, dataFate fate) {
	changes := f.pending
	f.pending = nil
	if len(changes) == 0 {
		return
	}
	sectors := map[int64]bool{}
	for _, c := range changes {
		for s := c.off / SectorBytes; s*SectorBytes < c.off+c.n; s++ {
			sectors[s] = true
		}
	}
	for _, s := range slices.Sorted(maps.Keys(sectors)) {
		from, to := s*SectorBytes, (s+1)*SectorBytes
		kept := m.keptPrefix(dataFate, len(changes))
		for i, c := range slices.Backward(changes) {
			if c.off >= to || c.off+c.n <= from {
				continue
			}
			if i < kept && !c.lost {
				break // this wrote the sector as a whole, with what came before
			}
			if i >= kept || m.random.IntN(2) == 0 {
				f.undo(c, from, to)
			}
		}
	}
	if kept := m.keptPrefix(dataFate, len(changes)); kept < len(changes) {
		f.size = changes[kept].sizeBefore
	}
	if int64(len(f.data)) > f.size {
		f.data = f.data[:f.size]
	}
}

// keptPrefix draws how many of n changes, oldest first, reached the disk.
func (m *Mem) keptPrefix(f fate, n int) int {
	switch f {
	case loseAll:
		return 0
	case keepAll:
		return n
	}
	return m.random.IntN(n + 1)
}
