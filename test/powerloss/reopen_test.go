//go:build linux

package powerloss

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
	"github.com/raftkv/raftkv/replica/identity"
)

const (
	// quotaBytes bounds the address space of a store that is opened, segmentBytes is the size of a segment that opening it may make.
	quotaBytes   = 256 << 20
	segmentBytes = 32 << 10
)

// member is what a node's directory holds after a power cut, opened as the node opens it.
type member struct {
	name    string
	dir     *identity.Dir
	machine *kv.Machine
	log     *wal.Log
	found   wal.Recovered
	// last is the last entry of the log.
	last raft.Position
}

// reopen opens a directory. A member without a log is one that has not become a member yet.
func reopen(root, name string) (_ *member, err error) {
	m := &member{name: name}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", name, err), m.close())
		}
	}()
	if m.dir, err = identity.Open(filepath.Join(root, name), name); err != nil {
		return nil, err
	}
	id := m.dir.Identity()
	if id.Empty() {
		return m, nil
	}
	m.machine, err = kv.Open(kv.Options{
		Dir: filepath.Join(m.dir.MemberPath(), "kv"), ClusterID: id.ClusterID, MustExist: true, QuotaBytes: quotaBytes,
		MaxResultBytes: math.MaxInt, FlushBytes: math.MaxInt, Synchronous: true,
	})
	if err != nil {
		return nil, err
	}
	m.log, m.found, err = wal.Open(vfs.OS{}, filepath.Join(m.dir.MemberPath(), "wal"), wal.Options{
		Identity:     wal.Identity{Cluster: id.ClusterID, Member: id.MemberID, Incarnation: id.Incarnation},
		SegmentBytes: segmentBytes, MustExist: true, Inline: true,
	})
	if err != nil {
		return nil, err
	}
	if s := m.found.Snapshot; s != nil && s.Index > m.machine.Applied().Index {
		if err := m.machine.Install(*s); err != nil {
			return nil, err
		}
	}
	m.last = m.found.Start
	if n := len(m.found.Entries); n > 0 {
		m.last = raft.Position{Index: m.found.Entries[n-1].Index, Term: m.found.Entries[n-1].Term}
	}
	// Rule 2: the log is never cut past what the store holds, and the store never ahead of the log.
	if applied := m.machine.Applied().Index; applied < m.found.Start.Index || applied > m.last.Index {
		return nil, fmt.Errorf("the state is that of entry %d, the log holds those from %d to %d", applied, m.found.Start.Index+1, m.last.Index)
	}
	return m, nil
}

// joined tells whether the directory is a member's.
func (m *member) joined() bool { return m.log != nil }

// newer tells whether the log is at least as up to date as another, so that its owner may win the other's vote (§5.4.1).
func (m *member) newer(than *member) bool {
	if m.last.Term != than.last.Term {
		return m.last.Term > than.last.Term
	}
	return m.last.Index >= than.last.Index
}

// state applies what the log holds, as a leader of a new term does, and returns all keys.
func (m *member) state() ([]kv.KeyValue, error) {
	var rest []raft.Entry
	for _, e := range m.found.Entries {
		if e.Index > m.machine.Applied().Index {
			rest = append(rest, e)
		}
	}
	if len(rest) > 0 {
		if _, err := m.machine.Apply(rest); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	result, err := m.machine.Range(context.Background(), kv.RangeRequest{Keys: kv.All()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	return result.Items, nil
}

func (m *member) close() error {
	var err error
	if m.log != nil {
		err = m.log.Close()
	}
	if m.machine != nil {
		err = errors.Join(err, m.machine.Close())
	}
	if m.dir != nil {
		err = errors.Join(err, m.dir.Close())
	}
	return err
}

// verify tells what is wrong with a disk's image after a cut.
func (r *run) verify(root string, cut int) (err error) {
	var members []*member
	for _, name := range r.names {
		m, err := reopen(root, name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.close()) }()
		if !m.joined() && cut >= r.formed {
			return fmt.Errorf("%s is no member any more", name)
		}
		if m.joined() {
			members = append(members, m)
		}
		if err := r.remembers(m, cut); err != nil {
			return err
		}
	}
	if len(members) <= len(r.names)/2 {
		if r.history.acked(cut) {
			return fmt.Errorf("writes were acknowledged by %d of %d members", len(members), len(r.names))
		}
		return nil
	}
	for _, m := range members {
		votes := 0
		for _, other := range members {
			if m.newer(other) {
				votes++
			}
		}
		if votes <= len(r.names)/2 {
			continue
		}
		found, err := m.state()
		if err != nil {
			return err
		}
		if err := r.history.check(found, cut); err != nil {
			return fmt.Errorf("%s, which may lead now: %w", m.name, err)
		}
	}
	return nil
}

// remembers checks that a member knows the terms in which it led.
func (r *run) remembers(m *member, cut int) error {
	for _, reign := range r.reigns {
		if reign.leader != m.name || reign.seen > cut {
			continue
		}
		h := m.found.HardState
		if h.Term < reign.term || h.Term == reign.term && h.Vote != m.dir.Identity().MemberID {
			return fmt.Errorf("%s led in term %d, and knows of term %d and a vote for %s", m.name, reign.term, h.Term, h.Vote)
		}
	}
	return nil
}
