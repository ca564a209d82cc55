//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/session"
)

// machine is raftkv's state machine here: it counts bytes, as those of the other systems do, and knows sessions, so that a
// proposal that is made twice counts once.
type machine struct {
	mu    sync.Mutex
	meta  raft.SnapshotMeta
	table *session.Table
	bytes uint64
	// applied counts the commands since the changes of the session table were fetched last.
	applied int
}

// flushEntries is after how many commands the changes of the session table are fetched, as a store does that keeps them.
const flushEntries = 10_000

func newMachine(meta raft.SnapshotMeta) *machine {
	return &machine{meta: meta, table: session.NewTable()}
}

// done is the result of a command; opened, when it is not zero, the session that it has opened.
type done struct {
	opened uint64
	err    error
}

var (
	counted    any = &done{}
	noResult       = []byte{}
	openMarker     = "open"
)

func (m *machine) Apply(entries []raft.Entry) ([]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	results := make([]any, len(entries))
	for i := range entries {
		e := &entries[i]
		m.meta.Index, m.meta.Term = e.Index, e.Term
		switch e.Type {
		case raft.EntryMembership:
			if err := m.meta.Membership.UnmarshalBinary(e.Data); err != nil {
				return nil, err
			}
		case raft.EntryNormal:
			results[i] = m.applyCommand(e)
		}
	}
	if m.applied += len(entries); m.applied >= flushEntries {
		m.applied = 0
		m.table.Changes()
	}
	return results, nil
}

func (m *machine) applyCommand(e *raft.Entry) any {
	h, command, err := session.Decode(e.Data)
	if err != nil {
		return &done{err: err}
	}
	if rest, found := cutOpen(command); found && h.Session == 0 {
		return &done{opened: m.table.Open(uint64(e.Index), raft.Incarnation(binary.BigEndian.Uint64(rest)), binary.BigEndian.Uint64(rest[8:]))}
	}
	fresh, _, err := m.table.Begin(uint64(e.Index), h)
	if err != nil {
		return &done{err: err}
	}
	if fresh {
		m.bytes += uint64(len(command))
		m.table.Finish(h, noResult)
	}
	return counted
}

func cutOpen(command []byte) ([]byte, bool) {
	if len(command) != len(openMarker)+16 || string(command[:len(openMarker)]) != openMarker {
		return nil, false
	}
	return command[len(openMarker):], true
}

func (m *machine) Applied() raft.SnapshotMeta {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta
}

// Durable says that nothing needs the log behind what was applied: the state is lost with the process, like those of the other
// systems, and no process starts anew here.
func (m *machine) Durable() raft.Index { return m.Applied().Index }

func (m *machine) Flush() {}

func (m *machine) Snapshot(context.Context) (node.Snapshot, error) { return nil, errNotHere }

func (m *machine) Stage(raft.SnapshotMeta) (node.Stage, error) { return nil, errNotHere }

func (m *machine) Install(raft.SnapshotMeta) error { return errNotHere }

// sessions tells the node how the machine's sessions are opened.
type sessions struct{}

func (sessions) Open(origin raft.Incarnation, nonce uint64) ([]byte, error) {
	b := binary.BigEndian.AppendUint64([]byte(openMarker), uint64(origin))
	return binary.BigEndian.AppendUint64(b, nonce), nil
}

func (sessions) Opened(result any) (uint64, bool) {
	d, ok := result.(*done)
	return d.opened, ok && d.opened != 0
}

func (sessions) Expired(result any) bool {
	d, ok := result.(*done)
	return ok && errors.Is(d.err, session.ErrExpired)
}
