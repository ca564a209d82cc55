package identity

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/replica/sealedfile"
)

var errCrash = errors.New("crash")

// crashAt fails before the step of that number and counts all.
func crashAt(at int, count *int) func(string) error {
	return func(string) error {
		*count++
		if *count == at {
			return errCrash
		}
		return nil
	}
}

func never(string) error { return nil }

func mustOpen(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path, "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func mustClose(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func putData(dir string) error {
	return os.WriteFile(filepath.Join(dir, "log"), []byte("entries"), 0o600)
}

func member(t *testing.T, path string) *Dir {
	t.Helper()
	d := mustOpen(t, path)
	if err := d.BecomeMember(7, 3, "token", putData); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestIncarnationIsDrawnOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "dir")
	d := mustOpen(t, path)
	first := d.Identity()
	if first.Incarnation == 0 || !first.Empty() || first.Name != "a" {
		t.Fatalf("new directory: %+v", first)
	}
	mustClose(t, d)
	if got := mustOpen(t, path).Identity(); got != first {
		t.Errorf("after a restart %+v, before %+v", got, first)
	}
	if other := mustOpen(t, t.TempDir()).Identity(); other.Incarnation == first.Incarnation {
		t.Error("two directories drew the same incarnation")
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := t.TempDir()
	mustOpen(t, path)
	if _, err := Open(path, "a"); !errors.Is(err, ErrLocked) {
		t.Errorf("the second opener got %v", err)
	}
}

func TestFreshVolumeAndInterruptedFirstWriteAreEmpty(t *testing.T) {
	path := t.TempDir()
	if err := os.Mkdir(filepath.Join(path, lostAndFound), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, identityName+".tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !mustOpen(t, path).Identity().Empty() {
		t.Error("not empty")
	}
}

func TestBecomingAMemberSurvivesACrashAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		path := t.TempDir()
		mustClose(t, mustOpen(t, path))
		count := 0
		d, err := open(path, "a", crashAt(at, &count))
		if err != nil {
			t.Fatal(err)
		}
		before := d.Identity()
		err = d.BecomeMember(7, 3, "", putData)
		mustClose(t, d)
		d = mustOpen(t, path)
		id := d.Identity()
		if id.Incarnation != before.Incarnation {
			t.Errorf("crash at %d: the incarnation changed", at)
		}
		if id.Empty() {
			if _, statErr := os.Stat(d.file(stagingName)); !errors.Is(statErr, os.ErrNotExist) {
				t.Errorf("crash at %d: half-made data was kept", at)
			}
			if err := d.BecomeMember(7, 3, "", putData); err != nil {
				t.Errorf("crash at %d: cannot be repeated: %v", at, err)
			}
		}
		checkData(t, d.MemberPath())
		if err == nil {
			if at < 3 {
				t.Errorf("only %d steps were tried", at-1)
			}
			return
		}
	}
}

func checkData(t *testing.T, dir string) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || string(b) != "entries" {
		t.Errorf("the member's data: %q, %v", b, err)
	}
}

func TestSettingAsideSurvivesACrashAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		path := filepath.Join(t.TempDir(), "disk[1]*") // of any name
		d := member(t, path)
		old := d.Identity()
		if err := os.WriteFile(d.file("static"), []byte("table"), 0o600); err != nil {
			t.Fatal(err)
		}
		count := 0
		d.step = crashAt(at, &count)
		_, err := d.SetAside("static")
		mustClose(t, d)
		d = mustOpen(t, path)
		if !d.Identity().Empty() {
			if d.Identity() != old {
				t.Errorf("crash at %d: neither the old identity nor an empty one: %+v", at, d.Identity())
			}
			checkData(t, d.MemberPath())
			if _, err := d.SetAside("static"); err != nil {
				t.Errorf("crash at %d: cannot be repeated: %v", at, err)
			}
		}
		if id := d.Identity(); !id.Empty() || id.Incarnation == old.Incarnation || id.ClusterID != 0 || id.ClusterToken != "" {
			t.Errorf("crash at %d: identity afterwards %+v", at, id)
		}
		asides, failed := d.asides()
		if failed != nil || len(asides) != 1 || filepath.Base(asides[0]) != "removed-3-1" {
			t.Fatalf("crash at %d: set aside to %v", at, asides)
		}
		checkData(t, filepath.Join(asides[0], memberName))
		if kept, err := read(filepath.Join(asides[0], identityName)); err != nil || kept != old {
			t.Errorf("crash at %d: the identity that was set aside is %+v, %v", at, kept, err)
		}
		if b, err := os.ReadFile(filepath.Join(asides[0], "static")); err != nil || string(b) != "table" {
			t.Errorf("crash at %d: the extra file: %q, %v", at, b, err)
		}
		if err == nil {
			return
		}
	}
}

func TestSettingAsideTwiceKeepsBoth(t *testing.T) {
	path := t.TempDir()
	d := member(t, path)
	for range 2 {
		if _, err := d.SetAside(); err != nil {
			t.Fatal(err)
		}
		if err := d.BecomeMember(8, 3, "", putData); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"removed-3-1", "removed-3-2"} {
		checkData(t, filepath.Join(path, name, memberName))
	}
}

// snapshotTree reads all files, to show that a refusal changes nothing.
func snapshotTree(t *testing.T, path string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(path, func(p string, info os.FileInfo, err error) error {
		if err != nil || filepath.Base(p) == lockName {
			return err
		}
		if !info.Mode().IsRegular() {
			out[p] = "dir"
			return nil
		}
		b, err := os.ReadFile(p)
		out[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefusalsChangeNothingAndSayWhatToDo(t *testing.T) {
	rewrite := func(t *testing.T, path string, format uint32, document string) {
		k := sealedfile.Kind{Magic: kind.Magic, Format: format}
		if err := k.Write(filepath.Join(path, identityName), []byte(document)); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  string
	}{
		{"no identity", func(t *testing.T, path string) { remove(t, filepath.Join(path, identityName)) }, "restore the file"},
		{"data lost", func(t *testing.T, path string) { remove(t, filepath.Join(path, memberName)) }, "could lose acknowledged writes"},
		{"damaged", func(t *testing.T, path string) {
			if err := os.WriteFile(filepath.Join(path, identityName), []byte("raftkv-identity 1 3 00000000\nabc"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "offset 29: the checksum does not match"},
		{"newer format", func(t *testing.T, path string) { rewrite(t, path, 2, "{}") }, "format version 2, this build reads up to version 1"},
		{"no incarnation", func(t *testing.T, path string) { rewrite(t, path, 1, `{"name":"a"}`) }, "no incarnation"},
		{"half a member", func(t *testing.T, path string) { rewrite(t, path, 1, `{"name":"a","incarnation":"1","memberID":"2"}`) }, "both be there"},
		{"nonsense", func(t *testing.T, path string) { rewrite(t, path, 1, `{"colour":"red"}`) }, "makes no sense"},
		{"other name", func(t *testing.T, path string) { rewrite(t, path, 1, `{"name":"b","incarnation":"1"}`) }, `belongs to the node "b"`},
		{"data of nobody", func(t *testing.T, path string) { rewrite(t, path, 1, `{"name":"a","incarnation":"1"}`) }, "speaks for no member"},
	} {
		t.Run(x.name, func(t *testing.T) {
			path := t.TempDir()
			mustClose(t, member(t, path))
			x.spoil(t, path)
			before := snapshotTree(t, path)
			_, err := open(path, "a", never)
			if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want a refusal with %q and the path", err, x.want)
			}
			after := snapshotTree(t, path)
			if len(before) != len(after) {
				t.Errorf("the refusal changed the directory: %v to %v", before, after)
			}
			for p, content := range before {
				if after[p] != content {
					t.Errorf("the refusal changed %s", p)
				}
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestAMemberCannotBecomeAnother(t *testing.T) {
	d := member(t, t.TempDir())
	if err := d.BecomeMember(9, 9, "", putData); err == nil {
		t.Error("accepted")
	}
	empty := mustOpen(t, t.TempDir())
	if _, err := empty.SetAside(); err == nil {
		t.Error("an empty directory was set aside")
	}
}

func TestAnUnfinishedDirectoryIsNoNodes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := OpenUnfinished(path, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BecomeMember(1, 2, "", func(string) error { return errors.New("killed") }); err == nil {
		t.Fatal("became a member of nothing")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, "a"); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "restore again") {
		t.Fatalf("a directory that was left half filled: %v", err)
	}
	if _, err := OpenUnfinished(path, "a"); !errors.Is(err, os.ErrExist) {
		t.Fatalf("filled by two: %v", err)
	}
	path = filepath.Join(t.TempDir(), "data")
	if d, err = OpenUnfinished(path, "a"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.BecomeMember(1, 2, "", func(string) error { return nil }), d.Finish(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(path, "a"); err != nil || d.Identity().MemberID != 2 {
		t.Fatalf("finished: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
