package replica

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/session"
)

// foundation is that of a cluster which begins with one command. then is called while the directory is filled.
func foundation(t *testing.T, dir string, then func() error) Foundation {
	return Foundation{
		Dir: dir, Name: "a", Cluster: 7, First: raft.Member{PeerAddress: "127.0.0.1:1"},
		OpenMachine: func(p Place) (Machine, error) {
			m, err := openMemory(newTally(), p)
			if err != nil {
				return nil, err
			}
			if _, err := m.Apply([]raft.Entry{proposal(t, 1, session.Header{}, wrap([]byte("x")))}); err != nil {
				return nil, errors.Join(err, m.Close())
			}
			if err := then(); err != nil {
				return nil, errors.Join(err, m.Close())
			}
			return m, nil
		},
	}
}

// Two restores into one directory both find it vacant. The one that comes second, while the first fills it or behind that, leaves everything as it is.
func TestOfTwoWhoFoundInOneDirectoryOneDoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	second := func(when string) {
		_, err := found(foundation(t, dir, func() error { t.Errorf("%s the second fills the directory", when); return nil }), true)
		if !errors.Is(err, ErrNotEmpty) {
			t.Errorf("%s the second gets %v", when, err)
		}
	}
	id, err := Found(foundation(t, dir, func() error { second("meanwhile"); return nil }))
	if err != nil {
		t.Fatal(err)
	}
	second("behind that")
	s := newStation(t, "a")
	s.cfg.Dir = dir
	s.start()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if got := s.count(ctx, "x"); got != 1 || s.replica.Status().Identity != id {
		t.Errorf("x = %d, %+v; want %+v", got, s.replica.Status().Identity, id)
	}
}

// A restore that fails leaves nothing, so that it can be done again.
func TestAFoundationThatFailsLeavesNothing(t *testing.T) {
	for _, there := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "data")
		if there {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		broken := errors.New("broken")
		if _, err := Found(foundation(t, dir, func() error { return broken })); !errors.Is(err, broken) {
			t.Fatal(err)
		}
		left, err := os.ReadDir(dir)
		if len(left) != 0 || errors.Is(err, os.ErrNotExist) == there {
			t.Errorf("%v is left, %v", left, err)
		}
		if _, err := Found(foundation(t, dir, func() error { return nil })); err != nil {
			t.Error(err)
		}
	}
}
