package raft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The encodings here are shared by the wire and the WAL. Integers are uvarints unless said otherwise;
// byte strings are length-prefixed. Frames and records around them carry magic, version and checksum.

var errTruncated = errors.New("truncated")

// decoder reads a byte slice front to back and remembers the first error.
type decoder struct {
	data []byte
	err  error
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.err = errTruncated
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) byte() byte {
	if d.err != nil {
		return 0
	}
	if len(d.data) == 0 {
		d.err = errTruncated
		return 0
	}
	v := d.data[0]
	d.data = d.data[1:]
	return v
}

// bytes returns a slice of the input, not a copy.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.data)) {
		d.err = errTruncated
		return nil
	}
	v := d.data[:n:n]
	d.data = d.data[n:]
	return v
}

func (d *decoder) finish(what string) error {
	switch {
	case d.err != nil:
		return fmt.Errorf("decode %s: %w", what, d.err)
	case len(d.data) != 0:
		return fmt.Errorf("decode %s: %d bytes too many", what, len(d.data))
	}
	return nil
}

// AppendBinary appends the entry's encoding: type u8, term, index, data.
func (e Entry) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, byte(e.Type))
	b = binary.AppendUvarint(b, uint64(e.Term))
	b = binary.AppendUvarint(b, uint64(e.Index))
	b = binary.AppendUvarint(b, uint64(len(e.Data)))
	return append(b, e.Data...), nil
}

// UnmarshalBinary reads an encoding made by AppendBinary. Data is a slice of the input, not a copy.
func (e *Entry) UnmarshalBinary(data []byte) error {
	d := decoder{data: data}
	x := d.entry()
	if err := d.finish("entry"); err != nil {
		return err
	}
	*e = x
	return nil
}

func (d *decoder) entry() Entry {
	var e Entry
	e.Type = EntryType(d.byte())
	e.Term = Term(d.uvarint())
	e.Index = Index(d.uvarint())
	e.Data = d.bytes()
	return e
}

// EncodedSize returns a bound of the length of the entry's encoding in bytes.
func (e Entry) EncodedSize() int { return 1 + 3*binary.MaxVarintLen64 + len(e.Data) }

// AppendBinary appends the encoding of the snapshot's description: index, term, cluster version, membership.
func (s SnapshotMeta) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(s.Index))
	b = binary.AppendUvarint(b, uint64(s.Term))
	b = binary.AppendUvarint(b, uint64(s.ClusterVersion))
	m, err := s.Membership.AppendBinary(nil)
	if err != nil {
		return b, err
	}
	b = binary.AppendUvarint(b, uint64(len(m)))
	return append(b, m...), nil
}

// UnmarshalBinary reads an encoding made by AppendBinary.
func (s *SnapshotMeta) UnmarshalBinary(data []byte) error {
	d := decoder{data: data}
	var x SnapshotMeta
	x.Index = Index(d.uvarint())
	x.Term = Term(d.uvarint())
	x.ClusterVersion = uint32(d.uvarint())
	members := d.bytes()
	if err := d.finish("snapshot description"); err != nil {
		return err
	}
	if err := x.Membership.UnmarshalBinary(members); err != nil {
		return err
	}
	*s = x
	return nil
}

const (
	messageFormat = 1

	flagReject   = 1 << 0
	flagTransfer = 1 << 1
	flagSnapshot = 1 << 2
)

// WireVersion is the version of Message's encoding, for the handshake between peers.
func (Message) WireVersion() uint16 { return messageFormat }

// AppendBinary appends the message's encoding.
func (m Message) AppendBinary(b []byte) ([]byte, error) {
	var flags byte
	if m.Reject {
		flags |= flagReject
	}
	if m.Transfer {
		flags |= flagTransfer
	}
	if m.Snapshot != nil {
		flags |= flagSnapshot
	}
	b = append(b, byte(m.Type), flags)
	for _, v := range [...]uint64{
		uint64(m.From), uint64(m.To), uint64(m.Term), uint64(m.Index), uint64(m.LogTerm),
		uint64(m.Commit), m.Context, uint64(m.Hint), uint64(len(m.Entries)),
	} {
		b = binary.AppendUvarint(b, v)
	}
	for i := range m.Entries {
		b, _ = m.Entries[i].AppendBinary(b)
	}
	if m.Snapshot == nil {
		return b, nil
	}
	s, err := m.Snapshot.AppendBinary(nil)
	if err != nil {
		return b, err
	}
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...), nil
}

// UnmarshalBinary reads an encoding made by AppendBinary. The entries' data share one copy of the input.
func (m *Message) UnmarshalBinary(data []byte) error {
	d := decoder{data: data}
	var x Message
	x.Type = MessageType(d.byte())
	flags := d.byte()
	x.Reject = flags&flagReject != 0
	x.Transfer = flags&flagTransfer != 0
	x.From = NodeID(d.uvarint())
	x.To = NodeID(d.uvarint())
	x.Term = Term(d.uvarint())
	x.Index = Index(d.uvarint())
	x.LogTerm = Term(d.uvarint())
	x.Commit = Index(d.uvarint())
	x.Context = d.uvarint()
	x.Hint = Index(d.uvarint())
	n := d.uvarint()
	const leastEntryBytes = 4
	if d.err == nil && n > uint64(len(d.data)/leastEntryBytes) {
		return fmt.Errorf("decode message: %d entries in %d bytes", n, len(d.data))
	}
	if n > 0 && d.err == nil {
		d.data = bytes.Clone(d.data)
		x.Entries = make([]Entry, 0, n)
		for i := uint64(0); i < n && d.err == nil; i++ {
			x.Entries = append(x.Entries, d.entry())
		}
	}
	if flags&flagSnapshot != 0 {
		raw := d.bytes()
		if d.err == nil {
			x.Snapshot = new(SnapshotMeta)
			if err := x.Snapshot.UnmarshalBinary(raw); err != nil {
				return err
			}
		}
	}
	if err := d.finish("message"); err != nil {
		return err
	}
	*m = x
	return nil
}
