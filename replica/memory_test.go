package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/raft/vfs"
)

const testDir = "/m"

func openTally(t *testing.T, fs vfs.FS, fresh bool) (*memory, *tally, error) {
	t.Helper()
	app := newTally()
	m, err := openImages(app, Place{Dir: testDir, Cluster: 7, New: fresh, Logger: slog.New(slog.DiscardHandler)}, fs)
	return m, app, err
}

// proposal is an entry as the node proposes it.
func proposal(t *testing.T, index raft.Index, h session.Header, command []byte) raft.Entry {
	t.Helper()
	data, err := h.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raft.Entry{Term: 1, Index: index, Type: raft.EntryNormal, Data: append(data, command...)}
}

// opened opens a session by the entry at index.
func opened(t *testing.T, m *memory, index raft.Index) uint64 {
	t.Helper()
	command, err := m.Open(11, 12)
	if err != nil {
		t.Fatal(err)
	}
	results, err := m.Apply([]raft.Entry{proposal(t, index, session.Header{}, command)})
	if err != nil {
		t.Fatal(err)
	}
	id, ok := m.Opened(results[0])
	if !ok {
		t.Fatal("no session was opened")
	}
	return id
}

func TestARepeatGetsTheFirstAnswerInTheSameBatchAndAfterAnImage(t *testing.T) {
	fs := vfs.NewMem(1)
	m, app, err := openTally(t, fs, true)
	if err != nil {
		t.Fatal(err)
	}
	id := opened(t, m, 1)
	first, second := session.Header{Session: id, Sequence: 1, Low: 1}, session.Header{Session: id, Sequence: 2, Low: 1}
	results, err := m.Apply([]raft.Entry{
		proposal(t, 2, first, wrap([]byte("x"))), proposal(t, 3, first, wrap([]byte("x"))),
		proposal(t, 4, second, wrap([]byte("x"))), proposal(t, 5, first, wrap([]byte("x"))),
		proposal(t, 6, session.Header{Session: id + 99, Sequence: 1, Low: 1}, wrap([]byte("x"))),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{1, 1, 2, 1} {
		if got, _ := binary.Uvarint(results[i].(*answer).data); got != want {
			t.Errorf("entry %d was answered %d, want %d", i+2, got, want)
		}
	}
	if !m.Expired(results[4]) || m.Expired(results[0]) {
		t.Error("a session that is not open was not told from one that is")
	}
	if err := m.Close(); err != nil || app.counts["x"] != 2 {
		t.Fatalf("%v, x = %d", err, app.counts["x"])
	}
	m, app, err = openTally(t, fs, false)
	if err != nil || m.Applied().Index != 6 || app.counts["x"] != 2 {
		t.Fatalf("restored: %v, %+v, %v", err, m.Applied(), app.counts)
	}
	defer m.Close()
	results, err = m.Apply([]raft.Entry{proposal(t, 7, second, wrap([]byte("x")))})
	if got, _ := binary.Uvarint(results[0].(*answer).data); err != nil || got != 2 || app.counts["x"] != 2 {
		t.Errorf("a repeat after the restart was answered %d, %v; x = %d", got, err, app.counts["x"])
	}
}

// long answers with more than a session keeps.
type long struct{ *tally }

func (l long) Apply(batch []Command) [][]byte {
	l.tally.Apply(batch)
	return make([][]byte, len(batch))[:0:len(batch)]
}

func TestWrongNumbersOfAnswersEndTheReplicaAndAreNotSaved(t *testing.T) {
	fs := vfs.NewMem(1)
	m, err := openImages(long{newTally()}, Place{Dir: testDir, New: true}, fs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply([]raft.Entry{proposal(t, 1, session.Header{}, wrap([]byte("x")))}); err == nil {
		t.Fatal("too few answers were taken")
	}
	if err := m.Close(); err == nil {
		t.Error("half-applied state was saved")
	}
}

func TestAnAnswerThatIsTooLongIsLostToARepeatOnly(t *testing.T) {
	for size, want := range map[int]error{0: nil, session.MaxResultBytes - 1: nil, session.MaxResultBytes: ErrAnswerLost, 9000: ErrAnswerLost} {
		a := &answer{data: bytes.Repeat([]byte{1}, size)}
		again := kept(a.keep())
		if !errors.Is(again.err, want) || want == nil && !bytes.Equal(again.data, a.data) {
			t.Errorf("%d bytes: %+v", size, again)
		}
	}
}

// image returns a member's state after some commands.
func image(t *testing.T, fs vfs.FS) {
	t.Helper()
	m, _, err := openTally(t, fs, true)
	if err != nil {
		t.Fatal(err)
	}
	id := opened(t, m, 1)
	for i := range 40 {
		h := session.Header{Session: id, Sequence: uint64(i + 1), Low: 1}
		if _, err := m.Apply([]raft.Entry{proposal(t, raft.Index(i+2), h, wrap(fmt.Appendf(nil, "name-%d", i)))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEveryDamagedByteOfAnImageIsFound(t *testing.T) {
	fs := vfs.NewMem(1)
	image(t, fs)
	path := images{fs: fs, dir: testDir + "/" + stateDir}.path(currentImage)
	size, err := fs.Size(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range size {
		broken := fs.Clone(uint64(at))
		if err := broken.FlipBit(path, at*8+at%8); err != nil {
			t.Fatal(err)
		}
		if m, _, err := openTally(t, broken, false); err == nil {
			_ = m.Close()
			t.Fatalf("a flipped bit in byte %d of %d was not found", at, size)
		}
	}
	cut := fs.Clone(1)
	f, err := cut.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size-1), f.Close()); err != nil {
		t.Fatal(err)
	}
	var damage *ImageError
	if _, _, err := openTally(t, cut, false); !errors.As(err, &damage) || damage.File != path {
		t.Errorf("an image that is cut off: %v", err)
	}
}

// Power is lost at every write of a save and of an installation: there is always a whole state, the old one or the new.
func TestPowerLossLeavesTheOldStateOrTheNew(t *testing.T) {
	source := vfs.NewMem(7)
	image(t, source)
	for at := 1; ; at++ {
		fs := vfs.NewMem(uint64(at))
		if err := errors.Join(fs.MkdirAll(testDir), fs.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		m, _, err := openTally(t, fs, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply([]raft.Entry{proposal(t, 1, session.Header{}, wrap([]byte("old")))}); err != nil {
			t.Fatal(err)
		}
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
		before := fs.Changes()
		fs.CutPowerAfter(at)
		done := move(source, m)
		after := fs.Changes() - before
		fs.Crash()
		_ = m.Close()
		again, app, err := openTally(t, fs, false)
		if err != nil {
			t.Fatalf("power loss at change %d: %v", at, err)
		}
		old, now := maps.Equal(app.counts, map[string]uint64{"old": 1}), len(app.counts) == 40
		if !old && !now || done == nil && !now {
			t.Errorf("power loss at change %d: %d names, installed: %v", at, len(app.counts), done)
		}
		_ = again.Close()
		if done == nil {
			if after < 3 {
				t.Errorf("only %d changes were tried", after)
			}
			return
		}
	}
}

// move streams a state as a leader does, and installs it.
func move(source *vfs.Mem, m *memory) error {
	from, err := images{fs: source, dir: testDir + "/" + stateDir}.open(currentImage)
	if err != nil {
		return err
	}
	defer from.Close()
	stage, err := m.Stage(from.Meta())
	if err != nil {
		return err
	}
	if _, err := from.WriteTo(stage); err != nil {
		return err
	}
	if err := stage.Commit(); err != nil {
		return err
	}
	if err := m.Install(from.Meta()); err != nil {
		return err
	}
	return m.Install(from.Meta()) // it may be asked for again after a crash
}

func TestAStateOfAnotherClusterOrIndexIsRefused(t *testing.T) {
	source := vfs.NewMem(7)
	image(t, source)
	fs := vfs.NewMem(8)
	m, err := openImages(newTally(), Place{Dir: testDir, Cluster: 8, New: true}, fs)
	if err != nil {
		t.Fatal(err)
	}
	if err := move(source, m); err == nil {
		t.Error("another cluster's state was installed")
	}
	from, err := images{fs: source, dir: testDir + "/" + stateDir}.open(currentImage)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	meta := from.Meta()
	meta.Index++
	stage, err := m.Stage(meta)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.WriteTo(stage); err != nil {
		t.Fatal(err)
	}
	if err := stage.Commit(); err == nil {
		t.Error("a state of another index than announced was taken")
	}
}

// What cannot be kept does not stay on a disk that may be full.
func TestASnapshotThatCannotBeSyncedLeavesNothing(t *testing.T) {
	source := vfs.NewMem(7)
	image(t, source)
	fs := vfs.NewMem(8)
	m, err := openImages(newTally(), Place{Dir: testDir, Cluster: 7, New: true}, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	full := errors.New("no space left")
	fs.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.Contains(op.Name, stagedPrefix) {
			return full
		}
		return nil
	})
	if err := move(source, m); !errors.Is(err, full) {
		t.Fatal(err)
	}
	names, err := fs.List(testDir + "/" + stateDir)
	if err != nil || len(names) != 1 || names[0] != currentImage {
		t.Errorf("left: %v, %v", names, err)
	}
	fs.SetHook(nil)
	if err := move(source, m); err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

// TestAStagedImageThatIsRefusedGoesOnceTheStateHasPassedIt: it is of the size of the state, and the next one may never come.
func TestAStagedImageThatIsRefusedGoesOnceTheStateHasPassedIt(t *testing.T) {
	source := vfs.NewMem(7)
	image(t, source)
	from, err := images{fs: source, dir: testDir + "/" + stateDir}.open(currentImage)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	last := from.Meta().Index
	busy := errors.New("device or resource busy")
	for _, ended := range []bool{false, true} { // the process, before it could remove anything
		fs := vfs.NewMem(8)
		m, _, err := openTally(t, fs, true)
		if err != nil {
			t.Fatal(err)
		}
		stage, err := m.Stage(from.Meta())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := from.WriteTo(stage); err != nil {
			t.Fatal(err)
		}
		if err := stage.Commit(); err != nil {
			t.Fatal(err)
		}
		early := from.Meta()
		early.Index = 1
		arriving, err := m.Stage(early)
		if err != nil {
			t.Fatal(err)
		}
		left := func(at raft.Index, want ...string) {
			t.Helper()
			names, err := fs.List(testDir + "/" + stateDir)
			slices.Sort(names)
			if slices.Sort(want); err != nil || !slices.Equal(names, want) {
				t.Errorf("at index %d, with one staged of index %d: %v, %v, want %v", at, last, names, err, want)
			}
		}
		for at := raft.Index(1); at <= last; at++ {
			if _, err := m.Apply([]raft.Entry{proposal(t, at, session.Header{}, wrap([]byte("name")))}); err != nil {
				t.Fatal(err)
			}
			if at == last-1 {
				if err := m.save(); err != nil {
					t.Fatal(err)
				}
				left(at, currentImage, stagedImage(from.Meta()), stagedImage(early)+partSuffix)
			}
		}
		if ended {
			fs.SetHook(func(op vfs.Op) error {
				if op.Kind == vfs.OpRemove && strings.Contains(op.Name, stagedPrefix) {
					return busy
				}
				return nil
			})
		}
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
		if !ended {
			left(last, currentImage, stagedImage(early)+partSuffix)
		}
		fs.SetHook(nil)
		if err := errors.Join(arriving.Abort(), m.Close()); err != nil {
			t.Fatal(err)
		}
		if m, _, err = openTally(t, fs, false); err != nil {
			t.Fatal(err)
		}
		left(last, currentImage)
		if err := errors.Join(m.Install(from.Meta()), m.Close()); err != nil { // the log may ask for it all the same
			t.Fatal(err)
		}
	}
}

var _ io.WriterTo = (*openImage)(nil)

// halting is a tally that stops in the middle of what it restores.
type halting struct {
	*tally
	halt bool
}

func (h *halting) Restore(r io.Reader) error {
	if !h.halt {
		return h.tally.Restore(r)
	}
	h.counts = map[string]uint64{"half": 1}
	return errors.New("out of memory")
}

// A snapshot that the application could not restore is not replaced by what it has made of it.
func TestAnInstallationThatFailsKeepsTheSnapshot(t *testing.T) {
	source := vfs.NewMem(7)
	image(t, source)
	for _, learner := range []bool{true, false} {
		fs := vfs.NewMem(8)
		app := &halting{tally: newTally()}
		m, err := openImages(app, Place{Dir: testDir, Cluster: 7, New: true}, fs)
		if err != nil {
			t.Fatal(err)
		}
		if !learner {
			if _, err := m.Apply([]raft.Entry{proposal(t, 1, session.Header{}, wrap([]byte("old")))}); err != nil {
				t.Fatal(err)
			}
		}
		app.halt = true
		if err := move(source, m); err == nil {
			t.Fatal("installed")
		}
		if err := m.look(func() { t.Error("a state that was restored by half is read") }); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		_ = m.Close() // as a member does that has failed
		again, state, err := openTally(t, fs, false)
		if err != nil {
			t.Fatal(err)
		}
		if again.Applied().Index != 41 || len(state.counts) != 40 {
			t.Errorf("learner %t: opened again the state is of index %d: %v", learner, again.Applied().Index, state.counts)
		}
		_ = again.Close()
	}
}
