//go:build linux

package main

import (
	"os"
	"path/filepath"
	"syscall"

	hashicorp "github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	hashicorpwal "github.com/hashicorp/raft-wal"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
	"github.com/raftkv/raftkv/raft/wal"
)

// term is that of all entries.
const term = 1

// ours is raft/wal.
type ours struct {
	log     *wal.Log
	request raft.StoreRequest
	batch   [1]*raft.StoreRequest
}

func openRaftkv(dir string) (store, error) {
	log, _, err := wal.Open(vfs.OS{}, filepath.Join(dir, "log"), wal.Options{Identity: wal.Identity{Cluster: 1, Member: 1, Incarnation: 1}})
	if err != nil {
		return nil, err
	}
	o := &ours{log: log}
	o.batch[0] = &o.request
	return o, log.Append([]*raft.StoreRequest{{HardState: &raft.HardState{Term: term}}})
}

func (o *ours) Append(first uint64, data [][]byte) error {
	o.request.Entries = o.request.Entries[:0]
	for i, d := range data {
		o.request.Entries = append(o.request.Entries, raft.Entry{Term: term, Index: raft.Index(first) + raft.Index(i), Type: raft.EntryNormal, Data: d})
	}
	return o.log.Append(o.batch[:])
}

func (o *ours) Trim(index uint64) error {
	return o.log.Compact(raft.Position{Index: raft.Index(index), Term: term})
}

func (o *ours) Close() error { return o.log.Close() }

// entryOverheadBytes is what an entry takes beside its data in raftkv's log, frameOverheadBytes what a batch takes.
const (
	entryOverheadBytes = 12
	frameOverheadBytes = 16
)

// bare is a file to which as many bytes are appended as raftkv writes, with an fdatasync.
type bare struct {
	file   *os.File
	buffer []byte
	offset int64
}

func openBare(dir string) (store, error) {
	file, err := os.Create(filepath.Clean(filepath.Join(dir, "log")))
	return &bare{file: file}, err
}

func (b *bare) Append(_ uint64, data [][]byte) error {
	size := frameOverheadBytes
	for _, d := range data {
		size += entryOverheadBytes + len(d)
	}
	if cap(b.buffer) < size {
		b.buffer = make([]byte, size)
	}
	if _, err := b.file.WriteAt(b.buffer[:size], b.offset); err != nil {
		return err
	}
	b.offset += int64(size)
	return syscall.Fdatasync(int(b.file.Fd()))
}

func (b *bare) Trim(uint64) error { return nil }

func (b *bare) Close() error { return b.file.Close() }

// hashicorpStore is one of hashicorp/raft's.
type hashicorpStore struct {
	log   hashicorp.LogStore
	close func() error
	first uint64
	logs  []*hashicorp.Log
}

func openHashicorp(dir string) (store, error) {
	log, err := hashicorpwal.Open(dir)
	if err != nil {
		return nil, err
	}
	return &hashicorpStore{log: log, close: log.Close, first: 1}, nil
}

func openBolt(dir string) (store, error) {
	log, err := boltdb.New(boltdb.Options{Path: filepath.Join(dir, "log")})
	if err != nil {
		return nil, err
	}
	return &hashicorpStore{log: log, close: log.Close, first: 1}, nil
}

func (h *hashicorpStore) Append(first uint64, data [][]byte) error {
	h.logs = h.logs[:0]
	for i, d := range data {
		h.logs = append(h.logs, &hashicorp.Log{Index: first + uint64(i), Term: term, Type: hashicorp.LogCommand, Data: d})
	}
	return h.log.StoreLogs(h.logs)
}

func (h *hashicorpStore) Trim(index uint64) error {
	err := h.log.DeleteRange(h.first, index)
	h.first = index + 1
	return err
}

func (h *hashicorpStore) Close() error { return h.close() }
