package raft

import (
	"bytes"
	"encoding"
	"reflect"
	"testing"
)

// wire is what can be encoded and decoded.
type wire interface {
	AppendBinary(b []byte) ([]byte, error)
	encoding.BinaryUnmarshaler
}

// fuzzWire decodes any bytes: what is accepted must encode to what decodes alike, and be refused when a byte is missing.
func fuzzWire[T any, P interface {
	*T
	wire
}](f *testing.F, seeds ...T) {
	for i := range seeds {
		raw, err := P(&seeds[i]).AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		original := bytes.Clone(raw)
		var x, back T
		err := P(&x).UnmarshalBinary(raw)
		if !bytes.Equal(raw, original) {
			t.Fatal("decoding changed its input")
		}
		if err != nil {
			return
		}
		again, err := P(&x).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := P(&back).UnmarshalBinary(again); err != nil || !reflect.DeepEqual(x, back) {
			t.Fatalf("%+v became %+v, %v", x, back, err)
		}
		if len(again) > len(raw) {
			t.Fatalf("%d bytes became %d: something is made up", len(raw), len(again))
		}
	})
}

// fuzzMembers are a membership with everything in it.
func fuzzMembers() Membership {
	m := members(3)
	m.Index, m.LastID = 17, 9
	m.Members[2].Learner = true
	return m
}

func FuzzMembership(f *testing.F) {
	joint := fuzzMembers()
	joint.Members[2].OutgoingVoter, joint.Members[2].Leaving = true, true
	fuzzWire[Membership](f, Membership{}, fuzzMembers(), joint)
}

func FuzzSnapshotMeta(f *testing.F) {
	fuzzWire[SnapshotMeta](f, SnapshotMeta{}, SnapshotMeta{Index: 1 << 40, Term: 7, ClusterVersion: 3, Membership: fuzzMembers()})
}

func FuzzEntry(f *testing.F) {
	fuzzWire[Entry](f, Entry{}, Entry{Term: 3, Index: 5, Type: EntryNormal, Data: []byte("data")})
}
