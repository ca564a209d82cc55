package sim

import "github.com/raftkv/raftkv/raft"

// Meter counts the messages that members send, whether they arrive or not.
type Meter struct {
	// Messages are counted by kind.
	Messages map[raft.MessageType]uint64
	// Entries is the number of log entries in them, Bytes the size of their encodings.
	Entries, Bytes uint64
	// Rejected counts refusals of appends: how often a leader looked in vain for where a log equals its own.
	Rejected uint64
}

func newMeter() *Meter { return &Meter{Messages: map[raft.MessageType]uint64{}} }

func (m *Meter) add(x raft.Message) {
	b, err := x.AppendBinary(nil)
	if err != nil {
		fail("encoding", "%v", err)
	}
	m.Messages[x.Type]++
	m.Entries += uint64(len(x.Entries))
	m.Bytes += uint64(len(b))
	if x.Type == raft.MsgAppendResponse && x.Reject {
		m.Rejected++
	}
}
