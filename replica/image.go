package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/raft/vfs"
)

// An image is a file with a whole state: the magic and the format's version, then frames. A frame is its kind u8, the length of its data u32, a
// CRC32C of kind, length and data u32, then the data; integers are big-endian. First comes the head, then the table of sessions, then
// what the application wrote, cut into pieces, and last the end, which holds the number of frames before it.
const (
	imageMagic  = "raftkv-image\n"
	imageFormat = 1

	frameHead     = 1
	frameSessions = 2
	frameState    = 3
	frameEnd      = 4

	frameHeadBytes = 9
	// imagePieceBytes is the size of the application's pieces, maxFrameBytes bounds any frame.
	imagePieceBytes = 256 << 10
	maxFrameBytes   = 64 << 20
)

// Names of images.
const (
	currentImage = "image"
	newImage     = "image.new"
	stagedPrefix = "staged-"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ImageError says that a saved state cannot be used. Nothing was changed.
type ImageError struct {
	File   string
	Offset int64
	Reason string
}

func (e *ImageError) Error() string {
	return fmt.Sprintf("%s, at byte %d: %s: the saved state is damaged. Restore the file, or start with an empty data directory, remove the member "+
		"from the cluster and add the node as a new one", e.File, e.Offset, e.Reason)
}

type imageHead struct {
	meta    raft.SnapshotMeta
	cluster raft.ClusterID
}

func (h imageHead) encode() ([]byte, error) {
	b := binary.BigEndian.AppendUint64(nil, uint64(h.meta.Index))
	b = binary.BigEndian.AppendUint64(b, uint64(h.meta.Term))
	b = binary.BigEndian.AppendUint64(b, uint64(h.cluster))
	b = binary.BigEndian.AppendUint32(b, h.meta.ClusterVersion)
	return h.meta.Membership.AppendBinary(b)
}

const imageHeadBytes = 28

func decodeImageHead(b []byte) (h imageHead, err error) {
	if len(b) < imageHeadBytes {
		return h, fmt.Errorf("a head of %d bytes", len(b))
	}
	h.meta.Index, h.meta.Term = raft.Index(binary.BigEndian.Uint64(b)), raft.Term(binary.BigEndian.Uint64(b[8:]))
	h.cluster, h.meta.ClusterVersion = raft.ClusterID(binary.BigEndian.Uint64(b[16:])), binary.BigEndian.Uint32(b[24:])
	return h, h.meta.Membership.UnmarshalBinary(b[imageHeadBytes:])
}

// images are the files of one member's states.
type images struct {
	fs  vfs.FS
	dir string
}

func (s images) path(name string) string { return filepath.Join(s.dir, name) }

func stagedImage(meta raft.SnapshotMeta) string {
	return fmt.Sprintf("%s%016x-%016x", stagedPrefix, uint64(meta.Term), uint64(meta.Index))
}

func (s images) make() error {
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(s.dir))
}

// clean removes what an interrupted save or stream has left. A staged image stays: the log may say that it is to be installed. Names that are found
// are made durable: the process before this one may have ended between renaming an image and syncing the directory.
func (s images) clean() error {
	if err := s.remove(newImage); err != nil {
		return err
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, stagedPrefix) && strings.HasSuffix(n, partSuffix) {
			if err := s.remove(n); err != nil {
				return err
			}
		}
	}
	return s.fs.SyncDir(s.dir)
}

// discard removes staged images that the state has passed: the core takes none of them any more. One that is still being received is its stage's.
func (s images) discard(passed raft.Index) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		var term, index uint64
		got, err := fmt.Sscanf(n, stagedPrefix+"%016x-%016x", &term, &index)
		if err != nil || got != 2 || raft.Index(index) > passed || strings.HasSuffix(n, partSuffix) {
			continue
		}
		if err := s.remove(n); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file, if it is there.
func (s images) remove(name string) error {
	if err := s.fs.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s images) exists(name string) (bool, error) {
	_, err := s.fs.Size(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// replace puts one image in the place of another, durably.
func (s images) replace(from, to string) error {
	if err := s.fs.Rename(s.path(from), s.path(to)); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// fresh makes an empty file, in place of one of that name.
func (s images) fresh(name string) (vfs.File, error) {
	if err := s.remove(name); err != nil {
		return nil, err
	}
	return s.fs.Create(s.path(name))
}

// imageWriter writes an image; the application's state goes through Write.
type imageWriter struct {
	images images
	name   string
	file   vfs.File
	offset int64
	piece  []byte
	frames uint64
}

func (s images) create(name string, head imageHead, sessions *session.Table) (_ *imageWriter, err error) {
	w := &imageWriter{images: s, name: name}
	if w.file, err = s.fresh(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.abort())
		}
	}()
	preamble := binary.BigEndian.AppendUint32([]byte(imageMagic), imageFormat)
	if err := w.put(preamble); err != nil {
		return nil, err
	}
	data, err := head.encode()
	if err != nil {
		return nil, err
	}
	if err := w.frame(frameHead, data); err != nil {
		return nil, err
	}
	var table []byte
	for _, r := range sessions.Records() {
		for _, x := range [][]byte{r.Key, r.Value} {
			table = append(binary.AppendUvarint(table, uint64(len(x))), x...)
		}
	}
	return w, w.frame(frameSessions, table)
}

func (w *imageWriter) put(b []byte) error {
	n, err := w.file.WriteAt(b, w.offset)
	w.offset += int64(n)
	return err
}

func (w *imageWriter) frame(kind byte, data []byte) error {
	if len(data) > maxFrameBytes {
		return fmt.Errorf("a frame of %d bytes is too long for an image", len(data))
	}
	b := make([]byte, 0, frameHeadBytes+len(data))
	b = binary.BigEndian.AppendUint32(append(b, kind), uint32(len(data)))
	b = append(binary.BigEndian.AppendUint32(b, frameSum(b, data)), data...)
	w.frames++
	return w.put(b)
}

// frameSum takes kind and length, and the data.
func frameSum(head, data []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, data)
}

// Write takes the application's state.
func (w *imageWriter) Write(p []byte) (int, error) {
	w.piece = append(w.piece, p...)
	for len(w.piece) >= imagePieceBytes {
		if err := w.frame(frameState, w.piece[:imagePieceBytes]); err != nil {
			return 0, err
		}
		w.piece = append(w.piece[:0], w.piece[imagePieceBytes:]...)
	}
	return len(p), nil
}

// commit ends the image and puts it in the place of another, durably.
func (w *imageWriter) commit(as string) error {
	var err error
	if len(w.piece) > 0 {
		err = w.frame(frameState, w.piece)
	}
	if err == nil {
		err = w.frame(frameEnd, binary.BigEndian.AppendUint64(nil, w.frames))
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err = errors.Join(err, w.file.Close()); err != nil {
		return err
	}
	return w.images.replace(w.name, as)
}

func (w *imageWriter) abort() error {
	return errors.Join(w.file.Close(), w.images.fs.Remove(w.images.path(w.name)))
}

// imageReader reads an image and checks it; Read gives the application's state.
type imageReader struct {
	path   string
	file   vfs.File
	size   int64
	offset int64
	frames uint64
	piece  []byte
	ended  bool
}

// read gives an image's parts to take, which must read the state to its end.
func (s images) read(name string, take func(imageHead, *session.Table, *imageReader) error) error {
	file, err := s.fs.OpenRead(s.path(name))
	if err != nil {
		return err
	}
	r := &imageReader{path: s.path(name), file: file}
	if r.size, err = file.Size(); err == nil {
		var head imageHead
		var sessions *session.Table
		if head, sessions, err = r.begin(); err == nil {
			err = take(head, sessions, r)
		}
	}
	return errors.Join(err, file.Close())
}

func (r *imageReader) damaged(format string, args ...any) error {
	return &ImageError{File: r.path, Offset: r.offset, Reason: fmt.Sprintf(format, args...)}
}

func (r *imageReader) begin() (head imageHead, _ *session.Table, err error) {
	preamble := make([]byte, len(imageMagic)+4)
	if _, err := r.file.ReadAt(preamble, 0); err != nil && !errors.Is(err, io.EOF) {
		return head, nil, err
	}
	if string(preamble[:len(imageMagic)]) != imageMagic {
		return head, nil, r.damaged("it does not begin with %q", imageMagic)
	}
	if f := binary.BigEndian.Uint32(preamble[len(imageMagic):]); f != imageFormat {
		return head, nil, fmt.Errorf("%s has format %d, this build reads format %d: start the build that wrote it", r.path, f, imageFormat)
	}
	r.offset = int64(len(preamble))
	data, err := r.expect(frameHead)
	if err != nil {
		return head, nil, err
	}
	if head, err = decodeImageHead(data); err != nil {
		return head, nil, r.damaged("%v", err)
	}
	if data, err = r.expect(frameSessions); err != nil {
		return head, nil, err
	}
	sessions, err := session.Load(func() (session.Record, error) { return nextRecord(&data) })
	if err != nil {
		return head, nil, r.damaged("%v", err)
	}
	return head, sessions, nil
}

func nextRecord(data *[]byte) (r session.Record, err error) {
	if len(*data) == 0 {
		return r, nil
	}
	for _, p := range []*[]byte{&r.Key, &r.Value} {
		n, width := binary.Uvarint(*data)
		if width <= 0 || n > uint64(len(*data)-width) {
			return r, errors.New("the table of sessions is cut off")
		}
		*p = (*data)[width : width+int(n)]
		*data = (*data)[width+int(n):]
	}
	return r, nil
}

func (r *imageReader) expect(kind byte) ([]byte, error) {
	got, data, err := r.next()
	if err == nil && got != kind {
		return nil, r.damaged("a frame of kind %d where one of kind %d belongs", got, kind)
	}
	return data, err
}

func (r *imageReader) next() (kind byte, data []byte, err error) {
	var head [frameHeadBytes]byte
	if r.size-r.offset < frameHeadBytes {
		return 0, nil, r.damaged("it is cut off")
	}
	if _, err := r.file.ReadAt(head[:], r.offset); err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	length := int64(binary.BigEndian.Uint32(head[1:]))
	if length > maxFrameBytes || length > r.size-r.offset-frameHeadBytes {
		return 0, nil, r.damaged("a frame of %d bytes is cut off", length)
	}
	data = make([]byte, length)
	if _, err := r.file.ReadAt(data, r.offset+frameHeadBytes); err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	if frameSum(head[:5], data) != binary.BigEndian.Uint32(head[5:]) {
		return 0, nil, r.damaged("the checksum does not match")
	}
	r.offset += frameHeadBytes + length
	r.frames++
	return head[0], data, nil
}

// Read gives the application's state, each piece checked before any of it is given.
func (r *imageReader) Read(p []byte) (int, error) {
	for len(r.piece) == 0 && !r.ended {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	if r.ended && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

func (r *imageReader) advance() error {
	before := r.frames
	kind, data, err := r.next()
	switch {
	case err != nil:
		return err
	case kind == frameState:
		r.piece = data
		return nil
	case kind != frameEnd:
		return r.damaged("a frame of kind %d among the state's", kind)
	case len(data) != 8 || binary.BigEndian.Uint64(data) != before:
		return r.damaged("its end counts other frames than there are")
	case r.offset != r.size:
		return r.damaged("%d bytes follow the end", r.size-r.offset)
	}
	r.ended = true
	return nil
}

// drain reads to the end, so that all of the file was checked.
func (r *imageReader) drain() error {
	_, err := io.Copy(io.Discard, r)
	return err
}
