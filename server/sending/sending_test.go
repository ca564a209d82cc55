package sending

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

// source has snapshots of these bytes, and counts those that are open.
type source struct {
	content []byte
	err     error
	open    atomic.Int64
}

func (s *source) Snapshot(context.Context) (backend.Snapshot, error) {
	s.open.Add(1)
	return &taken{of: s}, nil
}

type taken struct{ of *source }

func (*taken) Meta() raft.SnapshotMeta { return raft.SnapshotMeta{Index: 5} }

func (t *taken) WriteTo(w io.Writer) (int64, error) {
	n := int64(0)
	for rest := t.of.content; len(rest) > 0; {
		k, err := w.Write(rest[:min(7, len(rest))])
		n += int64(k)
		if err != nil {
			return n, err
		}
		rest = rest[k:]
	}
	return n, t.of.err
}

func (t *taken) Close() error {
	t.of.open.Add(-1)
	return nil
}

func open(t *testing.T, d *Desk, s *source) *Snapshot {
	t.Helper()
	out, err := d.Open(t.Context(), s, 10)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readAll(t *testing.T, s *Snapshot) (all []byte, err error) {
	t.Helper()
	for {
		part, err := s.Next(t.Context())
		if err != nil {
			return all, err
		}
		if len(part) > 10 {
			t.Errorf("a part of %d bytes", len(part))
		}
		all = append(all, part...)
	}
}

func TestASnapshotArrivesWholeOrItIsTold(t *testing.T) {
	broken := errors.New("broken")
	for _, length := range []int{0, 1, 9, 10, 11, 30, 33} {
		for _, failure := range []error{nil, broken} {
			d, s := new(Desk), &source{content: bytes.Repeat([]byte("x"), length), err: failure}
			out := open(t, d, s)
			all, err := readAll(t, out)
			switch {
			case failure == nil && (!errors.Is(err, io.EOF) || !bytes.Equal(all, s.content)):
				t.Errorf("%d bytes: %q, %v", length, all, err)
			case failure != nil && !errors.Is(err, failure):
				t.Errorf("%d bytes: the failure is told as %v", length, err)
			}
			if out.Meta().Index != 5 {
				t.Errorf("%+v", out.Meta())
			}
			out.Close()
			out.Close()
			if s.open.Load() != 0 || d.taken != 0 {
				t.Errorf("%d snapshots are open, %d places taken", s.open.Load(), d.taken)
			}
		}
	}
}

func TestSnapshotsAreBounded(t *testing.T) {
	d, s := new(Desk), &source{content: make([]byte, 100)}
	var all []*Snapshot
	for range MaxSnapshots {
		all = append(all, open(t, d, s))
	}
	if _, err := d.Open(t.Context(), s, 10); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	all[0].Close()
	all[0] = open(t, d, s)
	for _, x := range all {
		x.Close()
	}
	if s.open.Load() != 0 {
		t.Errorf("%d snapshots are open", s.open.Load())
	}
}

// Who reads no further keeps no view of the store; who reads slowly, and he who has to wait for the disk, reads to the end.
func TestASnapshotThatNobodyReadsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := new(Desk), &source{content: bytes.Repeat([]byte("y"), 45)}
		slow := open(t, d, s)
		for read := 0; read < len(s.content); {
			time.Sleep(idle - time.Second)
			part, err := slow.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			read += len(part)
		}
		if _, err := slow.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		slow.Close()
		gone := open(t, d, s)
		if _, err := gone.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(idle + time.Second)
		synctest.Wait()
		if s.open.Load() != 0 || d.taken != 0 {
			t.Errorf("%d snapshots are open, %d places taken", s.open.Load(), d.taken)
		}
		if _, err := gone.Next(t.Context()); !errors.Is(err, ErrIdle) {
			t.Errorf("it is told %v", err)
		}
		gone.Close()
	})
}
