package statemachine_test

import (
	"context"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/statemachine"
	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/raft/session"
)

func open(t *testing.T) node.StateMachine {
	t.Helper()
	m, err := kv.Open(kv.Options{Disk: store.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return statemachine.Of(m)
}

func TestStateMovesThroughTheInterface(t *testing.T) {
	from, to := open(t), open(t)
	data, err := kv.AppendProposal(nil, session.Header{}, kv.Put([]byte("k"), []byte("v")))
	if err != nil {
		t.Fatal(err)
	}
	results, err := from.Apply([]raft.Entry{{Term: 3, Index: 1, Type: raft.EntryNormal, Data: data}, {Term: 3, Index: 2, Type: raft.EntryEmpty}})
	if err != nil || results[0].(*kv.Result).Revision != 2 || results[1] != nil {
		t.Fatalf("%v, %v", results, err)
	}
	s, err := from.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	stage, err := to.Stage(s.Meta())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteTo(stage); err != nil {
		t.Fatal(err)
	}
	if err := stage.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := to.Install(s.Meta()); err != nil {
		t.Fatal(err)
	}
	if got := to.Applied(); got.Index != 2 || got.Term != 3 || to.Durable() != 2 {
		t.Fatalf("%+v, durable %d", got, to.Durable())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailuresAreNilInterfaces(t *testing.T) {
	m := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if s, err := m.Snapshot(ctx); s != nil || err == nil {
		t.Fatalf("%v, %v", s, err)
	}
}
