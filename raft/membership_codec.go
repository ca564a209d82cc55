package raft

import (
	"encoding/binary"
	"fmt"
)

// A membership is written in the later format only while it is joint, so that members of a build before joint memberships
// read all that a cluster of their version holds.
const (
	membershipFormat      = 1
	membershipFormatJoint = 2

	flagLearner       = 1 << 0
	flagOutgoingVoter = 1 << 1
	flagLeaving       = 1 << 2
)

// JointVersion is the cluster version from which on a membership may be joint: every member reads it.
const JointVersion = 2

// AppendBinary appends the encoding: format u8, index, last ID, member count, then for each member its
// ID, incarnation, flags u8 and three length-prefixed strings; integers are uvarints.
func (m Membership) AppendBinary(b []byte) ([]byte, error) {
	format := byte(membershipFormat)
	if m.Joint() {
		format = membershipFormatJoint
	}
	b = append(b, format)
	b = binary.AppendUvarint(b, uint64(m.Index))
	b = binary.AppendUvarint(b, uint64(m.LastID))
	b = binary.AppendUvarint(b, uint64(len(m.Members)))
	for _, x := range m.Members {
		b = binary.AppendUvarint(b, uint64(x.ID))
		b = binary.AppendUvarint(b, uint64(x.Incarnation))
		b = append(b, x.flags())
		for _, s := range []string{x.Name, x.PeerAddress, x.ClientAddress} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b, nil
}

// UnmarshalBinary reads the encoding; it needs all of data.
func (m *Membership) UnmarshalBinary(data []byte) error {
	d := decoder{data: data}
	format := d.byte()
	if d.err == nil && format != membershipFormat && format != membershipFormatJoint {
		return fmt.Errorf("membership format %d: this build reads formats %d and %d", format, membershipFormat, membershipFormatJoint)
	}
	var out Membership
	out.Index = Index(d.uvarint())
	out.LastID = NodeID(d.uvarint())
	n := d.uvarint()
	if n > MaxMembers {
		return fmt.Errorf("membership of %d members, the limit is %d", n, MaxMembers)
	}
	for i := uint64(0); i < n && d.err == nil; i++ {
		var x Member
		x.ID = NodeID(d.uvarint())
		x.Incarnation = Incarnation(d.uvarint())
		flags := d.byte()
		if flags&^knownFlags(format) != 0 {
			return fmt.Errorf("membership format %d: member %s has unknown flags %#x", format, x.ID, flags)
		}
		x.Learner = flags&flagLearner != 0
		x.OutgoingVoter = flags&flagOutgoingVoter != 0
		x.Leaving = flags&flagLeaving != 0
		x.Name = string(d.bytes())
		x.PeerAddress = string(d.bytes())
		x.ClientAddress = string(d.bytes())
		out.Members = append(out.Members, x)
	}
	if err := d.finish("membership"); err != nil {
		return err
	}
	if format == membershipFormatJoint && !out.Joint() {
		return fmt.Errorf("membership format %d, but the membership is not joint: it is written in format %d", format, membershipFormat)
	}
	*m = out
	return nil
}

func (m Member) flags() byte {
	var flags byte
	if m.Learner {
		flags |= flagLearner
	}
	if m.OutgoingVoter {
		flags |= flagOutgoingVoter
	}
	if m.Leaving {
		flags |= flagLeaving
	}
	return flags
}

func knownFlags(format byte) byte {
	if format == membershipFormatJoint {
		return flagLearner | flagOutgoingVoter | flagLeaving
	}
	return flagLearner
}
