package session

import (
	"bytes"
	"testing"
)

// FuzzHeader decodes any bytes: a header that is accepted encodes to one that decodes alike, with the same command behind it.
func FuzzHeader(f *testing.F) {
	for _, h := range []Header{{}, {Session: 1, Sequence: 2, Low: 1}, {Session: 1 << 63, Sequence: 1<<64 - 1}} {
		raw, err := h.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(raw, "command"...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, command, err := Decode(data)
		if err != nil {
			return
		}
		again, err := h.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, rest, err := Decode(append(again, command...))
		if err != nil || back != h || !bytes.Equal(rest, command) {
			t.Fatalf("%+v became %+v, %v", h, back, err)
		}
	})
}

// FuzzLoad loads any two records: a table that comes of them must save what loads to the same table.
func FuzzLoad(f *testing.F) {
	table := NewTable()
	id := table.Open(7, 3, 9)
	h := Header{Session: id, Sequence: 1, Low: 1}
	if _, _, err := table.Begin(8, h); err != nil {
		f.Fatal(err)
	}
	table.Finish(h, []byte("result"))
	records := table.Changes().Records()
	f.Add(records[0].Key, records[0].Value, records[1].Key, records[1].Value)
	f.Add(records[1].Key, records[1].Value, []byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 []byte) {
		given := []Record{{k1, v1}, {k2, v2}}
		if bytes.Equal(k1, k2) {
			given = given[:1] // a store has each key once
		}
		table, err := load(given)
		if err != nil {
			return
		}
		again, err := load(table.Records())
		if err != nil || again.Digest() != table.Digest() {
			t.Fatalf("a table of %d records became another: %v", len(given), err)
		}
		s, r := table.Len()
		if s2, r2 := again.Len(); s != s2 || r != r2 || s+r > len(given) {
			t.Fatalf("%d sessions and %d results of %d records became %d and %d", s, r, len(given), s2, r2)
		}
	})
}

func load(records []Record) (*Table, error) {
	return Load(func() (Record, error) {
		if len(records) == 0 || records[0].Key == nil {
			return Record{}, nil
		}
		r := records[0]
		records = records[1:]
		return r, nil
	})
}
