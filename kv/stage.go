package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
)

const (
	// stageBatchBytes is what is committed to a store that is being staged at once.
	stageBatchBytes = 4 << 20
	// stagePieceBytes bounds what is taken from a Write at once, and with it by how much a batch is larger than stageBatchBytes.
	stagePieceBytes = 512 << 10
	// stageSyncBytes is what is left to the cache of the file system before it is synced. All of it at the end would take longer, since
	// the disk would have nothing to do until then, and whoever syncs a log on that disk would wait behind all of it.
	stageSyncBytes = 16 << 20
)

// Stage takes the bytes of a snapshot, checks them as they come and makes a store of them.
type Stage struct {
	machine *Machine
	meta    raft.SnapshotMeta
	cluster raft.ClusterID
	restore *restoring // nil unless the snapshot is another cluster's that is restored

	// mu guards the rest: a new Stage aborts this one, whoever is still writing to it.
	mu       sync.Mutex
	staging  store.Staging
	buffer   []byte // what came; the batch keeps slices of it
	parsed   int    // how much of the buffer is in the batch
	sum      snapshotSum
	batch    store.Batch
	records  uint64
	syncing  chan error // from the sync that is under way; nil if none is
	unsynced int        // bytes that were committed since the last one began
	started  bool       // the preamble was seen
	headed   bool       // the header was seen
	ended    bool       // the end was seen
	err      error
}

func stageName(meta raft.SnapshotMeta) string {
	return fmt.Sprintf("snapshot-%016x-%016x", uint64(meta.Term), uint64(meta.Index))
}

func stageIndex(name string) (raft.Index, bool) {
	var term, index uint64
	n, err := fmt.Sscanf(name, "snapshot-%016x-%016x", &term, &index)
	return raft.Index(index), n == 2 && err == nil
}

// discardStaged removes snapshots that the state has passed: the core takes none of them any more, and Install needs none. Those that are left are
// noted: one that the core has refused is removed by the flush that passes it.
func (m *Machine) discardStaged() error {
	m.staged.Store(false)
	names, err := m.disk.Staged()
	for _, name := range names {
		index, ok := stageIndex(name)
		if !ok {
			continue
		}
		if index > m.Applied().Index {
			m.staged.Store(true)
		} else {
			err = errors.Join(err, m.disk.Discard(name))
		}
	}
	if err != nil {
		m.staged.Store(true)
	}
	return err
}

// Stage returns where the bytes of an incoming snapshot go. Only one is written at a time: a new one aborts the one
// before it.
func (m *Machine) Stage(meta raft.SnapshotMeta) (*Stage, error) {
	m.mu.Lock()
	old, err, cluster := m.stage, m.unusable(), m.cluster
	m.stage = nil
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := old.Abort(); err != nil {
			return nil, err
		}
	}
	if err := m.discardStaged(); err != nil {
		return nil, err
	}
	staging, err := m.disk.Stage(stageName(meta))
	if err != nil {
		return nil, err
	}
	s := &Stage{machine: m, meta: meta, cluster: cluster, staging: staging}
	m.mu.Lock()
	m.stage = s
	m.mu.Unlock()
	return s, nil
}

// Write takes the next bytes. After an error the stage is of no use but to be aborted.
func (s *Stage) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := p; s.err == nil && len(rest) > 0; {
		n := min(len(rest), stagePieceBytes)
		s.buffer = append(s.buffer, rest[:n]...)
		rest = rest[n:]
		s.err = s.parse()
		if s.err == nil && s.batch.Bytes() >= stageBatchBytes {
			s.err = s.flush()
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

// parse takes all whole chunks of the buffer.
func (s *Stage) parse() error {
	rest := s.buffer[s.parsed:]
	if !s.started && len(rest) >= snapshotPreambleBytes {
		if string(rest[:len(snapshotMagic)]) != snapshotMagic {
			return errSnapshot("it does not begin with %q", snapshotMagic)
		}
		f := binary.BigEndian.Uint32(rest[len(snapshotMagic):])
		if f < firstStoreFormat || f > snapshotFormat {
			return errSnapshot("it has format %d, this build reads formats %d to %d", f, firstStoreFormat, snapshotFormat)
		}
		s.sum = newSnapshotSum(f)
		_, _ = s.sum.Write(rest[:snapshotPreambleBytes])
		rest = rest[snapshotPreambleBytes:]
		s.started = true
	}
	for s.started && len(rest) >= chunkHeaderBytes && !(s.ended && s.restore != nil) {
		n := binary.BigEndian.Uint32(rest)
		if n == 0 || n > maxChunkBytes {
			return errSnapshot("a chunk of %d bytes, the limit is %d", n, maxChunkBytes)
		}
		if len(rest) < chunkHeaderBytes+int(n) {
			break
		}
		header, body := rest[:chunkHeaderBytes], rest[chunkHeaderBytes:chunkHeaderBytes+int(n)]
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(header[4:]) {
			return errSnapshot("the checksum of a chunk does not match")
		}
		if err := s.chunk(body); err != nil {
			return err
		}
		s.sum.chunk(header, body)
		rest = rest[len(header)+len(body):]
	}
	s.parsed = len(s.buffer) - len(rest)
	if s.ended && len(rest) > 0 && (s.restore == nil || len(rest) > mostFileTail) {
		return errSnapshot("there are bytes behind its end")
	}
	return nil
}

func (s *Stage) chunk(body []byte) error {
	kind, body := body[0], body[1:]
	switch {
	case s.ended:
		return errSnapshot("there is a chunk behind its end")
	case (kind == chunkHeader) == s.headed:
		return errSnapshot("the header is not the first chunk")
	}
	switch kind {
	case chunkHeader:
		return s.head(body)
	case chunkRecords:
		return s.take(body)
	case chunkEnd:
		if len(body) != 8+s.sum.Size() {
			return errSnapshot("an end of %d bytes", len(body))
		}
		if n := binary.BigEndian.Uint64(body); n != s.records {
			return errSnapshot("%d records came, it was sent with %d", s.records, n)
		}
		if !bytes.Equal(body[8:], s.sum.Sum(nil)) {
			return errSnapshot("the checksum of the whole does not match")
		}
		s.ended = true
		return nil
	}
	return errSnapshot("a chunk of the unknown kind %d", kind)
}

func (s *Stage) head(body []byte) error {
	h, err := decodeHeaderChunk(body)
	if err != nil {
		return err
	}
	if s.restore != nil {
		s.headed = true
		if err := s.restore.rewrite(&h, s.cluster); err != nil {
			return err
		}
		return h.put(&s.batch)
	}
	if a := s.machine.options.Ancestor; h.cluster == 0 || a != 0 && h.cluster == a {
		h.cluster = s.cluster
	}
	if s.cluster != 0 && h.cluster != s.cluster {
		return &ClusterError{What: "the snapshot", Got: h.cluster, Want: s.cluster}
	}
	if got := h.logical.meta; got.Index != s.meta.Index || got.Term != s.meta.Term {
		return errSnapshot("it holds index %d of term %d instead of index %d of term %d", got.Index, got.Term, s.meta.Index, s.meta.Term)
	}
	s.headed = true
	return h.put(&s.batch)
}

func (s *Stage) take(body []byte) error {
	d := decoder{data: body}
	for len(d.data) > 0 {
		bucket := store.Bucket(d.byte())
		k, v := d.bytes(), d.bytes()
		if d.failed || len(k) == 0 || len(v) == 0 || bucket == bucketMeta || bucket > bucketLeases {
			return errSnapshot("a record cannot be decoded")
		}
		s.records++
		if s.restore == nil || bucket != bucketSessions {
			s.batch.Put(bucket, k, v)
		}
	}
	return nil
}

// flush commits the batch, after which nothing refers to what was parsed, and begins to sync now and then.
func (s *Stage) flush() error {
	if err := s.staging.Commit(&s.batch); err != nil {
		return err
	}
	s.unsynced += s.batch.Bytes()
	s.batch.Reset()
	s.buffer = append(s.buffer[:0], s.buffer[s.parsed:]...)
	s.parsed = 0
	if s.unsynced < stageSyncBytes || s.machine.options.Synchronous {
		return nil
	}
	if err := s.synced(); err != nil {
		return err
	}
	syncing := make(chan error, 1)
	s.syncing, s.unsynced = syncing, 0
	go func() { syncing <- s.staging.Sync() }()
	return nil
}

// synced waits for the sync that is under way, so that there is one at a time and what waits for the disk is bounded.
func (s *Stage) synced() error {
	if s.syncing == nil {
		return nil
	}
	err := <-s.syncing
	s.syncing = nil
	return err
}

// Commit checks that all came, makes it durable and keeps it for Install. After an error nothing of it is left: it is of the size of the state, and the disk may be full of it.
func (s *Stage) Commit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.commit(); err != nil {
		return errors.Join(err, s.abort())
	}
	s.err = ErrClosed
	return nil
}

func (s *Stage) commit() error {
	if s.err != nil {
		return s.err
	}
	if !s.ended {
		return errSnapshot("its end is missing")
	}
	if err := errors.Join(s.flush(), s.synced()); err != nil {
		return err
	}
	err := s.staging.Finish()
	s.machine.staged.Store(true) // also after an error, which may be that of a sync once the name was there
	return err
}

// Abort throws away what came. It does nothing after Commit.
func (s *Stage) Abort() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abort()
}

func (s *Stage) abort() error {
	s.err = ErrClosed
	s.buffer, s.batch = nil, store.Batch{}
	_ = s.synced() // what it wrote is thrown away
	return s.staging.Abort()
}

// ErrNotStaged is returned by Install when the snapshot is neither staged nor in force: it has to be sent again.
var ErrNotStaged = store.ErrNotStaged

// Install puts a staged snapshot in force: its store replaces the one in force, in one rename. It may be repeated. It never
// goes back: when the state is at meta.Index or later already, it only removes what is staged.
func (m *Machine) Install(meta raft.SnapshotMeta) error {
	m.maintenance.Lock()
	defer m.maintenance.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.unusable(); err != nil {
		return err
	}
	if m.current.meta.Index >= meta.Index {
		return m.disk.Discard(stageName(meta))
	}
	old := m.current.store
	s, err := m.disk.Adopt(stageName(meta))
	if errors.Is(err, store.ErrNotStaged) {
		return fmt.Errorf("install the snapshot of index %d: %w", meta.Index, err)
	}
	if err == nil {
		err = m.load(s)
	}
	if err != nil {
		return m.failLocked(fmt.Errorf("install the snapshot of index %d: %w", meta.Index, err))
	}
	m.retire(old)
	m.overlayMoved.Broadcast()
	m.log.Info("a snapshot is in force", "index", meta.Index, "revision", m.current.revision)
	return m.discardStaged()
}

// retire closes a store that was replaced, once its last view is closed; a synchronous machine does it in Close.
func (m *Machine) retire(old store.Store) {
	if m.options.Synchronous {
		m.replaced = append(m.replaced, old)
		return
	}
	m.retired.Go(func() {
		if err := old.Close(); err != nil {
			m.log.Warn("the store that a snapshot replaced did not close", "error", err)
		}
	})
}
