package raft

import (
	"errors"
	"fmt"
	"slices"
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
	// Learner members receive the log but have no vote. While the membership is joint, this is said of the
	// incoming configuration.
	Learner bool `json:"learner,omitempty"`
	// OutgoingVoter members vote in the outgoing configuration of a joint membership.
	OutgoingVoter bool `json:"outgoingVoter,omitempty"`
	// Leaving members of a joint membership vote in the outgoing configuration and are no members of the incoming one.
	Leaving bool `json:"leaving,omitempty"`
	// Name is the human's name for it, such as the pod's name.
	Name string `json:"name"`
	// PeerAddress is the host:port of its peer listener, with https:// before it if that speaks TLS. The host is looked up at each dial.
	PeerAddress string `json:"peerAddress"`
	// ClientAddress is the host:port that clients reach it by, with https:// before it if by TLS; it may be empty.
	ClientAddress string `json:"clientAddress,omitempty"`
}

// Invited tells whether the member was added by its address alone (ChangeInvite) and nobody has claimed it: then no process speaks for it, and none is
// to be dialled. Its incarnation says so, which is made from its ID: the membership's format has no place for more, and builds that know nothing
// of invitations take it for a learner that they cannot reach. A directory draws all 64 bits of its incarnation at random.
func (m Member) Invited() bool {
	return m.Learner && !m.OutgoingVoter && (m.Incarnation == invitation(m.ID, true) || m.InvitedToVote())
}

// InvitedToVote tells whether an invited member asks for its vote as soon as it has caught up: who claims it has to keep that in mind from then on.
func (m Member) InvitedToVote() bool {
	return m.Learner && !m.OutgoingVoter && m.Incarnation == invitation(m.ID, false)
}

// invitation is the incarnation of an invited member: its ID, all bits turned around, but for the first, which says whether it stays a learner.
func invitation(id NodeID, stays bool) Incarnation {
	const staysBit = 1 << 63
	if stays {
		return ^Incarnation(id) | staysBit
	}
	return ^Incarnation(id) &^ staysBit
}

// Votes tells whether the member has a vote at present, in either configuration of a joint membership.
func (m Member) Votes() bool { return !m.Learner || m.OutgoingVoter }

// Membership is the set of members in force from some log index on. It is a value: whoever changes one
// clones it first.
//
// A change that moves more than one vote goes through a joint membership (§6): it holds the members of the outgoing and of
// the incoming configuration, and every decision needs a majority of each.
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

// Voters returns the IDs of the members that vote, sorted; while the membership is joint, those of the incoming configuration.
func (m Membership) Voters() []NodeID { return m.which(func(x Member) bool { return !x.Learner }) }

// OutgoingVoters returns the IDs of the members that vote in the outgoing configuration, sorted; none unless the membership
// is joint.
func (m Membership) OutgoingVoters() []NodeID {
	return m.which(func(x Member) bool { return x.OutgoingVoter })
}

// Electors returns the IDs of the members that vote in either configuration, sorted.
func (m Membership) Electors() []NodeID { return m.which(Member.Votes) }

func (m Membership) which(is func(Member) bool) []NodeID {
	var out []NodeID
	for _, x := range m.Members {
		if is(x) {
			out = append(out, x.ID)
		}
	}
	return out
}

// Joint tells whether two configurations are in force at once: an outgoing one always has a voter.
func (m Membership) Joint() bool {
	return slices.ContainsFunc(m.Members, func(x Member) bool { return x.OutgoingVoter })
}

// HasQuorum tells whether those for whom has is true make a quorum: a majority of the voters and, while the membership is
// joint, one of the outgoing voters too.
func (m Membership) HasQuorum(has func(NodeID) bool) bool {
	e := electorateOf(m)
	return e.hasQuorum(has)
}

// Clone returns a deep copy.
func (m Membership) Clone() Membership {
	m.Members = append([]Member(nil), m.Members...)
	return m
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
	case max(voters, len(m.OutgoingVoters())) > MaxVoters:
		return fmt.Errorf("membership has %d voters, the limit is %d", max(voters, len(m.OutgoingVoters())), MaxVoters)
	case voters == 0:
		return errors.New("membership has no voter")
	}
	seen := map[Incarnation]NodeID{}
	for i, x := range m.Members {
		if x.ID == 0 || x.Incarnation == 0 {
			return fmt.Errorf("member %q has no ID or no incarnation", x.Name)
		}
		if x.Leaving && (!x.Learner || !x.OutgoingVoter) {
			return fmt.Errorf("member %s leaves, and either stays a voter or never was one", x.ID)
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
