package replica

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPromisesOutliveTheProcessThatMadeThem(t *testing.T) {
	dir := t.TempDir()
	note := func(leaseReads bool, timeout, want time.Duration) {
		t.Helper()
		if quiet, err := notePromise(dir, leaseReads, timeout); err != nil || quiet != want {
			t.Fatalf("quiet for %v, %v; want %v", quiet, err, want)
		}
	}
	note(false, time.Second, 0)
	if _, err := os.Stat(filepath.Join(dir, promiseName)); !os.IsNotExist(err) {
		t.Fatalf("a member that promises nothing writes a file: %v", err)
	}
	note(true, time.Second, 0)
	note(true, 2*time.Second, time.Second)
	note(true, time.Second, 2*time.Second) // a shorter timeout does not shorten what was promised
	note(false, time.Second, 2*time.Second)
	note(false, time.Second, 2*time.Second) // it may have been stopped before it was quiet for so long
	if err := forgetPromise(dir); err != nil {
		t.Fatal(err)
	}
	note(false, time.Second, 0)
}

func TestADamagedPromiseStopsTheMember(t *testing.T) {
	dir := t.TempDir()
	if _, err := notePromise(dir, true, time.Second); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, promiseName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := notePromise(dir, false, time.Second); err == nil {
		t.Fatal("a damaged file is taken for none")
	}
}
