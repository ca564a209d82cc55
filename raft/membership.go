package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// MaxMembers bounds a membership, learners included.
const MaxMembers = 32

// MaxVoters bounds the voters of a membership.
const MaxVoters = 7

// Member is one incarnation of one data directory, and where it is reached.
type Member struct {
	ID          NodeID      `json:"id"`
	Incarnation Incarnation `json:"incarnation"`
	// Learner members receive the log but have no vote.
	Learner bool `json:"learner,omitempty"`
	// Name is the human's name for it, such as the pod's name.
	Name string `json:"name"`
	// PeerAddress is the host:port of its peer listener. The host is looked up at each dial.
	PeerAddress string `json:"peerAddress"`
	// ClientAddress is the host:port that clients reach it by; it may be empty.
	ClientAddress string `json:"clientAddress,omitempty"`
}

// Membership is the set of members in force from some log index on. It is a value: whoever changes one
// clones it first.
type Membership struct {
	// Index is the log index of the entry that brought it; at bootstrap it is that of the initial state.
	Index Index `json:"index,string"`
	// Members is sorted by ID.
	Members []Member `json:"members"`
	// LastID is the highest ID that was ever given out. IDs are never used twice, so an ID at or below
	// LastID that is not in Members was removed.
	LastID NodeID `json:"lastID"`
}

// Find returns the member with that ID.
func (m Membership) Find(id NodeID) (Member, bool) {
	for _, x := range m.Members {
		if x.ID == id {
			return x, true
		}
	}
	return Member{}, false
}

// FindIncarnation returns the member that is bound to that incarnation.
func (m Membership) FindIncarnation(inc Incarnation) (Member, bool) {
	for _, x := range m.Members {
		if x.Incarnation == inc {
			return x, true
		}
	}
	return Member{}, false
}

// Removed tells whether the ID was given out and is no member any more.
func (m Membership) Removed(id NodeID) bool {
	if id == 0 || id > m.LastID {
		return false
	}
	_, ok := m.Find(id)
	return !ok
}

// Voters returns the IDs of the members that vote, sorted.
func (m Membership) Voters() []NodeID {
	var out []NodeID
	for _, x := range m.Members {
		if !x.Learner {
			out = append(out, x.ID)
		}
	}
	return out
}

// Clone returns a deep copy.
func (m Membership) Clone() Membership {
	m.Members = append([]Member(nil), m.Members...)
	return m
}

// ChangeKind is what a Change does.
type ChangeKind uint8

const (
	// ChangeAddLearner adds Member as a learner under a new ID.
	ChangeAddLearner ChangeKind = iota + 1
	// ChangePromote gives the learner ID a vote.
	ChangePromote
	// ChangeRemove takes the member ID out.
	ChangeRemove
	// ChangeUpdate replaces the addresses and name of the member ID by those of Member.
	ChangeUpdate
)

func (k ChangeKind) String() string {
	switch k {
	case ChangeAddLearner:
		return "add-learner"
	case ChangePromote:
		return "promote"
	case ChangeRemove:
		return "remove"
	case ChangeUpdate:
		return "update"
	}
	return fmt.Sprintf("change-kind-%d", uint8(k))
}

// Change is one single-step change of the membership (thesis §4.1): it moves at most one vote.
type Change struct {
	Kind   ChangeKind
	ID     NodeID // of ChangePromote, ChangeRemove and ChangeUpdate
	Member Member // of ChangeAddLearner and ChangeUpdate; its ID is ignored
}

// ErrChangeRefused is wrapped by every reason for which Apply refuses a change.
var ErrChangeRefused = errors.New("membership change refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrChangeRefused, fmt.Sprintf(format, args...))
}

// Apply returns the membership after the change, and the ID of the member that it concerns. It does
// not alter m. A change that is already in force is not an error: it returns m as it is, so that every
// change may be asked for twice.
func (m Membership) Apply(c Change) (Membership, NodeID, error) {
	next := m.Clone()
	switch c.Kind {
	case ChangeAddLearner:
		if c.Member.Incarnation == 0 {
			return m, 0, refuse("a new member needs the incarnation of its data directory")
		}
		if x, ok := m.FindIncarnation(c.Member.Incarnation); ok {
			return m, x.ID, nil
		}
		if len(m.Members) >= MaxMembers {
			return m, 0, refuse("the cluster has %d members, the limit: remove one first", MaxMembers)
		}
		if m.LastID == ^NodeID(0) {
			return m, 0, refuse("no member IDs are left")
		}
		add := c.Member
		add.ID = m.LastID + 1
		add.Learner = true
		next.LastID = add.ID
		next.Members = append(next.Members, add)
		return next, add.ID, nil
	case ChangePromote:
		for i := range next.Members {
			if next.Members[i].ID != c.ID {
				continue
			}
			if next.Members[i].Learner && len(m.Voters()) >= MaxVoters {
				return m, 0, refuse("the cluster has %d voters, the limit: remove one first", MaxVoters)
			}
			next.Members[i].Learner = false
			return next, c.ID, nil
		}
		return m, 0, refuse("member %s is not in the cluster", c.ID)
	case ChangeRemove:
		x, ok := m.Find(c.ID)
		if !ok {
			if m.Removed(c.ID) {
				return m, c.ID, nil
			}
			return m, 0, refuse("member %s was never in the cluster", c.ID)
		}
		if !x.Learner && len(m.Voters()) == 1 {
			return m, 0, refuse("member %s is the last voter: removing it would end the cluster", c.ID)
		}
		kept := next.Members[:0]
		for _, y := range next.Members {
			if y.ID != c.ID {
				kept = append(kept, y)
			}
		}
		next.Members = kept
		return next, c.ID, nil
	case ChangeUpdate:
		for i := range next.Members {
			if next.Members[i].ID == c.ID {
				next.Members[i].Name = c.Member.Name
				next.Members[i].PeerAddress = c.Member.PeerAddress
				next.Members[i].ClientAddress = c.Member.ClientAddress
				return next, c.ID, nil
			}
		}
		return m, 0, refuse("member %s is not in the cluster", c.ID)
	}
	return m, 0, refuse("unknown kind of change %d", uint8(c.Kind))
}

// Equal tells whether both hold the same members, from whatever index on.
func (m Membership) Equal(o Membership) bool {
	if m.LastID != o.LastID || len(m.Members) != len(o.Members) {
		return false
	}
	for i := range m.Members {
		if m.Members[i] != o.Members[i] {
			return false
		}
	}
	return true
}

// Validate reports whether the membership can be in force: sorted, distinct, within bounds, with a voter.
func (m Membership) Validate() error {
	switch voters := len(m.Voters()); {
	case len(m.Members) > MaxMembers:
		return fmt.Errorf("membership has %d members, the limit is %d", len(m.Members), MaxMembers)
	case voters > MaxVoters:
		return fmt.Errorf("membership has %d voters, the limit is %d", voters, MaxVoters)
	case voters == 0:
		return errors.New("membership has no voter")
	}
	seen := map[Incarnation]NodeID{}
	for i, x := range m.Members {
		if x.ID == 0 || x.Incarnation == 0 {
			return fmt.Errorf("member %q has no ID or no incarnation", x.Name)
		}
		if x.ID > m.LastID {
			return fmt.Errorf("member %s is above the last ID given out, %s", x.ID, m.LastID)
		}
		if i > 0 && m.Members[i-1].ID >= x.ID {
			return fmt.Errorf("members are not sorted by distinct IDs at %s", x.ID)
		}
		if other, ok := seen[x.Incarnation]; ok {
			return fmt.Errorf("members %s and %s share the incarnation %s", other, x.ID, x.Incarnation)
		}
		seen[x.Incarnation] = x.ID
	}
	return nil
}

// NewMembership returns the membership of these members, sorted, with LastID at their highest ID.
func NewMembership(members ...Member) Membership {
	m := Membership{Members: append([]Member(nil), members...)}
	sort.Slice(m.Members, func(i, j int) bool { return m.Members[i].ID < m.Members[j].ID })
	for _, x := range m.Members {
		m.LastID = max(m.LastID, x.ID)
	}
	return m
}

const membershipFormat = 1

// AppendBinary appends the encoding: format u8, index, last ID, member count, then for each member its
// ID, incarnation, flags u8 and three length-prefixed strings; integers are uvarints.
func (m Membership) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, membershipFormat)
	b = binary.AppendUvarint(b, uint64(m.Index))
	b = binary.AppendUvarint(b, uint64(m.LastID))
	b = binary.AppendUvarint(b, uint64(len(m.Members)))
	for _, x := range m.Members {
		b = binary.AppendUvarint(b, uint64(x.ID))
		b = binary.AppendUvarint(b, uint64(x.Incarnation))
		var flags byte
		if x.Learner {
			flags = 1
		}
		b = append(b, flags)
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
	if f := d.byte(); d.err == nil && f != membershipFormat {
		return fmt.Errorf("membership format %d: this build reads format %d", f, membershipFormat)
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
		x.Learner = d.byte()&1 != 0
		x.Name = string(d.bytes())
		x.PeerAddress = string(d.bytes())
		x.ClientAddress = string(d.bytes())
		out.Members = append(out.Members, x)
	}
	if err := d.finish("membership"); err != nil {
		return err
	}
	*m = out
	return nil
}
