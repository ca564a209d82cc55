package sim

import (
	"syscall"
	"time"
)

// strikeFull lets the disk of one host fill up for a while. Its program stops when it needs room, and starts again and again until there
// is some. Nothing that was acknowledged is lost.
func (w *world) strikeFull(r *random) {
	h := w.victim(r)
	if m := h.member; m != nil && !m.full && (m.disk.real != nil || m.store != nil) {
		w.coverage.FullDisks++
		w.trace(h.proc, "the disk of member %s is full", m.id)
		m.fill(true)
		w.after(r.between(200*time.Millisecond, 6*time.Second), func() {
			w.trace(h.proc, "the disk of member %s has room again", m.id)
			m.fill(false)
		})
	}
}

// fill takes or gives back the room on a member's disk.
func (m *member) fill(full bool) {
	m.full = full
	if m.disk.real != nil {
		m.disk.real.fill(full)
	}
	if m.store != nil {
		m.store.FailCommits(nil)
		if full {
			m.store.FailCommits(syscall.ENOSPC)
		}
	}
}
