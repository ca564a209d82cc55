package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/raft/vfs"
)

// memory is the Machine of a StateMachine: it keeps the sessions, and saves the state as an image from time to time.
type memory struct {
	images  images
	cluster raft.ClusterID
	// ancestor is the other cluster whose state is taken over; zero for none.
	ancestor raft.ClusterID

	// mu is held by whoever uses the application's state machine.
	mu       sync.Mutex
	app      StateMachine
	sessions *session.Table
	failure  error         // set once, before failed is closed
	failed   chan struct{} // closed when the machine must not go on

	applied atomic.Pointer[raft.SnapshotMeta]
	durable atomic.Uint64

	saving  sync.Mutex // one image is made at a time
	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// stateDir is the images' place in a member's directory.
const stateDir = "state"

func openMemory(app StateMachine, p Place) (Machine, error) {
	return openImages(app, p, vfs.OS{})
}

// openImages restores the newest image, or makes the first one.
func openImages(app StateMachine, p Place, fs vfs.FS) (*memory, error) {
	m := &memory{
		images: images{fs: fs, dir: filepath.Join(p.Dir, stateDir)}, cluster: p.Cluster, ancestor: p.Ancestor, app: app, sessions: session.NewTable(),
		failed: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	m.applied.Store(&raft.SnapshotMeta{})
	var err error
	if p.New {
		if err = m.images.make(); err == nil {
			err = m.save()
		}
	} else if err = m.images.clean(); err == nil {
		if err = m.restore(currentImage); err == nil {
			err = m.images.discard(m.Durable())
		}
	}
	if err != nil {
		return nil, err
	}
	go m.saver()
	return m, nil
}

// restore takes the state from an image. The caller holds mu or is alone.
func (m *memory) restore(name string) error {
	return m.images.read(name, func(head imageHead, sessions *session.Table, state *imageReader) error {
		if head.cluster != m.cluster && (m.ancestor == 0 || head.cluster != m.ancestor) {
			return fmt.Errorf("the image is of cluster %s, this is cluster %s: another directory's files were put here", head.cluster, m.cluster)
		}
		if head.meta.Index > 0 {
			if err := m.app.Restore(state); err != nil {
				return fmt.Errorf("the application cannot restore the state of index %d: %w", head.meta.Index, err)
			}
		}
		if err := state.drain(); err != nil {
			return err
		}
		m.sessions = sessions
		m.applied.Store(&head.meta)
		if head.cluster == m.cluster { // an ancestor's image is saved anew under this cluster's ID
			m.durable.Store(uint64(head.meta.Index))
		}
		return nil
	})
}

// The commands in the log: a kind, then the application's command, or the origin of a session.
const (
	kindCommand = 0
	kindSession = 1
)

func wrap(command []byte) []byte {
	return append(append(make([]byte, 0, len(command)+1), kindCommand), command...)
}

// answer is what the node gets for an entry.
type answer struct {
	data    []byte
	session uint64
	err     error
}

// Of an answer that a session keeps, the first byte tells whether it is whole.
const (
	keptWhole = 0
	keptNot   = 1
)

func (a *answer) keep() []byte {
	if len(a.data) >= session.MaxResultBytes {
		return []byte{keptNot}
	}
	return append([]byte{keptWhole}, a.data...)
}

func kept(b []byte) *answer {
	if len(b) == 0 || b[0] != keptWhole {
		return &answer{err: ErrAnswerLost}
	}
	return &answer{data: b[1:]}
}

// errMalformed says that no replica of this library has made the entry.
var errMalformed = errors.New("the command is malformed")

// numbered is a place in a session.
type numbered struct{ session, sequence uint64 }

// batch is what of some entries the application has to apply.
type batch struct {
	commands []Command
	answers  []*answer // one for each command
	headers  []session.Header
	pending  map[numbered]*answer // of this batch, whose answers are not known yet
}

// Apply is that of node.StateMachine. It looks at the sessions of all entries first, which does not depend on what the application answers, and then gives it all that is
// fresh at once.
func (m *memory) Apply(entries []raft.Entry) ([]any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return nil, m.failure
	}
	results, err := m.apply(entries)
	if err != nil {
		m.fail(err) // what was applied by half must never be saved
	}
	return results, err
}

func (m *memory) apply(entries []raft.Entry) ([]any, error) {
	meta := *m.applied.Load()
	results := make([]any, len(entries))
	b := batch{pending: map[numbered]*answer{}}
	for i := range entries {
		e := &entries[i]
		if e.Index != meta.Index+1 {
			return nil, fmt.Errorf("entry %d cannot follow index %d", e.Index, meta.Index)
		}
		switch e.Type {
		case raft.EntryNormal:
			results[i] = m.enter(&b, e)
		case raft.EntryEmpty:
		case raft.EntryMembership:
			var members raft.Membership
			if err := members.UnmarshalBinary(e.Data); err != nil {
				return nil, err
			}
			meta.Membership = members
		case raft.EntryClusterVersion:
			if len(e.Data) != 4 {
				return nil, fmt.Errorf("entry %d: a cluster version of %d bytes", e.Index, len(e.Data))
			}
			meta.ClusterVersion = binary.BigEndian.Uint32(e.Data)
		default:
			return nil, fmt.Errorf("entry %d: unknown type %s: a newer build wrote it", e.Index, e.Type)
		}
		meta.Index, meta.Term = e.Index, e.Term
	}
	if err := m.finish(&b); err != nil {
		return nil, err
	}
	m.applied.Store(&meta)
	return results, nil
}

// enter decides whether an entry's command is to be applied, and returns where its answer will be.
func (m *memory) enter(b *batch, e *raft.Entry) *answer {
	h, data, err := session.Decode(e.Data)
	if err != nil || len(data) == 0 {
		return &answer{err: errMalformed}
	}
	if data[0] == kindSession {
		return m.openSession(e.Index, data[1:])
	}
	fresh, result, err := m.sessions.Begin(uint64(e.Index), h)
	place := numbered{h.Session, h.Sequence}
	switch {
	case err != nil:
		return &answer{err: err}
	case !fresh && b.pending[place] != nil:
		return b.pending[place]
	case !fresh:
		return kept(result)
	}
	a := &answer{}
	b.commands = append(b.commands, Command{Index: uint64(e.Index), Data: data[1:]})
	b.answers, b.headers = append(b.answers, a), append(b.headers, h)
	if h.Session != 0 {
		b.pending[place] = a
		m.sessions.Finish(h, nil) // takes its place, and perhaps that of older ones, in the order of the log
	}
	return a
}

// finish has the application apply, and the sessions keep what it answers.
func (m *memory) finish(b *batch) error {
	if len(b.commands) == 0 {
		return nil
	}
	answers := m.app.Apply(b.commands)
	if len(answers) != len(b.commands) {
		return fmt.Errorf("the application gave %d answers for %d commands", len(answers), len(b.commands))
	}
	for i, a := range b.answers {
		a.data = answers[i]
		m.sessions.Amend(b.headers[i], a.keep())
	}
	return nil
}

func (m *memory) openSession(index raft.Index, data []byte) *answer {
	var v [2]uint64
	for i := range v {
		x, n := binary.Uvarint(data)
		if n <= 0 {
			return &answer{err: errMalformed}
		}
		v[i], data = x, data[n:]
	}
	return &answer{session: m.sessions.Open(uint64(index), raft.Incarnation(v[0]), v[1])}
}

// Open is that of node.Sessions.
func (m *memory) Open(origin raft.Incarnation, nonce uint64) ([]byte, error) {
	b := binary.AppendUvarint([]byte{kindSession}, uint64(origin))
	return binary.AppendUvarint(b, nonce), nil
}

// Opened is that of node.Sessions.
func (m *memory) Opened(result any) (uint64, bool) {
	a, ok := result.(*answer)
	return sessionOf(a), ok && sessionOf(a) != 0
}

func sessionOf(a *answer) uint64 {
	if a == nil {
		return 0
	}
	return a.session
}

// Expired is that of node.Sessions.
func (m *memory) Expired(result any) bool {
	a, ok := result.(*answer)
	return ok && a != nil && errors.Is(a.err, session.ErrExpired)
}

// Applied is that of node.StateMachine.
func (m *memory) Applied() raft.SnapshotMeta { return *m.applied.Load() }

// Durable is that of node.StateMachine.
func (m *memory) Durable() raft.Index { return raft.Index(m.durable.Load()) }

// fail keeps the first error. The caller holds mu.
func (m *memory) fail(err error) {
	if m.failure == nil {
		m.failure = err
		close(m.failed)
	}
}

// Failed is that of Failing.
func (m *memory) Failed() <-chan struct{} { return m.failed }

// Failure is that of Failing.
func (m *memory) Failure() error {
	select {
	case <-m.failed:
		return m.failure
	default:
		return nil
	}
}

// look runs read while nothing is applied, on a state that is whole.
func (m *memory) look(read func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return fmt.Errorf("%w: %w", ErrStopped, m.failure)
	}
	read()
	return nil
}

// Flush asks for an image.
func (m *memory) Flush() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *memory) saver() {
	defer close(m.stopped)
	for {
		select {
		case <-m.stop:
			return
		case <-m.wake:
		}
		if err := m.save(); err != nil {
			m.mu.Lock()
			m.fail(err)
			m.mu.Unlock()
			return
		}
	}
}

// save makes an image of what was applied, and puts it in the place of the one before. Apply waits while the application writes, and not
// for the disk.
func (m *memory) save() error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	meta := m.Applied()
	if m.failure != nil || (meta.Index > 0 && meta.Index == m.Durable()) {
		defer m.mu.Unlock()
		return m.failure
	}
	w, err := m.images.create(newImage, imageHead{meta: meta, cluster: m.cluster}, m.sessions)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	err = m.app.Snapshot(w)
	m.mu.Unlock()
	if err != nil {
		return errors.Join(fmt.Errorf("the application cannot write its state: %w", err), w.abort())
	}
	if err := w.commit(currentImage); err != nil {
		return err
	}
	m.durable.Store(uint64(meta.Index))
	// One that the core has refused, since it had all that is in it, is of the size of the state. Install needs none that is durable otherwise.
	_ = m.images.discard(meta.Index) // what is not removed now is with the next image
	return nil
}

// Snapshot opens the newest image for a follower.
func (m *memory) Snapshot(context.Context) (node.Snapshot, error) {
	s, err := m.images.open(currentImage)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Stage is that of node.StateMachine.
func (m *memory) Stage(meta raft.SnapshotMeta) (node.Stage, error) {
	if err := m.images.discard(m.Applied().Index); err != nil {
		return nil, err
	}
	s, err := m.images.stage(meta, m.cluster, m.ancestor)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Install is that of node.StateMachine.
func (m *memory) Install(meta raft.SnapshotMeta) error {
	m.saving.Lock()
	defer m.saving.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return m.failure
	}
	staged, err := m.images.exists(stagedImage(meta))
	if err != nil {
		return err
	}
	if !staged {
		if m.Durable() >= meta.Index {
			return nil
		}
		return fmt.Errorf("the staged image of index %d is gone: remove the member from the cluster and add this node as a new one", meta.Index)
	}
	if err = m.images.replace(stagedImage(meta), currentImage); err == nil {
		err = m.restore(currentImage)
	}
	if err != nil {
		m.fail(err) // what was restored by half must never be saved, least of all in the place of that image
	}
	return err
}

// Close makes what was applied durable and gives the files back.
func (m *memory) Close() error {
	close(m.stop)
	<-m.stopped
	return m.save()
}
