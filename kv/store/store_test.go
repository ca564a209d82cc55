package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// onBoth runs a test on both kinds of disks.
func onBoth(t *testing.T, test func(t *testing.T, d Disk)) {
	t.Run("memory", func(t *testing.T) { test(t, NewMemory()) })
	t.Run("bbolt", func(t *testing.T) {
		d, err := NewDirectory(t.TempDir(), DirectoryOptions{AppendBuckets: []Bucket{2}})
		if err != nil {
			t.Fatal(err)
		}
		test(t, d)
	})
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func putOne(t testing.TB, s interface{ Commit(*Batch) error }, key, value string) {
	t.Helper()
	var b Batch
	b.Put(1, []byte(key), []byte(value))
	ok(t, s.Commit(&b))
}

func getOne(t testing.TB, s Store, key string) string {
	t.Helper()
	v := must[View](t)(s.View())
	defer func() { ok(t, v.Close()) }()
	return string(v.Get(1, []byte(key)))
}

// TestStoreAgainstMap runs random batches beside a sorted list, with a view kept open from before each.
func TestStoreAgainstMap(t *testing.T) {
	onBoth(t, func(t *testing.T, d Disk) {
		random := rand.New(rand.NewPCG(1, 2))
		s := must[Store](t)(d.Open())
		model := map[string]string{}
		for range 40 {
			before := must[View](t)(s.View())
			want := sortedPairs(model)
			var b Batch
			for range random.IntN(30) {
				key := fmt.Sprint(random.IntN(60))
				if random.IntN(3) == 0 {
					b.Delete(1, []byte(key))
					delete(model, key)
				} else {
					value := fmt.Sprint(random.Int())
					b.Put(1, []byte(key), []byte(value))
					model[key] = value
				}
			}
			ok(t, s.Commit(&b))
			checkView(t, before, want, random)
			ok(t, before.Close())
			after := must[View](t)(s.View())
			checkView(t, after, sortedPairs(model), random)
			ok(t, after.Close())
		}
		ok(t, s.Close())
	})
}

type pair struct{ key, value string }

func sortedPairs(m map[string]string) []pair {
	var out []pair
	for k, v := range m {
		out = append(out, pair{k, v})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key < out[j].key })
	return out
}

func checkView(t *testing.T, v View, want []pair, random *rand.Rand) {
	t.Helper()
	it := v.Iterate(1)
	var forward, backward []pair
	for k, x := it.First(); k != nil; k, x = it.Next() {
		forward = append(forward, pair{string(k), string(x)})
	}
	for k, x := it.Last(); k != nil; k, x = it.Prev() {
		backward = append([]pair{{string(k), string(x)}}, backward...)
	}
	if fmt.Sprint(forward) != fmt.Sprint(want) || fmt.Sprint(backward) != fmt.Sprint(want) {
		t.Fatalf("forward  %v\nbackward %v\nwant     %v", forward, backward, want)
	}
	for range 10 {
		key := fmt.Sprint(random.IntN(70))
		i := sort.Search(len(want), func(i int) bool { return want[i].key >= key })
		k, _ := it.Seek([]byte(key))
		if i == len(want) {
			if k != nil {
				t.Fatalf("seek %s: %s, want the end", key, k)
			}
			continue
		}
		if string(k) != want[i].key {
			t.Fatalf("seek %s: %s, want %s", key, k, want[i].key)
		}
		if p, _ := it.Prev(); i > 0 && string(p) != want[i-1].key || i == 0 && p != nil {
			t.Fatalf("before %s: %s", key, p)
		}
		got := v.Get(1, []byte(key))
		if want[i].key == key && string(got) != want[i].value || want[i].key != key && got != nil {
			t.Fatalf("get %s: %s", key, got)
		}
	}
}

func TestStagedStoreReplacesTheOneInForce(t *testing.T) {
	onBoth(t, func(t *testing.T, d Disk) {
		old := must[Store](t)(d.Open())
		putOne(t, old, "k", "old")
		reading := must[View](t)(old.View())
		staging := must[Staging](t)(d.Stage("snapshot"))
		putOne(t, staging, "k", "new")
		if _, err := d.Adopt("snapshot"); !errors.Is(err, ErrNotStaged) {
			t.Fatalf("adopting what is not finished: %v", err)
		}
		ok(t, staging.Finish())
		ok(t, staging.Abort())
		if names := must[[]string](t)(d.Staged()); len(names) != 1 || names[0] != "snapshot" {
			t.Fatalf("staged: %v", names)
		}
		next := must[Store](t)(d.Adopt("snapshot"))
		if got := getOne(t, next, "k"); got != "new" {
			t.Fatalf("in force: %q", got)
		}
		if got := reading.Get(1, []byte("k")); string(got) != "old" {
			t.Fatalf("the view from before: %q", got)
		}
		ok(t, reading.Close())
		ok(t, old.Close())
		ok(t, next.Close())
		again := must[Store](t)(d.Open())
		if got := getOne(t, again, "k"); got != "new" {
			t.Fatalf("opened again: %q", got)
		}
		if names := must[[]string](t)(d.Staged()); len(names) != 0 {
			t.Fatalf("staged: %v", names)
		}
		ok(t, again.Close())
		if _, err := again.View(); !errors.Is(err, ErrClosed) {
			t.Fatalf("view of a closed store: %v", err)
		}
		var b Batch
		if err := again.Commit(&b); !errors.Is(err, ErrClosed) {
			t.Fatalf("commit to a closed store: %v", err)
		}
	})
}

func TestMemoryCrashesBackToItsLastCommit(t *testing.T) {
	d := NewMemory()
	s := must[Store](t)(d.Open())
	putOne(t, s, "k", "1")
	staging := must[Staging](t)(d.Stage("half"))
	putOne(t, staging, "k", "2")
	broken := errors.New("disk broken")
	d.FailCommits(broken)
	var b Batch
	b.Put(1, []byte("k"), []byte("3"))
	if err := s.Commit(&b); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	d.Crash()
	if err := s.Commit(&b); !errors.Is(err, ErrClosed) {
		t.Fatalf("commit after the crash: %v", err)
	}
	if err := staging.Finish(); !errors.Is(err, ErrClosed) {
		t.Fatalf("finish after the crash: %v", err)
	}
	s = must[Store](t)(d.Open())
	if got := getOne(t, s, "k"); got != "1" {
		t.Fatalf("after the crash: %q", got)
	}
}

func TestDirectoryRefusesWhatItCannotOpen(t *testing.T) {
	dir := t.TempDir()
	d := must[*Directory](t)(NewDirectory(dir, DirectoryOptions{}))
	s := must[Store](t)(d.Open())
	if _, err := d.Open(); err == nil || !bytes.Contains([]byte(err.Error()), []byte("another process holds it")) {
		t.Fatalf("opened twice: %v", err)
	}
	ok(t, s.Close())
	ok(t, os.WriteFile(d.Path(), bytes.Repeat([]byte("not a store "), 4096), 0o600))
	if _, err := d.Open(); err == nil || !bytes.Contains([]byte(err.Error()), []byte(d.Path())) {
		t.Fatalf("damaged: %v", err)
	}
}

func TestDirectoryRefusesDamagedPages(t *testing.T) {
	d := must[*Directory](t)(NewDirectory(t.TempDir(), DirectoryOptions{QuotaBytes: 1 << 20}))
	s := must[Store](t)(d.Open())
	for i := range 200 {
		var b Batch
		b.Put(Bucket(i)%firstBuckets, fmt.Appendf(nil, "key-%04d", i), bytes.Repeat([]byte{byte(i)}, 256))
		ok(t, s.Commit(&b))
	}
	ok(t, s.Close())
	sound := must[[]byte](t)(os.ReadFile(d.Path()))
	const metaPages = 2
	page, refused := os.Getpagesize(), 0
	used := len(bytes.TrimRight(sound, "\x00"))
	try := func(what string, content []byte) {
		ok(t, os.WriteFile(d.Path(), content, 0o600))
		s, err := d.Open()
		if err == nil {
			ok(t, s.Close())
			return
		}
		refused++
		if !strings.Contains(err.Error(), d.Path()) || !strings.Contains(err.Error(), setAside) {
			t.Fatalf("%s: %v", what, err)
		}
		if left := must[[]byte](t)(os.ReadFile(d.Path())); !bytes.Equal(left, content) {
			t.Fatalf("%s: the refused file was changed", what)
		}
	}
	for at := metaPages * page; at < used; at += page {
		for _, fill := range []byte{0, 0xff} {
			damaged := bytes.Clone(sound)
			copy(damaged[at:], bytes.Repeat([]byte{fill}, page))
			try(fmt.Sprintf("page %d is all %#x", at/page, fill), damaged)
		}
		try(fmt.Sprintf("cut short before page %d", at/page), sound[:at])
	}
	if refused == 0 {
		t.Fatal("no damage was refused")
	}
	// A refusal leaves no lock behind.
	ok(t, os.WriteFile(d.Path(), sound, 0o600))
	ok(t, must[Store](t)(d.Open()).Close())
}

func TestOpenRemovesWhatWasNotFinished(t *testing.T) {
	dir := t.TempDir()
	d := must[*Directory](t)(NewDirectory(dir, DirectoryOptions{}))
	left := filepath.Join(dir, "snapshot"+stagingSuffix)
	ok(t, os.WriteFile(left, []byte("half"), 0o600))
	s := must[Store](t)(d.Open())
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("still there: %v", err)
	}
	ok(t, s.Close())
}

func TestOpeningWritesNothing(t *testing.T) {
	dir := t.TempDir()
	d := must[*Directory](t)(NewDirectory(dir, DirectoryOptions{}))
	ok(t, must[Store](t)(d.Open()).Close())
	before := must[[]byte](t)(os.ReadFile(d.Path()))
	ok(t, must[Store](t)(d.Open()).Close())
	if after := must[[]byte](t)(os.ReadFile(d.Path())); !bytes.Equal(before, after) {
		t.Fatal("opening a store that has all it needs has changed its file")
	}
}

func TestAStoreThatMustExistIsNotMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kv")
	if _, err := NewDirectory(dir, DirectoryOptions{MustExist: true}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a missing store: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the refusal made the directory: %v", err)
	}
}

// BenchmarkCommit commits 1,000 changes spread over 100,000 keys.
func BenchmarkCommit(b *testing.B) {
	d := must[*Directory](b)(NewDirectory(b.TempDir(), DirectoryOptions{}))
	s := must[Store](b)(d.Open())
	random := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		var batch Batch
		for range 1000 {
			batch.Put(1, fmt.Appendf(nil, "%08d", random.IntN(100_000)), make([]byte, 64))
		}
		ok(b, s.Commit(&batch))
	}
	ok(b, s.Close())
}
