package disk

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// do fails the test on an error of the disk.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func makeFile(t *testing.T, d *Disk, dir Inode, name string) Inode {
	t.Helper()
	i, err := d.Make(dir, name, false)
	do(t, err)
	return i.Inode
}

// outcomes are all different images that many power cuts after n operations leave, as "name=content" joined by spaces.
func outcomes(d *Disk, n int, fates ...Fate) map[string]bool {
	const draws = 200
	out := map[string]bool{}
	for _, fate := range fates {
		random := rand.New(rand.NewPCG(uint64(fate), 1))
		for range draws {
			r := d.Replay()
			r.Advance(n)
			var parts []string
			files := r.Image(fate, random).Files()
			for _, name := range slices.Sorted(maps.Keys(files)) {
				parts = append(parts, name+"="+strings.TrimRight(string(files[name]), "\x00"))
			}
			out[strings.Join(parts, " ")] = true
		}
	}
	return out
}

func expect(t *testing.T, got map[string]bool, want ...string) {
	t.Helper()
	if list := slices.Sorted(maps.Keys(got)); !slices.Equal(list, slices.Sorted(slices.Values(want))) {
		t.Errorf("the outcomes are %q, they should be %q", list, want)
	}
}

func TestWhatWasNotSyncedMayBeThereOrNot(t *testing.T) {
	d := New(0)
	f := makeFile(t, d, Root, "f")
	do(t, d.Write(f, []byte("old"), 0))
	do(t, d.Sync(f))
	expect(t, outcomes(d, d.Operations(), Lost, DataOnly), "")
	do(t, d.Sync(Root))
	do(t, d.Write(f, []byte("new"), 0))
	n := d.Operations()
	expect(t, outcomes(d, n, Lost, NamesOnly), "f=old")
	expect(t, outcomes(d, n, Kept, DataOnly), "f=new")
	expect(t, outcomes(d, n, Torn, Shuffled), "f=old", "f=new")
	do(t, d.Sync(f))
	for fate := range Fates {
		expect(t, outcomes(d, d.Operations(), fate), "f=new")
	}
}

func TestSectorsAreWrittenWholeAndInAnyOrder(t *testing.T) {
	d := New(0)
	f := makeFile(t, d, Root, "f")
	do(t, d.Resize(f, 2*SectorBytes))
	do(t, errors.Join(d.Sync(f), d.Sync(Root)))
	do(t, d.Write(f, bytes.Repeat([]byte("a"), SectorBytes), 0))
	do(t, d.Write(f, bytes.Repeat([]byte("b"), SectorBytes), SectorBytes))
	seen := map[string]bool{}
	for image := range outcomes(d, d.Operations(), Shuffled) {
		sectors := strings.TrimPrefix(image, "f=")
		var what []string
		for at := 0; at < len(sectors); at += SectorBytes {
			sector := sectors[at : at+SectorBytes]
			if strings.Trim(sector, sector[:1]) != "" {
				t.Fatalf("a sector is half written: %.10q...", sector)
			}
			what = append(what, strings.Trim(sector[:1], "\x00"))
		}
		seen[strings.Join(what, ",")] = true
	}
	expect(t, seen, "", "a", ",b", "a,b")
}

func TestASyncCoversWhatCameBeforeItBegan(t *testing.T) {
	d := New(0)
	f := makeFile(t, d, Root, "f")
	do(t, d.Sync(Root))
	do(t, d.Write(f, []byte("x"), 0))
	began := d.Operations()
	do(t, d.Write(f, []byte("y"), 1))
	d.log = append(d.log, op{kind: opSync, inode: f, before: began})
	expect(t, outcomes(d, d.Operations(), Lost), "f=x")
}

func TestRenamesAreAtomicAndEachForItself(t *testing.T) {
	d := New(0)
	a, b := makeFile(t, d, Root, "a"), makeFile(t, d, Root, "b")
	do(t, errors.Join(d.Write(a, []byte("A"), 0), d.Write(b, []byte("B"), 0), d.Sync(a), d.Sync(b), d.Sync(Root)))
	do(t, d.Rename(Root, "a", Root, "x"))
	do(t, d.Rename(Root, "b", Root, "y"))
	expect(t, outcomes(d, d.Operations(), Shuffled), "a=A b=B", "b=B x=A", "a=A y=B", "x=A y=B")
	do(t, d.Sync(Root))
	expect(t, outcomes(d, d.Operations(), Lost, Shuffled), "x=A y=B")
}

func TestARenameBetweenDirectoriesNeedsBothSynced(t *testing.T) {
	d := New(0)
	one, err := d.Make(Root, "one", true)
	do(t, err)
	two, err := d.Make(Root, "two", true)
	do(t, err)
	f := makeFile(t, d, one.Inode, "f")
	do(t, errors.Join(d.Write(f, []byte("F"), 0), d.Sync(f), d.Sync(one.Inode), d.Sync(Root)))
	do(t, d.Rename(one.Inode, "f", two.Inode, "f"))
	do(t, d.Sync(two.Inode))
	expect(t, outcomes(d, d.Operations(), Lost), "one/f=F")
	do(t, d.Sync(one.Inode))
	expect(t, outcomes(d, d.Operations(), Lost), "two/f=F")
}

func TestADirectoryThatIsLostTakesItsFilesAlong(t *testing.T) {
	d := New(0)
	dir, err := d.Make(Root, "dir", true)
	do(t, err)
	f := makeFile(t, d, dir.Inode, "f")
	do(t, errors.Join(d.Write(f, []byte("F"), 0), d.Sync(f), d.Sync(dir.Inode)))
	expect(t, outcomes(d, d.Operations(), Shuffled), "", "dir/f=F")
}

func TestALengthMayBeLost(t *testing.T) {
	d := New(0)
	f := makeFile(t, d, Root, "f")
	do(t, errors.Join(d.Write(f, []byte("12345678"), 0), d.Sync(f), d.Sync(Root)))
	do(t, d.Resize(f, 3))
	expect(t, outcomes(d, d.Operations(), Kept), "f=123")
	expect(t, outcomes(d, d.Operations(), Lost), "f=12345678")
	do(t, d.Resize(f, 8))
	p := make([]byte, 10)
	if n, err := d.Read(f, p, 0); err != nil || string(p[:n]) != "123\x00\x00\x00\x00\x00" {
		t.Errorf("read %q, %v: what was cut off must not come back", p[:n], err)
	}
}

func TestErrorsAreTheKernels(t *testing.T) {
	d := New(0)
	dir, err := d.Make(Root, "dir", true)
	do(t, err)
	f := makeFile(t, d, dir.Inode, "f")
	_, lookup := d.Lookup(Root, "nothing")
	_, again := d.Make(Root, "dir", true)
	_, inFile := d.List(f)
	for _, x := range []struct{ got, want error }{
		{lookup, syscall.ENOENT},
		{again, syscall.EEXIST},
		{inFile, syscall.ENOTDIR},
		{d.Write(dir.Inode, nil, 0), syscall.EISDIR},
		{d.Remove(Root, "dir", true), syscall.ENOTEMPTY},
		{d.Remove(dir.Inode, "f", true), syscall.ENOTDIR},
		{d.Remove(Root, "dir", false), syscall.EISDIR},
		{d.Rename(Root, "nothing", Root, "x"), syscall.ENOENT},
		{d.Sync(99), syscall.ESTALE},
	} {
		if !errors.Is(x.got, x.want) {
			t.Errorf("%v, it should be %v", x.got, x.want)
		}
	}
}
