package session

import (
	"encoding/binary"
	"errors"
)

// Header precedes every command of the state machine in an entry's data. It makes a retried proposal
// recognisable (thesis §6.3).
type Header struct {
	// Session is the log index of the entry that opened the session; zero means none: never a repeat.
	Session uint64
	// Sequence numbers the proposals of a session from 1.
	Sequence uint64
	// Low says that the proposer will not ask again for sequences below it, so that their results may go.
	Low uint64
}

var errTruncated = errors.New("session header: truncated")

// AppendBinary appends the header as three uvarints.
func (h Header) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, h.Session)
	b = binary.AppendUvarint(b, h.Sequence)
	return binary.AppendUvarint(b, h.Low), nil
}

// Decode splits an entry's data into its header and the command behind it.
func Decode(data []byte) (Header, []byte, error) {
	var v [3]uint64
	for i := range v {
		x, n := binary.Uvarint(data)
		if n <= 0 {
			return Header{}, nil, errTruncated
		}
		v[i], data = x, data[n:]
	}
	return Header{Session: v[0], Sequence: v[1], Low: v[2]}, data, nil
}
