package identity

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func putHeir(dir string, _ Identity) error {
	return os.WriteFile(filepath.Join(dir, "log"), []byte("inherited"), 0o600)
}

// whole checks that the directory is a member's with its data, the old one's or the new one's, and nothing in between.
func whole(t *testing.T, at int, path string, old Identity) Identity {
	t.Helper()
	d := mustOpen(t, path)
	defer mustClose(t, d)
	id := d.Identity()
	got, err := os.ReadFile(filepath.Join(d.MemberPath(), "log"))
	if err != nil {
		t.Fatalf("crash at %d: %v", at, err)
	}
	for _, name := range []string{successorName, successorStagingName} {
		if _, err := os.Stat(d.file(name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("crash at %d: %s is left", at, name)
		}
	}
	if id == old {
		if string(got) != "entries" {
			t.Errorf("crash at %d: the old member with the data %q", at, got)
		}
		return id
	}
	if id.ClusterID != 9 || id.MemberID != 4 || id.Incarnation == old.Incarnation || id.Name != old.Name || id.ClusterToken != "" || string(got) != "inherited" {
		t.Errorf("crash at %d: %+v with the data %q", at, id, got)
	}
	aside := filepath.Join(path, removedPrefix+"3-1")
	checkData(t, filepath.Join(aside, memberName))
	if table, err := os.ReadFile(filepath.Join(aside, "static")); err != nil || string(table) != "table" {
		t.Errorf("crash at %d: the old cluster's table: %q, %v", at, table, err)
	}
	if kept, err := read(filepath.Join(aside, identityName)); err != nil || kept != old {
		t.Errorf("crash at %d: the identity that was set aside is %+v, %v", at, kept, err)
	}
	return id
}

func TestSuccessionSurvivesACrashAtEveryStep(t *testing.T) {
	olds, news := 0, 0
	for at := 1; ; at++ {
		path := t.TempDir()
		d := member(t, path)
		old := d.Identity()
		if err := os.WriteFile(d.file("static"), []byte("table"), 0o600); err != nil {
			t.Fatal(err)
		}
		count := 0
		d.step = crashAt(at, &count)
		_, err := d.Succeed(9, 4, putHeir)
		mustClose(t, d)
		first := whole(t, at, path, old)
		if second := whole(t, at, path, old); second != first {
			t.Errorf("crash at %d: after another start %+v, before %+v", at, second, first)
		}
		if first == old {
			olds++
		} else {
			news++
		}
		if err == nil {
			break
		}
	}
	if olds == 0 || news < 6 {
		t.Errorf("%d crashes left the old member, %d the new one: the steps are not all there", olds, news)
	}
}

// A crash in the middle of making up for a crash must do no harm either.
func TestCompletingASuccessionSurvivesACrashAtEveryStep(t *testing.T) {
	for first := 2; ; first++ {
		for second := 1; ; second++ {
			path := t.TempDir()
			d := member(t, path)
			old := d.Identity()
			if err := os.WriteFile(d.file("static"), []byte("table"), 0o600); err != nil {
				t.Fatal(err)
			}
			count := 0
			d.step = crashAt(first, &count)
			_, err := d.Succeed(9, 4, putHeir)
			mustClose(t, d)
			if err == nil {
				return
			}
			count = 0
			again, err := open(path, "a", crashAt(second, &count))
			if err == nil {
				mustClose(t, again)
			}
			if id := whole(t, first*100+second, path, old); id == old {
				t.Fatalf("crashes at %d and %d: the succession was lost", first, second)
			}
			if err == nil {
				break
			}
		}
	}
}

func TestAPreparationThatFailsChangesNothing(t *testing.T) {
	path := t.TempDir()
	d := member(t, path)
	old := d.Identity()
	broken := errors.New("the disk is full")
	if _, err := d.Succeed(9, 4, func(string, Identity) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Succeed(7, 4, putHeir); err == nil {
		t.Error("a cluster succeeded itself")
	}
	mustClose(t, d)
	if id := whole(t, 0, path, old); id != old {
		t.Errorf("got %+v", id)
	}
	if _, err := mustOpen(t, t.TempDir()).Succeed(9, 4, putHeir); err == nil {
		t.Error("an empty directory has a successor")
	}
}
