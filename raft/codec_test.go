package raft

import (
	"reflect"
	"testing"
)

func TestMessagesSurviveTheirEncoding(t *testing.T) {
	meta := &SnapshotMeta{Index: 9, Term: 3, ClusterVersion: 1, Membership: members(3)}
	for _, m := range []Message{
		{Type: MsgVote, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 2, Transfer: true},
		{Type: MsgAppend, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 2, Commit: 4, Entries: []Entry{
			{Term: 3, Index: 5, Type: EntryNormal, Data: []byte("five")}, {Term: 3, Index: 6, Type: EntryEmpty, Data: []byte{}}}},
		{Type: MsgAppendResponse, From: 2, To: 1, Term: 3, Index: 4, Reject: true, Hint: 2, LogTerm: 1},
		{Type: MsgSnapshot, From: 1, To: 2, Term: 3, Snapshot: meta},
	} {
		raw, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got Message
		if err := got.UnmarshalBinary(raw); err != nil {
			t.Fatalf("%s: %v", m.Type, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, want %+v", got, m)
		}
		for cut := range raw {
			if err := new(Message).UnmarshalBinary(raw[:cut]); err == nil {
				t.Errorf("%s cut at %d was accepted", m.Type, cut)
			}
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range []Message{
		{Type: MsgAppend, From: 1, To: 2, Term: 3, Entries: []Entry{{Term: 3, Index: 5, Type: EntryNormal, Data: []byte("x")}}},
		{Type: MsgSnapshot, From: 1, To: 2, Term: 3, Snapshot: &SnapshotMeta{Index: 9, Term: 3, Membership: members(2)}},
	} {
		raw, err := m.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		if m.UnmarshalBinary(raw) != nil {
			return
		}
		again, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back Message
		if err := back.UnmarshalBinary(again); err != nil || !reflect.DeepEqual(m, back) {
			t.Fatalf("%+v became %+v: %v", m, back, err)
		}
	})
}
