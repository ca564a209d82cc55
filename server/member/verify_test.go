package member

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/server/config"
)

// TestDamageThatNobodyReadsStopsTheMember flips bits of a value under a running member to which nobody writes: it must not need an entry
// to stop, and from then on no read is answered, also not by the next run.
func TestDamageThatNobodyReadsStopsTheMember(t *testing.T) {
	p := assemble(t, "a")[0]
	const needle = "a value that nobody reads"
	p.put("k", needle)
	p.put("sound", "v")
	m := p.member.Load()
	if err := m.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.verify = 50 * time.Millisecond
	p.start()
	p.until("the member runs", func() error {
		if m = p.member.Load(); m == nil {
			return errors.New("not yet")
		}
		return nil
	})
	flip(t, p.dir, needle)
	read := func() error {
		_, err := m.machine.Get(context.Background(), []byte("sound"), 0)
		return err
	}
	select {
	case <-p.replica.Done():
	case <-time.After(patience):
		t.Fatalf("the member goes on; a read: %v", read())
	}
	var corrupt *kv.CorruptError
	if err := read(); !errors.As(err, &corrupt) {
		t.Errorf("a read of a damaged store: %v", err)
	}
	if err := p.replica.Stop(context.Background()); !errors.As(err, &corrupt) || corrupt.What != "record" || corrupt.Revision != kv.FirstRevision+1 {
		t.Errorf("it ended for another reason: %v", err)
	}
	id := p.replica.Status().Identity
	<-p.waiting
	p.member.Swap(nil).Stop()
	p.replica = nil

	place := replica.Place{Dir: filepath.Join(p.dir, "member"), Cluster: id.ClusterID, Logger: slog.New(slog.DiscardHandler)}
	options := Options{Config: config.Config{QuotaBackendBytes: 1 << 30}}
	if _, err := OpenMachine(options, place); !errors.As(err, &corrupt) {
		t.Fatalf("the next run opens it: %v", err)
	}
	flip(t, p.dir, string(needle[0]^1)+needle[1:]) // as if the disk had never had it
	for range 2 {
		machine, err := OpenMachine(options, place)
		if err != nil {
			t.Fatalf("a sound store: %v", err)
		}
		if err := machine.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(place.Dir, damagedName)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("the note is left: %v", err)
		}
	}
}

// TestDamageIsNotedAtOnce: the note is there although nobody closes the store, and when only closing it meets the damage. The next run reads all of it
// and removes nothing before.
func TestDamageIsNotedAtOnce(t *testing.T) {
	const needle = "a value that is overwritten"
	for _, met := range []string{"by a read", "by closing"} {
		place := replica.Place{Dir: t.TempDir(), Cluster: 1, New: true, Logger: slog.New(slog.DiscardHandler)}
		options := Options{Config: config.Config{QuotaBackendBytes: 1 << 30}}
		note, index := filepath.Join(place.Dir, damagedName), raft.Index(0)
		machine, err := OpenMachine(options, place)
		if err != nil {
			t.Fatal(err)
		}
		apply := func(c kv.Command) {
			t.Helper()
			data, err := kv.AppendProposal(nil, session.Header{}, c)
			if err != nil {
				t.Fatal(err)
			}
			index++
			if _, err := machine.machine.Apply([]raft.Entry{{Term: 1, Index: index, Type: raft.EntryNormal, Data: data}}); err != nil {
				t.Fatal(err)
			}
		}
		flush := func() {
			t.Helper()
			if err := machine.machine.FlushNow(); err != nil {
				t.Fatal(err)
			}
		}
		apply(kv.Put([]byte("k"), []byte(needle)))
		flush()
		flip(t, place.Dir, needle)
		var corrupt *kv.CorruptError
		if met == "by a read" {
			if _, err := machine.machine.Get(t.Context(), []byte("k"), 0); !errors.As(err, &corrupt) {
				t.Fatalf("a read: %v", err)
			}
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				if _, err := damagedKind.Read(note); err == nil {
					break
				} else if time.Now().After(deadline) {
					t.Fatalf("the note: %v", err)
				}
			}
		} else {
			// Closing removes this history, if that has not begun.
			apply(kv.Put([]byte("k"), []byte("v")))
			revision, _ := machine.machine.Revision()
			apply(kv.Compact(revision))
			flush()
		}
		if err := machine.Close(); !errors.As(err, &corrupt) {
			t.Errorf("%s: closed with %v", met, err)
		}
		if err := machine.Close(); err != nil {
			t.Errorf("%s: closed again: %v", met, err)
		}
		if _, err := damagedKind.Read(note); err != nil {
			t.Fatalf("%s: the note: %v", met, err)
		}
		place.New = false
		if _, err := OpenMachine(options, place); !errors.As(err, &corrupt) {
			t.Errorf("%s: the next run opens it: %v", met, err)
		}
	}
}

// flip flips a bit of every place of a text in a member's store.
func flip(t *testing.T, dir, needle string) {
	t.Helper()
	damaged := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "kv.db" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		for at := 0; ; at += len(needle) {
			next := bytes.Index(content[at:], []byte(needle))
			if next < 0 {
				return f.Close()
			}
			at += next
			if _, err := f.WriteAt([]byte{needle[0] ^ 1}, int64(at)); err != nil {
				return errors.Join(err, f.Close())
			}
			damaged++
		}
	})
	if err != nil || damaged == 0 {
		t.Fatalf("%d places, %v", damaged, err)
	}
}
