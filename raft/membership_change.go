package raft

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

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
	// ChangeInvite adds a learner under a new ID that nobody speaks for yet: whoever starts at Member.PeerAddress, which no other member has.
	// Member.Learner says that it is to stay one; see Member.Invited.
	ChangeInvite
	// ChangeClaim binds the invited member ID to the Incarnation of Member, once and for good, and gives it the Name of Member. The PeerAddress of
	// Member is the one that it was invited at.
	ChangeClaim
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
	case ChangeInvite:
		return "invite"
	case ChangeClaim:
		return "claim"
	}
	return fmt.Sprintf("change-kind-%d", uint8(k))
}

// Change is one change of the membership; it moves at most one vote.
type Change struct {
	Kind   ChangeKind `json:"kind"`
	ID     NodeID     `json:"id,omitempty"`    // of ChangePromote, ChangeRemove, ChangeUpdate and ChangeClaim
	Member Member     `json:"member,omitzero"` // of ChangeAddLearner, ChangeUpdate, ChangeInvite and ChangeClaim; its ID is ignored
}

// ErrChangeRefused is wrapped by every reason for which Apply refuses a change.
var ErrChangeRefused = errors.New("membership change refused")

// ErrAddressTaken and ErrClaimed wrap ErrChangeRefused: a member has the address that another was to be invited at; the invited member is
// another data directory's already.
var (
	ErrAddressTaken = fmt.Errorf("%w: a member has that address", ErrChangeRefused)
	ErrClaimed      = fmt.Errorf("%w: the member was started with another data directory", ErrChangeRefused)
)

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrChangeRefused, fmt.Sprintf(format, args...))
}

// Apply returns the membership after one change, and the ID of the member that it concerns. See ApplyAll.
func (m Membership) Apply(c Change) (Membership, NodeID, error) {
	next, ids, err := m.ApplyAll([]Change{c})
	if err != nil {
		return m, 0, err
	}
	return next, ids[0], nil
}

// ApplyAll returns the membership after the changes, made one after the other, and the IDs of the members that they concern.
// It does not alter m. When more than one vote moves, the result is joint (§6); one vote can move at once (thesis §4.1).
// Limits hold for the result, so that the order of a promotion and a removal does not matter. A change that is already in
// force is not an error, so that every change may be asked for twice.
func (m Membership) ApplyAll(changes []Change) (Membership, []NodeID, error) {
	if m.Joint() {
		return m, nil, refuse("an earlier change is not complete: ask again when the membership is not joint any more")
	}
	next := m.Clone()
	ids := make([]NodeID, 0, len(changes))
	for _, c := range changes {
		id, err := next.change(c)
		if err != nil {
			return m, nil, err
		}
		ids = append(ids, id)
	}
	switch voters := len(next.Voters()); {
	case voters == 0:
		return m, nil, refuse("no voter would be left, which would end the cluster")
	case voters > MaxVoters:
		return m, nil, refuse("the cluster would have %d voters, the limit is %d: remove one too", voters, MaxVoters)
	}
	if m.votesMoved(next) > 1 {
		next = m.joint(next)
		if err := next.Validate(); err != nil {
			return m, nil, refuse("while both configurations are in force: %v", err)
		}
	}
	if len(next.Members) > MaxMembers {
		return m, nil, refuse("the cluster would have %d members, the limit is %d: remove one first", len(next.Members), MaxMembers)
	}
	return next, ids, nil
}

// change makes one change in place.
func (m *Membership) change(c Change) (NodeID, error) {
	at := slices.IndexFunc(m.Members, func(x Member) bool { return x.ID == c.ID })
	switch {
	case c.Kind == ChangeAddLearner:
		return m.addLearner(c.Member)
	case c.Kind == ChangeInvite:
		return m.invite(c.Member)
	case c.Kind == ChangeRemove && m.Removed(c.ID):
		return c.ID, nil
	case at < 0:
		return 0, refuse("member %s is not in the cluster", c.ID)
	case c.Kind == ChangePromote && m.Members[at].Invited():
		return 0, ErrNotCaughtUp
	case c.Kind == ChangePromote:
		m.Members[at].Learner = false
	case c.Kind == ChangeRemove:
		m.Members = slices.Delete(m.Members, at, at+1)
	case c.Kind == ChangeUpdate:
		x := &m.Members[at]
		x.Name, x.PeerAddress, x.ClientAddress = c.Member.Name, c.Member.PeerAddress, c.Member.ClientAddress
	case c.Kind == ChangeClaim:
		return c.ID, m.claim(at, c.Member)
	default:
		return 0, refuse("unknown kind of change %d", uint8(c.Kind))
	}
	return c.ID, nil
}

func (m *Membership) addLearner(x Member) (NodeID, error) {
	if x.Incarnation == 0 {
		return 0, refuse("a new member needs the incarnation of its data directory")
	}
	if old, ok := m.FindIncarnation(x.Incarnation); ok {
		return old.ID, nil
	}
	return m.appendLearner(x)
}

// appendLearner gives a new member its ID.
func (m *Membership) appendLearner(x Member) (NodeID, error) {
	if m.LastID == ^NodeID(0) {
		return 0, refuse("no member IDs are left")
	}
	m.LastID++
	x.ID, x.Learner, x.OutgoingVoter, x.Leaving = m.LastID, true, false, false
	m.Members = append(m.Members, x)
	return x.ID, nil
}

// invite adds a member of which only the address is known. Two at one address could not be told apart by who starts there.
func (m *Membership) invite(x Member) (NodeID, error) {
	switch {
	case x.PeerAddress == "":
		return 0, refuse("an invited member needs the address that it will have")
	case slices.ContainsFunc(m.Members, func(o Member) bool { return hostPort(o.PeerAddress) == hostPort(x.PeerAddress) }):
		return 0, ErrAddressTaken
	case !x.Learner && len(m.Voters()) >= MaxVoters:
		return 0, refuse("the cluster has %d voters, which is the limit: invite a learner, or remove a voter first", MaxVoters)
	}
	return m.appendLearner(Member{PeerAddress: x.PeerAddress, Incarnation: invitation(m.LastID+1, x.Learner)})
}

// hostPort is an address without its scheme: one port is one process.
func hostPort(address string) string {
	if _, after, found := strings.Cut(address, "://"); found {
		return after
	}
	return address
}

// claim is made once: from then on the member is like any learner that was added by its incarnation. Nobody has spoken for the ID before, so nothing that
// a log or a leader knows of it can be another directory's.
func (m *Membership) claim(at int, x Member) error {
	invited := &m.Members[at]
	switch other, there := m.FindIncarnation(x.Incarnation); {
	case x.Incarnation == 0:
		return refuse("who was invited has to name the incarnation of its data directory")
	case there && other.ID == invited.ID && !invited.Invited():
		return nil
	case there:
		return refuse("the data directory of incarnation %s is member %s already", x.Incarnation, other.ID)
	case !invited.Invited():
		return fmt.Errorf("%w: member %s has incarnation %s, and IDs are given once: remove it, and add it anew", ErrClaimed, invited.ID, invited.Incarnation)
	case invited.PeerAddress != x.PeerAddress:
		return refuse("member %s was invited at %s, not at %s", invited.ID, invited.PeerAddress, x.PeerAddress)
	}
	invited.Incarnation, invited.Name = x.Incarnation, x.Name
	return nil
}

// votesMoved counts the members that vote in one of the two only. Neither is joint.
func (m Membership) votesMoved(next Membership) int {
	before, after := m.Voters(), next.Voters()
	kept := 0
	for _, id := range before {
		if slices.Contains(after, id) {
			kept++
		}
	}
	return len(before) + len(after) - 2*kept
}

// joint returns the membership in which both m and next are in force. Voters that leave stay in it.
func (m Membership) joint(next Membership) Membership {
	out := next.Clone()
	for _, old := range m.Members {
		if old.Learner {
			continue
		}
		i, ok := slices.BinarySearchFunc(out.Members, old.ID, func(x Member, id NodeID) int { return cmp.Compare(x.ID, id) })
		if !ok {
			old.Learner, old.Leaving = true, true
			out.Members = slices.Insert(out.Members, i, old)
		}
		out.Members[i].OutgoingVoter = true
	}
	return out
}

// Leave returns the membership in which only the incoming configuration of a joint one is in force.
func (m Membership) Leave() Membership {
	out := m.Clone()
	out.Members = slices.DeleteFunc(out.Members, func(x Member) bool { return x.Leaving })
	for i := range out.Members {
		out.Members[i].OutgoingVoter = false
	}
	return out
}
