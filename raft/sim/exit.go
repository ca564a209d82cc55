package sim

import (
	"errors"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
)

// exit ends a program in the middle of what it does, as a node ends itself when its disk does not do what it must. It is
// thrown and caught by happen.
type exit struct {
	p   *process
	why error
}

// happen lets one thing happen. A program that ends itself meanwhile is gone, and nothing else.
func (w *world) happen(run func()) {
	defer func() {
		switch x := recover().(type) {
		case nil:
		case *exit:
			w.exited(x.p, x.why)
		default:
			panic(w.violation(x)) // made here, where the stack is that of the cause
		}
	}()
	run()
}

func (w *world) exited(p *process, why error) {
	w.trace(p, "stops: %v", why)
	h := p.host
	h.kill()
	if damaged(why) {
		w.setAside(h)
	} else {
		w.restartLater(h.random, h)
	}
}

// diskFails ends the program if its disk was made to fail, and the run if not: on a good disk everything works.
func (p *process) diskFails(what string, err error) {
	w, m := p.w, p.m
	switch {
	case m.rotten && damaged(err):
		w.coverage.DamageFound++
	case m.full && vfs.IsNoSpace(err):
		w.coverage.StoppedFull++
	default:
		fail(what, "member %s: %v", m.id, err)
	}
	panic(&exit{p, err})
}

// damaged tells whether an error says that something stored is not what was written.
func damaged(err error) bool {
	var log *wal.CorruptError
	var record *kv.CorruptError
	return errors.As(err, &log) || errors.As(err, &record)
}

// refusesToStart follows a start that failed. A damaged directory is set aside; where there is no room the host tries again.
func (h *host) refusesToStart(w *world, what string, err error) {
	m := h.member
	w.trace(nil, "member %s refuses to start: %v", m.id, err)
	switch {
	case m.full && vfs.IsNoSpace(err):
		w.coverage.StoppedFull++
		w.restartLater(h.random, h)
	case m.rotten:
		// Not every error says so: what is damaged may look like the file of another cluster or of another format.
		w.coverage.DamageFound++
		w.setAside(h)
	default:
		fail(what, "member %s: %v", m.id, err)
	}
}

// setAside takes a damaged directory out of use for good: a person or a controller looks at it after a while, sets it aside and
// lets the host begin anew, as after the loss of a disk.
func (w *world) setAside(h *host) {
	m := h.member
	h.down, m.damaged = true, true
	w.after(h.random.between(0, mostSetAside), func() {
		if h.member != m {
			return
		}
		w.trace(nil, "the directory of member %s is set aside", m.id)
		m.lost, m.host = true, nil
		w.freshDirectory(h)
		h.boot(w)
	})
}
