package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/vfs"
)

const (
	// DefaultSegmentBytes is the size of a segment.
	DefaultSegmentBytes = 64 << 20
	// MinSegmentBytes is the least size of a segment.
	MinSegmentBytes = 4 << 10
	// writeBytes is the size past which a batch is stored in more than one write.
	writeBytes = 16 << 20
	// keptBufferBytes is the size past which a buffer is not kept for the next write.
	keptBufferBytes = 2 * writeBytes
)

// Options are fixed while a log is open.
type Options struct {
	// Identity is whose log it is.
	Identity Identity
	// SegmentBytes is the size of new segments; 0 means DefaultSegmentBytes. A write that needs more gets a larger one.
	SegmentBytes int64
	// MustExist refuses a directory without a log instead of beginning one in it: a member that has used a log before
	// must not go on without what it had promised there.
	MustExist bool
	// Inline has segments prepared when they are needed, without a goroutine, so that a simulation is deterministic.
	Inline bool
}

// Log is an open log. Its methods are called from one goroutine at a time.
type Log struct {
	fs      vfs.FS
	dir     string
	options Options
	lock    io.Closer
	// err is the first failure. The log does nothing any more once it is set.
	err error

	ledger
	file   vfs.File
	header segmentHeader
	seed   uint32
	// end is where the next frame goes, size the length of the file.
	end, size int64
	// lastCRC is the checksum of the header of the last frame.
	lastCRC uint32

	buffer     []byte
	rollBuffer []byte
	stock      stock
}

// Open locks the directory, which it makes when there is none, and reads the log in it. A torn write at the end is
// cut off. On any error nothing on the disk was changed, unless the error comes from changing it.
func Open(fs vfs.FS, dir string, options Options) (*Log, Recovered, error) {
	if options.SegmentBytes == 0 {
		options.SegmentBytes = DefaultSegmentBytes
	}
	if options.SegmentBytes < MinSegmentBytes {
		return nil, Recovered{}, fmt.Errorf("segments of %d bytes: the least is %d", options.SegmentBytes, MinSegmentBytes)
	}
	options.SegmentBytes = align(options.SegmentBytes)
	if options.MustExist {
		if err := mustExist(fs, dir); err != nil {
			return nil, Recovered{}, err
		}
	}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, Recovered{}, fmt.Errorf("make the directory of the write-ahead log: %w", err)
	}
	lock, err := fs.Lock(dir)
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("open the write-ahead log: %w; stop the process that uses it first", err)
	}
	l := &Log{fs: fs, dir: dir, options: options, lock: lock}
	l.stock = stock{fs: fs, dir: dir, segmentBytes: options.SegmentBytes, inline: options.Inline}
	recovered, err := l.open()
	if err != nil {
		l.stock.close()
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, Recovered{}, errors.Join(fmt.Errorf("open the write-ahead log in %s: %w", dir, err), lock.Close())
	}
	return l, recovered, nil
}

func mustExist(fs vfs.FS, dir string) error {
	found, err := list(fs, dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open the write-ahead log: %w", err)
	}
	if len(found.segments) == 0 {
		return &CorruptError{File: dir, Reason: "a log is expected, none is there"}
	}
	return nil
}

func (l *Log) open() (Recovered, error) {
	found, err := list(l.fs, l.dir)
	if err != nil {
		return Recovered{}, err
	}
	if len(found.segments) == 0 {
		return Recovered{}, l.create(found)
	}
	r := recovery{fs: l.fs, dir: l.dir, identity: l.options.Identity}
	if err := r.read(found.segments); err != nil {
		return Recovered{}, err
	}
	l.ledger = r.ledger
	recovered := Recovered{HardState: r.hardState, Start: r.start, Entries: r.entries, Snapshot: r.snapshot}
	for l.segments[0].sequence < l.first {
		l.segments = l.segments[1:]
	}
	if err := l.resume(&r); err != nil {
		return Recovered{}, err
	}
	if r.torn != "" {
		recovered.Repaired = fmt.Sprintf("%s: what was at offset %d and behind it was cut off: %s, so that it was never acknowledged",
			filepath.Join(l.dir, segmentName(r.tail.sequence)), r.end, r.torn)
	}
	leftovers := make([]string, 0, len(found.spares))
	for _, sequence := range r.leftovers(found.segments) {
		leftovers = append(leftovers, segmentName(sequence))
	}
	if err := l.tidy(append(leftovers, found.spares...)); err != nil {
		return Recovered{}, err
	}
	l.stock.prepare()
	return recovered, nil
}

// create makes the first segment of an empty log.
func (l *Log) create(found listing) error {
	if err := l.tidy(found.spares); err != nil {
		return err
	}
	l.adopt(state{first: 1})
	return l.roll(l.state, nil)
}

// tidy removes files that are of no use, and makes all names durable that were found: a process that died may
// have renamed a segment without having lived to sync the directory.
func (l *Log) tidy(names []string) error {
	for _, name := range names {
		if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	if err := l.fs.SyncDir(filepath.Dir(filepath.Clean(l.dir))); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// resume makes the end of the log ready for the next write. What was read from the last frame may so far be in the page
// cache only, because the process died before its sync, or because its sync failed, after which the kernel takes the
// pages for clean: only writing it once more, and then a sync, makes it durable. All frames before it were synced
// before it was written.
func (l *Log) resume(r *recovery) error {
	name := filepath.Join(l.dir, segmentName(r.tail.sequence))
	file, err := l.fs.Open(name)
	if err != nil {
		return err
	}
	l.file, l.header, l.seed = file, r.tail, r.tail.seed()
	l.end, l.lastCRC = r.end, r.lastFrame.crc
	l.size = l.segments[len(l.segments)-1].size
	if r.torn != "" {
		if err := file.Truncate(l.end); err != nil {
			return err
		}
	}
	if err := file.Preallocate(l.size); err != nil {
		return l.full(l.size-l.end, err)
	}
	again := make([]byte, l.end-r.lastFrame.offset, l.end-r.lastFrame.offset+frameHeaderBytes)
	if _, err := file.ReadAt(again, r.lastFrame.offset); err != nil {
		return err
	}
	again = l.appendBlank(again, l.end)
	if _, err := file.WriteAt(again, r.lastFrame.offset); err != nil {
		return l.full(int64(len(again)), err)
	}
	return file.Sync()
}

// appendBlank appends the blank frame header that every write ends with, if the segment has room for it at end.
func (l *Log) appendBlank(b []byte, end int64) []byte {
	if end+frameHeaderBytes > l.size {
		return b
	}
	return append(b, blankFrameHeader[:]...)
}

// Append stores requests in order. When it returns nil all of them are on stable storage; on an error any
// part of them may be, and the log is of no use any more.
func (l *Log) Append(batch []*raft.StoreRequest) error {
	if l.err != nil {
		return l.err
	}
	w := l.beginWrite()
	for _, request := range batch {
		if err := l.encode(&w, request); err != nil {
			return l.fail(err)
		}
	}
	return l.fail(l.flush(&w))
}

// write is a frame in the making.
type write struct {
	// before is the state without it, for the state frame in case that it opens a segment.
	before state
	// lowest is the lowest index of its entries; 0: none.
	lowest raft.Index
}

func (l *Log) beginWrite() write {
	var room [frameHeaderBytes]byte
	l.buffer = append(l.buffer[:0], room[:]...)
	return write{before: l.state}
}

func (l *Log) encode(w *write, request *raft.StoreRequest) error {
	if h := request.HardState; h != nil && *h != l.hardState {
		if err := l.setHardState(*h); err != nil {
			return err
		}
		l.buffer = appendHardState(l.buffer, *h)
	}
	if meta := request.Snapshot; meta != nil {
		keep := l.holds(raft.Position{Index: meta.Index, Term: meta.Term})
		if err := l.install(meta, keep); err != nil {
			return err
		}
		var err error
		if l.buffer, err = appendInstall(l.buffer, *meta, keep); err != nil {
			return err
		}
	}
	for i := range request.Entries {
		if err := l.encodeEntry(w, &request.Entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) encodeEntry(w *write, e *raft.Entry) error {
	if size := e.EncodedSize(); size > maxPayloadBytes-len(l.buffer)-recordHeaderBytes {
		return fmt.Errorf("entry %d has %d bytes; a write has at most %d", e.Index, size, maxPayloadBytes)
	}
	if err := l.addEntry(e.Index, e.Term); err != nil {
		return err
	}
	var err error
	if l.buffer, err = appendEntry(l.buffer, e); err != nil {
		return err
	}
	if w.lowest == 0 || e.Index < w.lowest {
		w.lowest = e.Index
	}
	if len(l.buffer) < writeBytes {
		return nil
	}
	if err := l.flush(w); err != nil {
		return err
	}
	*w = l.beginWrite()
	return nil
}

// flush stores the frame in the buffer with one write and one sync.
func (l *Log) flush(w *write) error {
	if len(l.buffer) == frameHeaderBytes {
		return nil
	}
	if frameEnd(l.end, int64(len(l.buffer)-frameHeaderBytes)) > l.size {
		if err := l.roll(w.before, l.buffer); err != nil {
			return err
		}
	} else if err := l.put(frameBatch); err != nil {
		return err
	}
	if w.lowest != 0 {
		l.locate(w.lowest, l.end-align(int64(len(l.buffer))))
	}
	if cap(l.buffer) > keptBufferBytes {
		l.buffer = nil
	}
	return nil
}

// put stores the buffer as a frame at the end of the segment, which has room for it, and leaves in the buffer
// what the frame alone has.
func (l *Log) put(kind frameKind) error {
	at := l.end
	l.buffer = sealFrame(l.buffer, 0, kind, l.seed, at)
	length := len(l.buffer)
	crc := frameChecksum(l.buffer, l.seed, at)
	l.buffer = l.appendBlank(l.buffer, at+int64(length))
	if _, err := l.file.WriteAt(l.buffer, at); err != nil {
		return l.full(int64(len(l.buffer)), fmt.Errorf("write to the write-ahead log: %w", err))
	}
	if err := l.file.Sync(); err != nil {
		return l.full(0, fmt.Errorf("sync the write-ahead log: %w", err))
	}
	l.buffer = l.buffer[:length]
	l.end, l.lastCRC = at+int64(length), crc
	return nil
}

// fail keeps the first error for ever.
func (l *Log) fail(err error) error {
	if err != nil {
		l.err = fmt.Errorf("%w (the write-ahead log in %s takes no more writes until it is opened again)", err, l.dir)
	}
	return l.err
}

// full makes a FullError of an error that says that there is no room.
func (l *Log) full(needed int64, err error) error {
	if !vfs.IsNoSpace(err) {
		return err
	}
	free, statErr := l.fs.FreeSpace(l.dir)
	if statErr != nil {
		free = -1
	}
	return &FullError{Dir: l.dir, Needed: needed, Free: free, Err: err}
}

// Close ends the use of the log. If nothing has failed it leaves a mark by which damage to the last write can be told
// from a write that was never finished.
func (l *Log) Close() error {
	if errors.Is(l.err, ErrClosed) {
		return ErrClosed
	}
	var err error
	if l.err == nil && l.end+frameHeaderBytes <= l.size {
		l.beginWrite()
		err = l.put(frameClosed)
	}
	l.err = ErrClosed
	l.stock.close()
	return errors.Join(err, l.file.Close(), l.lock.Close())
}
