package replica

import (
	"errors"
	"fmt"
	"io"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/raft/vfs"
)

// partSuffix marks an image that is being received.
const partSuffix = ".part"

// openImage is an image on its way to a follower. Its file stays readable when another takes its place.
type openImage struct {
	file vfs.File
	size int64
	meta raft.SnapshotMeta
}

func (s images) open(name string) (*openImage, error) {
	file, err := s.fs.OpenRead(s.path(name))
	if err != nil {
		return nil, err
	}
	r := &imageReader{path: s.path(name), file: file}
	if r.size, err = file.Size(); err == nil {
		var head imageHead
		if head, _, err = r.begin(); err == nil {
			return &openImage{file: file, size: r.size, meta: head.meta}, nil
		}
	}
	return nil, errors.Join(err, file.Close())
}

// Meta describes the state.
func (o *openImage) Meta() raft.SnapshotMeta { return o.meta }

// WriteTo writes the file as it is.
func (o *openImage) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, io.NewSectionReader(o.file, 0, o.size))
}

// Close closes the file.
func (o *openImage) Close() error { return o.file.Close() }

// stage is an image that is being received.
type stage struct {
	images  images
	meta    raft.SnapshotMeta
	cluster raft.ClusterID
	// ancestor is the other cluster whose state is taken; zero for none.
	ancestor raft.ClusterID
	file     vfs.File
	offset   int64
}

func (s images) stage(meta raft.SnapshotMeta, cluster, ancestor raft.ClusterID) (*stage, error) {
	file, err := s.fresh(stagedImage(meta) + partSuffix)
	if err != nil {
		return nil, err
	}
	return &stage{images: s, meta: meta, cluster: cluster, ancestor: ancestor, file: file}, nil
}

// Write takes the next bytes.
func (s *stage) Write(p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.offset)
	s.offset += int64(n)
	return n, err
}

// Commit checks the whole image and keeps it, durably, until it is installed.
func (s *stage) Commit() error {
	name := stagedImage(s.meta)
	err := errors.Join(s.file.Sync(), s.file.Close())
	if err == nil {
		err = s.check(name + partSuffix)
	}
	if err == nil {
		err = s.images.replace(name+partSuffix, name)
	}
	if err != nil { // a disk that is full is not to stay so
		err = errors.Join(err, s.images.remove(name+partSuffix))
	}
	return err
}

func (s *stage) check(name string) error {
	return s.images.read(name, func(head imageHead, _ *session.Table, state *imageReader) error {
		if head.cluster != s.cluster && (s.ancestor == 0 || head.cluster != s.ancestor) {
			return fmt.Errorf("the state is that of cluster %s, this is cluster %s", head.cluster, s.cluster)
		}
		if head.meta.Index != s.meta.Index || head.meta.Term != s.meta.Term {
			return fmt.Errorf("a state of index %d and term %d was announced, that of index %d and term %d came", s.meta.Index, s.meta.Term, head.meta.Index, head.meta.Term)
		}
		return state.drain()
	})
}

// Abort throws away what came.
func (s *stage) Abort() error {
	return errors.Join(s.file.Close(), s.images.fs.Remove(s.images.path(stagedImage(s.meta)+partSuffix)))
}
