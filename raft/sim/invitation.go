package sim

import (
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// invitedWorlds is how many of the worlds have members that are invited by their address, and claimed by whoever comes first.
const invitedWorlds = 0.3

// invitations are the operator's, and those of the hosts that take them up. They have chance of their own, so that worlds without them stay as they were.
type invitations struct {
	random *random
	made   int
}

// invitations returns nil where nobody is invited.
func (w *world) invitations() *invitations {
	r := w.root.child(labelInvitations)
	if !r.chance(invitedWorlds) {
		return nil
	}
	return &invitations{random: r}
}

// turn picks what is done about invitations, if anything: several hosts go for the same one at times, and some at one that is taken.
func (i *invitations) turn(w *world, s raft.Status, desired int) []raft.Change {
	if i == nil {
		return nil
	}
	r := i.random
	var claimers []raft.Incarnation
	for _, h := range w.hosts {
		if h.member == nil && !h.down {
			claimers = append(claimers, h.incarnation)
		}
	}
	for _, x := range s.Membership.Members {
		switch {
		case !x.Invited() && !(x.Learner && x.PeerAddress != "" && r.chance(0.2)):
		case r.chance(0.1):
			return []raft.Change{{Kind: raft.ChangePromote, ID: x.ID}} // too early, if it is not claimed
		case len(claimers) > 0 && r.chance(0.8):
			return []raft.Change{{Kind: raft.ChangeClaim, ID: x.ID, Member: raft.Member{
				Incarnation: claimers[r.n(len(claimers))], Name: "claimed", PeerAddress: x.PeerAddress,
			}}}
		}
	}
	if len(s.Membership.Members) >= desired || len(claimers) == 0 || w.healing || r.chance(0.5) {
		return nil
	}
	i.made++
	return []raft.Change{{Kind: raft.ChangeInvite, Member: raft.Member{PeerAddress: fmt.Sprintf("address-%d", i.made), Learner: r.chance(0.3)}}}
}

// invited counts what became of a change.
func (c *Coverage) invited(change raft.Change, err error) {
	switch {
	case errors.Is(err, raft.ErrClaimed):
		c.ClaimsRefused++
	case err != nil:
	case change.Kind == raft.ChangeInvite:
		c.Invitations++
	case change.Kind == raft.ChangeClaim:
		c.Claims++
	}
}

// boundOnce demands that an ID which somebody has started for stays bound to that directory.
func (w *world) boundOnce(x raft.Member) {
	if m := w.members[x.ID]; m != nil && m.incarnation != x.Incarnation {
		fail("an ID belongs to one directory", "member %s was started by incarnation %s and is now bound to %s", x.ID, m.incarnation, x.Incarnation)
	}
}
