package wal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// A frame's payload is a list of records: type u8, length u32 big-endian, body. Integers in bodies are uvarints.
type recordType uint8

const (
	// recordEntry is a raft.Entry. It takes the place of all that was stored at or after its index.
	recordEntry recordType = iota + 1
	// recordHardState is term and vote.
	recordHardState
	// recordInstall is an install marker: keep u8 (1: the entries behind the snapshot stay), raft.SnapshotMeta.
	recordInstall
	// recordStart is where the log starts: index, term, and the first segment that is still needed.
	recordStart
	// recordOrigin, of state frames, is how the segment before ended: last index, length of the segment up to
	// its last frame, checksum of the header of its last frame.
	recordOrigin
)

func (t recordType) String() string {
	switch t {
	case recordEntry:
		return "entry"
	case recordHardState:
		return "hardstate"
	case recordInstall:
		return "install"
	case recordStart:
		return "start"
	case recordOrigin:
		return "origin"
	}
	return fmt.Sprintf("record-type-%d", uint8(t))
}

const recordHeaderBytes = 5

// beginRecord appends a record's header, whose length endRecord fills in.
func beginRecord(b []byte, t recordType) ([]byte, int) {
	return append(b, byte(t), 0, 0, 0, 0), len(b)
}

func endRecord(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at+1:], uint32(len(b)-at-recordHeaderBytes))
	return b
}

func appendEntry(b []byte, e *raft.Entry) ([]byte, error) {
	b, at := beginRecord(b, recordEntry)
	b, err := e.AppendBinary(b)
	if err != nil {
		return b, fmt.Errorf("encode entry %d: %w", e.Index, err)
	}
	return endRecord(b, at), nil
}

func appendHardState(b []byte, h raft.HardState) []byte {
	b, at := beginRecord(b, recordHardState)
	b = binary.AppendUvarint(b, uint64(h.Term))
	b = binary.AppendUvarint(b, uint64(h.Vote))
	return endRecord(b, at)
}

func appendInstall(b []byte, meta raft.SnapshotMeta, keep bool) ([]byte, error) {
	b, at := beginRecord(b, recordInstall)
	if keep {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b, err := meta.AppendBinary(b)
	if err != nil {
		return b, fmt.Errorf("encode the description of snapshot %d: %w", meta.Index, err)
	}
	return endRecord(b, at), nil
}

func appendStart(b []byte, start raft.Position, first uint64) []byte {
	b, at := beginRecord(b, recordStart)
	b = binary.AppendUvarint(b, uint64(start.Index))
	b = binary.AppendUvarint(b, uint64(start.Term))
	b = binary.AppendUvarint(b, first)
	return endRecord(b, at)
}

// origin is how the segment before ended.
type origin struct {
	last raft.Index
	end  int64
	crc  uint32
}

func appendOrigin(b []byte, o origin) []byte {
	b, at := beginRecord(b, recordOrigin)
	b = binary.AppendUvarint(b, uint64(o.last))
	b = binary.AppendUvarint(b, uint64(o.end))
	b = binary.AppendUvarint(b, uint64(o.crc))
	return endRecord(b, at)
}

// record is one decoded record; the fields that belong to its type are set.
type record struct {
	kind      recordType
	entry     raft.Entry
	hardState raft.HardState
	snapshot  *raft.SnapshotMeta
	keep      bool
	start     raft.Position
	first     uint64
	origin    origin
}

var errShortRecord = errors.New("the record is shorter than its fields")

// nextRecord splits the first record off a payload. Entries' data are slices of the payload.
func nextRecord(payload []byte) (record, []byte, error) {
	var r record
	if len(payload) < recordHeaderBytes {
		return r, nil, fmt.Errorf("%d bytes are left, a record's header has %d", len(payload), recordHeaderBytes)
	}
	r.kind = recordType(payload[0])
	length := int64(binary.BigEndian.Uint32(payload[1:]))
	payload = payload[recordHeaderBytes:]
	if length > int64(len(payload)) {
		return r, nil, fmt.Errorf("%s record of %d bytes where %d are left", r.kind, length, len(payload))
	}
	body, rest := payload[:length:length], payload[length:]
	if err := r.decode(body); err != nil {
		return r, nil, fmt.Errorf("%s record: %w", r.kind, err)
	}
	return r, rest, nil
}

func (r *record) decode(body []byte) error {
	switch r.kind {
	case recordEntry:
		return r.entry.UnmarshalBinary(body)
	case recordHardState:
		var v [2]uint64
		err := uvarints(body, v[:])
		r.hardState = raft.HardState{Term: raft.Term(v[0]), Vote: raft.NodeID(v[1])}
		return err
	case recordInstall:
		if len(body) == 0 {
			return errShortRecord
		}
		r.keep = body[0] == 1
		r.snapshot = new(raft.SnapshotMeta)
		return r.snapshot.UnmarshalBinary(body[1:])
	case recordStart:
		var v [3]uint64
		err := uvarints(body, v[:])
		r.start = raft.Position{Index: raft.Index(v[0]), Term: raft.Term(v[1])}
		r.first = v[2]
		return err
	case recordOrigin:
		var v [3]uint64
		err := uvarints(body, v[:])
		r.origin = origin{last: raft.Index(v[0]), end: int64(v[1]), crc: uint32(v[2])}
		return err
	}
	return errors.New("unknown type")
}

// uvarints reads exactly len(out) integers.
func uvarints(b []byte, out []uint64) error {
	for i := range out {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return errShortRecord
		}
		out[i], b = v, b[n:]
	}
	if len(b) != 0 {
		return fmt.Errorf("%d bytes too many", len(b))
	}
	return nil
}
