package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"sort"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft/session"
)

// The real state machine keeps the history of its keys until a client gives it up. Clients read in it, and give it up, and the
// oracle remembers all of it.

// valueAt is what a register held from some revision on.
type valueAt struct{ revision, value uint64 }

// wrote remembers a write. Whatever entry is applied, somebody is the first to apply it, so that they come in order.
func (o *oracle) wrote(key int, revision, value uint64) {
	if revision > o.revision {
		o.revision = revision
		o.past[key] = append(o.past[key], valueAt{revision, value})
	}
}

// valueAt returns what a register held at a revision.
func (o *oracle) valueAt(key int, revision uint64) uint64 {
	all := o.past[key]
	n := sort.Search(len(all), func(i int) bool { return all[i].revision > revision })
	if n == 0 {
		return 0
	}
	return all[n-1].value
}

// pastValue reads a register at an old revision for a client that has seen that revision.
func (p *process) pastValue(key int, revision uint64) result {
	got, err := p.real.Get(context.Background(), registerName(key), revision)
	gone := revision < p.machine.compacted
	switch {
	case errors.Is(err, kv.ErrCompacted) && gone:
		p.w.coverage.CompactedReads++
		return result{refused: kv.ErrCompacted}
	case errors.Is(err, kv.ErrCompacted), errors.Is(err, kv.ErrFutureRevision):
		fail("reads of the past", "member %s refuses to read revision %d at %d, history is there from %d on: %v", p.m.id, revision, p.machine.revision, p.machine.compacted, err)
	case err != nil:
		p.diskFails("reads of the past", err)
	case gone:
		fail("reads of the past", "member %s reads revision %d, history was given up before %d", p.m.id, revision, p.machine.compacted)
	}
	var value uint64
	if got.Found {
		value = binary.BigEndian.Uint64(got.Value)
	}
	if want := p.w.oracle.valueAt(key, revision); value != want {
		fail("reads of the past", "member %s reads %d in register %d at revision %d, it held %d", p.m.id, value, key, revision, want)
	}
	p.w.coverage.PastReads++
	return result{value: value, revision: p.machine.revision}
}

// strikeStorm opens so many sessions at once that all others are evicted. What their clients ask for again then is refused,
// and nobody can tell them what became of it.
func (w *world) strikeStorm(*random) {
	p := w.operator.findLeader()
	if p == nil || w.storms >= mostStorms {
		return
	}
	p.whenRunning(func() {
		var data [][]byte
		for range session.MaxSessions {
			w.strangers++
			data = append(data, w.encodeCommand(command{kind: opOpen, value: strangersNonce + w.strangers}))
		}
		_, _, err := p.core.Propose(data)
		w.trace(p, "%d sessions are to be opened: %v", len(data), err)
		if err == nil {
			w.storms++
		}
		p.stepped()
	})
}

const (
	// strangersNonce is above all nonces that clients draw.
	strangersNonce = 1 << 50
	// mostStorms bounds those of one run, as each costs as much as some seconds of all else.
	mostStorms = 3
)

// evict makes room for one more session, as the real table does: the one used least recently goes.
func (m *machine) evict() {
	if len(m.sessions) < session.MaxSessions {
		return
	}
	least := 0
	for i := range m.sessions {
		if m.sessions[i].used < m.sessions[least].used {
			least = i
		}
	}
	m.sum -= m.sessions[least].digest()
	if least == 0 {
		m.sessions = m.sessions[1:]
		return
	}
	m.sessions = append(m.sessions[:least], m.sessions[least+1:]...)
}
