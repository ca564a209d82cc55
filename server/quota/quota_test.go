package quota

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/raft/vfs"
)

func TestFit(t *testing.T) {
	const mebi, gibi = 1 << 20, 1 << 30
	for _, x := range []struct{ given, capacity, want int64 }{
		{0, 256 * mebi, 64 * mebi}, {0, gibi, 256 * mebi}, {0, 8*gibi - 4, 2*gibi - 1},
		{0, 8 * gibi, 2 * gibi}, {0, 100 * gibi, 2 * gibi}, {0, math.MaxInt64, 2 * gibi},
		{0, 64 * mebi, 16 * mebi}, {0, 10 * mebi, 16 * mebi}, {0, 1, 16 * mebi},
		{0, 0, 2 * gibi}, {0, -1, 2 * gibi}, {0, math.MinInt64, 2 * gibi}, // not known
		{48 << 10, 100 * gibi, 48 << 10}, {8 * gibi, 256 * mebi, 8 * gibi}, {1, 0, 1},
	} {
		if got := Fit(x.given, x.capacity); got != x.want {
			t.Errorf("Fit(%d, %d) = %d, want %d", x.given, x.capacity, got, x.want)
		}
	}
}

// TestOfADirectoryThatIsToBeMade is that of the file system where it will be.
func TestOfADirectoryThatIsToBeMade(t *testing.T) {
	dir := t.TempDir()
	capacity, err := vfs.OS{}.Capacity(dir)
	if err != nil || capacity <= 0 {
		t.Fatal(capacity, err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "not", "yet"), dir + "/"} {
		if got, err := Of(0, d); err != nil || got != Fit(0, capacity) {
			t.Errorf("%s: %d, %v, want %d", d, got, err, Fit(0, capacity))
		}
	}
	t.Chdir(dir)
	for _, d := range []string{"", "not-yet"} {
		if got, err := Of(0, d); err != nil || got != Fit(0, capacity) {
			t.Errorf("%q: %d, %v, want %d", d, got, err, Fit(0, capacity))
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Of(0, filepath.Join(file, "below")); err == nil || got != Most {
		t.Errorf("no directory: %d, %v", got, err)
	}
	if got, err := Of(7, filepath.Join(file, "below")); err != nil || got != 7 {
		t.Errorf("a quota that was given: %d, %v", got, err)
	}
}
