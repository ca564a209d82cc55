package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
)

func noPause(ctx context.Context) error { return ctx.Err() }

// TestVerifyFindsWhatDamagedPagesHide flips bits in the keys and the page numbers of bbolt's branch pages, which have no checksum. Either the
// pass says so, or every key is still found.
func TestVerifyFindsWhatDamagedPagesHide(t *testing.T) {
	o := Options{Dir: t.TempDir(), Synchronous: true, QuotaBytes: 64 << 20}
	h := newHarness(t, o)
	const keys = 3000
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%06d", i*7) }
	for i := range keys {
		h.do(Put(key(i), bytes.Repeat([]byte{byte(i)}, 40)))
	}
	for i := range 100 {
		h.do(Put(key(i), []byte("again")))
		h.do(Delete(key(keys - 1 - i)))
	}
	if err := h.machine.FlushNow(); err != nil {
		t.Fatal(err)
	}
	all, err := h.machine.Verify(context.Background(), noPause)
	if err != nil || all.Records != keys+200 || all.Keys != all.Records {
		t.Fatalf("a sound store: %+v, %v", all, err)
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := h.machine.Verify(stopped, noPause); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	if err := h.machine.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.Dir, "kv.db")
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(b byte, at int) {
		if _, err := f.WriteAt([]byte{b}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	found, harmless, last := 0, 0, 0
	for _, at := range branchBits(sound) {
		write(sound[last], last)
		last = at / 8
		write(sound[last]^1<<(at%8), last) // nothing else writes to the file
		m, err := Open(o)
		if err != nil {
			found++
			continue
		}
		var corrupt *CorruptError
		_, err = m.Verify(context.Background(), noPause)
		switch {
		case errors.As(err, &corrupt):
			found++
			if _, err := m.Apply(nil); !errors.As(err, &corrupt) {
				t.Errorf("bit %d: the machine goes on: %v", at, err)
			}
		case err != nil:
			t.Errorf("bit %d: %v", at, err)
		default:
			harmless++
			for i := range keys - 100 {
				if got, err := m.Get(context.Background(), key(i), 0); err != nil || !got.Found {
					t.Fatalf("bit %d hides key %s: %v", at, key(i), err)
				}
			}
		}
		_ = m.Close() // whatever it says of a damaged file
	}
	t.Logf("%d of %d flips were found, %d hide nothing", found, found+harmless, harmless)
	if found == 0 {
		t.Fatal("nothing was found")
	}
}

// branchBits are bits of the page numbers and of the separating keys of a bbolt file's branch pages. A page has a header of 16 bytes (number,
// flags, count, overflow), then elements of 16: where the key is from here, its length, the page.
func branchBits(file []byte) []int {
	const header, element, branch = 16, 16, 1
	var bits []int
	for page := 2 * os.Getpagesize(); page < len(file); page += os.Getpagesize() {
		p := file[page:]
		if binary.NativeEndian.Uint16(p[8:]) != branch || binary.NativeEndian.Uint64(p) != uint64(page/os.Getpagesize()) {
			continue
		}
		for i := 1; i < int(binary.NativeEndian.Uint16(p[10:])); i += 5 {
			e := header + i*element
			at := e + int(binary.NativeEndian.Uint32(p[e:]))
			end := at + int(binary.NativeEndian.Uint32(p[e+4:]))
			bits = append(bits, 8*(page+e+8)+i%3, 8*(page+at)+6, 8*(page+end-1)+7)
		}
	}
	return bits
}

func TestVerifyFindsRecordsThatNobodyReads(t *testing.T) {
	for name, damage := range map[string]func(v store.View, b *store.Batch){
		"an old value has rotted": func(v store.View, b *store.Batch) {
			k, data := v.Iterate(bucketRecords).First()
			data = bytes.Clone(data)
			data[len(data)-1]++
			b.Put(bucketRecords, k, data)
		},
		"an old record is gone": func(v store.View, b *store.Batch) {
			k, _ := v.Iterate(bucketRecords).First()
			b.Delete(bucketRecords, k)
		},
		"an index record is gone": func(v store.View, b *store.Batch) {
			k, _ := v.Iterate(bucketIndex).Last()
			b.Delete(bucketIndex, k)
		},
	} {
		o, disk := memory()
		h := newHarness(t, o)
		h.do(Put([]byte("a"), []byte("1")))
		h.do(Put([]byte("a"), []byte("2")))
		if err := h.machine.Close(); err != nil {
			t.Fatal(err)
		}
		edit(t, disk, damage)
		m := open(t, o)
		if got, err := m.Get(context.Background(), []byte("a"), 0); err != nil || string(got.Value) != "2" {
			t.Fatalf("%s: the present value: %v", name, err)
		}
		var corrupt *CorruptError
		if _, err := m.Verify(context.Background(), noPause); !errors.As(err, &corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDamageOfWhatASnapshotReplaced: whoever still reads it finds damage that says nothing of the store that took its place.
func TestDamageOfWhatASnapshotReplaced(t *testing.T) {
	sound, _ := memory()
	from := newHarness(t, sound)
	o, disk := memory()
	to := newHarness(t, o)
	for range 2 {
		from.do(Put([]byte("a"), []byte("1")))
	}
	to.do(Put([]byte("a"), []byte("1")))
	if err := to.machine.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, disk, func(v store.View, b *store.Batch) {
		k, data := v.Iterate(bucketRecords).First()
		data = bytes.Clone(data)
		data[len(data)-1]++
		b.Put(bucketRecords, k, data)
	})
	m := open(t, o)
	s, err := m.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	reads := 0
	err = m.read(t.Context(), 0, func(v *view) error {
		found, err := v.get([]byte("a"), true)
		if reads++; reads == 1 {
			if !errors.As(err, &corrupt) {
				t.Errorf("the damaged store: %v", err)
			}
			transfer(t, from.machine, m)
		} else if v.revision != FirstRevision+2 || string(found.value) != "1" {
			t.Errorf("revision %d reads %q", v.revision, found.value)
		}
		return err
	})
	if err != nil || reads != 2 {
		t.Errorf("%d reads, %v", reads, err)
	}
	if _, err := s.WriteTo(&bytes.Buffer{}); !errors.As(err, &corrupt) {
		t.Errorf("a snapshot of the damaged store: %v", err)
	}
	if err := errors.Join(s.Close(), m.Failure(), m.FlushNow()); err != nil {
		t.Errorf("the sound store: %v", err)
	}
}
