package store

import (
	"os"
	"path/filepath"
	"testing"
)

// What comes to nothing leaves nothing on a disk that may be full of it.
func TestWhatIsNotFinishedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	d := must[*Directory](t)(NewDirectory(dir, DirectoryOptions{}))
	s := must[Store](t)(d.Open())
	defer func() { ok(t, s.Close()) }()
	inTheWay := filepath.Join(dir, "hindered"+stagedSuffix, "x")
	ok(t, os.MkdirAll(inTheWay, 0o700)) // so that the rename fails
	for name, end := range map[string]func(Staging){
		"aborted": func(s Staging) { ok(t, s.Abort()) },
		"hindered": func(s Staging) {
			if s.Finish() == nil {
				t.Error("it was finished over a directory")
			}
			ok(t, s.Abort())
		},
	} {
		staging := must[Staging](t)(d.Stage(name))
		putOne(t, staging, "k", "v")
		end(staging)
		if left := must[[]string](t)(d.list(stagingSuffix)); len(left) != 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}
