package plan

import (
	"slices"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// View is the cluster through the eyes of its leader, the only judge of who is active and caught up.
type View struct {
	// Leader is the leader's pod.
	Leader string
	// Status is what the leader said.
	Status *admin.Status
	// away are the members whose pods are not there, do not run, or were asked to go, and those that say themselves that they
	// follow another leader or none. The leader still calls them active for an election timeout after their last word.
	away map[raft.NodeID]bool
}

// leaderView finds the leader: of those that claim to lead, the one of the highest term.
func leaderView(o *Observation) *View {
	var v *View
	for i := range o.Pods {
		p := &o.Pods[i]
		if !p.member(o.ClusterID) || p.Node.Role != raft.RoleLeader.String() {
			continue
		}
		if v == nil || p.Node.Term > v.Status.Term {
			v = &View{Leader: p.Name, Status: p.Node}
		}
	}
	if v != nil {
		v.away = away(o, v.Status)
	}
	return v
}

func away(o *Observation, s *admin.Status) map[raft.NodeID]bool {
	out := map[raft.NodeID]bool{}
	for _, m := range s.Members {
		if _, ours := resources.Ordinal(o.Cluster, m.Name); !ours {
			continue
		}
		p := podOf(o, m.Name)
		switch {
		case p == nil || p.Terminating:
			out[m.ID] = true
		case p.Node == nil:
			out[m.ID] = !p.Running
		default:
			out[m.ID] = p.Node.Leader != s.MemberID || p.Node.Incarnation != m.Incarnation
		}
	}
	return out
}

// Settled tells that no membership change is under way.
func (v *View) Settled() bool { return v.Status.ConfigCommitted && !v.joint() }

// quorum is the majority of n voters.
func quorum(n int) int { return n/2 + 1 }

// Voters is the number of members with a vote.
func (v *View) Voters() int {
	n := 0
	for _, m := range v.Status.Members {
		if !m.Learner {
			n++
		}
	}
	return n
}

// Leads tells whether the member is the leader.
func (v *View) Leads(m admin.MemberStatus) bool { return m.ID == v.Status.MemberID }

// Active tells whether the leader hears from the member.
func (v *View) Active(m admin.MemberStatus) bool { return v.Leads(m) || m.Active }

// hears tells whether the leader hears from any member of that name: of two, one replaces the other on the same claim.
func (v *View) hears(name string) bool { return slices.ContainsFunc(v.of(name), v.Active) }

// Healthy tells whether the member is active, lacks next to nothing, and is not on its way out.
func (v *View) Healthy(m admin.MemberStatus) bool {
	return v.Leads(m) || (m.Active && m.CaughtUp && !v.away[m.ID])
}

// counted tells whether the member may be counted on when another one goes. A leader that has just been elected calls all
// members active for an election timeout; one that has answered it has a match index.
func (v *View) counted(m admin.MemberStatus) bool {
	return v.Active(m) && (v.Leads(m) || m.Match > 0) && !v.away[m.ID]
}

// activeVotersWithout counts the voters that can be counted on, leaving that member out.
func (v *View) activeVotersWithout(id raft.NodeID) int {
	n := 0
	for _, m := range v.Status.Members {
		if !m.Learner && m.ID != id && v.counted(m) {
			n++
		}
	}
	return n
}

// mayRemove tells whether the voters that are left after the member's removal have an active quorum.
func (v *View) mayRemove(m admin.MemberStatus) bool {
	if m.Learner {
		return true
	}
	left := v.Voters() - 1
	return left > 0 && !v.Leads(m) && v.activeVotersWithout(m.ID) >= quorum(left)
}

// mayReplace tells whether the learner may take over the voter's vote in one change: every member knows such changes, and
// the voters have an active quorum before it and after it.
func (v *View) mayReplace(old, learner admin.MemberStatus) bool {
	return v.Status.ClusterVersion >= raft.JointVersion && !v.Leads(old) && v.Healthy(learner) && v.counted(learner) &&
		v.activeVotersWithout(old.ID) >= quorum(v.Voters())
}

// joint tells that a change of more than one vote is under way: both the old and the new voters decide.
func (v *View) joint() bool {
	for _, m := range v.Status.Members {
		if m.OutgoingVoter || m.Leaving {
			return true
		}
	}
	return false
}

// mayPromote tells whether the voters have an active quorum once the learner is one of them.
func (v *View) mayPromote(m admin.MemberStatus) bool {
	return v.Voters() < raft.MaxVoters && v.Healthy(m) &&
		v.activeVotersWithout(m.ID)+1 >= quorum(v.Voters()+1)
}

// maySuspend tells whether the voters keep an active quorum while the member is away.
func (v *View) maySuspend(m admin.MemberStatus) bool {
	return m.Learner || v.activeVotersWithout(m.ID) >= quorum(v.Voters())
}

// of returns the members of that name, of which there are two while one replaces the other.
func (v *View) of(name string) []admin.MemberStatus {
	var out []admin.MemberStatus
	for _, m := range v.Status.Members {
		if m.Name == name {
			out = append(out, m)
		}
	}
	return out
}

// bound returns the member that the pod's node is, by its incarnation.
func (v *View) bound(p *Pod) (admin.MemberStatus, bool) {
	if p == nil || p.Node == nil {
		return admin.MemberStatus{}, false
	}
	for _, m := range v.Status.Members {
		if m.Incarnation == p.Node.Incarnation {
			return m, true
		}
	}
	return admin.MemberStatus{}, false
}

// lost tells that the member's directory is no more: the pod of its name answers with another.
func lost(o *Observation, m raft.Member) bool {
	ordinal, ok := resources.Ordinal(o.Cluster, m.Name)
	if !ok {
		return false
	}
	p := o.pod(ordinal)
	return p != nil && p.Node != nil && p.Node.Incarnation != 0 && p.Node.Incarnation != m.Incarnation
}

// roles gives each pod the label that its node's role calls for. Pods whose nodes do not answer keep theirs, but for a
// leader's that another pod now has.
func roles(o *Observation, v *View) map[string]string {
	out := map[string]string{}
	for i := range o.Pods {
		p := &o.Pods[i]
		switch {
		case v != nil && p.Name == v.Leader:
			out[p.Name] = resources.RoleLeader
		case p.Node == nil:
			if v != nil && p.Role == resources.RoleLeader {
				out[p.Name] = resources.RoleFollower
			}
		case o.ClusterID == 0 || !p.member(o.ClusterID):
			out[p.Name] = ""
		case p.Node.Role == raft.RoleLearner.String():
			out[p.Name] = resources.RoleLearner
		default:
			out[p.Name] = resources.RoleFollower
		}
	}
	return out
}
