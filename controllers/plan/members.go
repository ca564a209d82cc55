package plan

import (
	"slices"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// planMembers brings the membership to one voter per wanted pod: first it ends what was begun, then it replaces, then it
// grows, then it shrinks.
func planMembers(o *Observation, v *View) Decision {
	if m, ok := uselessLearner(o, v); ok {
		if d, ok := withdraw(o, m); ok {
			return d
		}
		return change(v, raft.Change{Kind: raft.ChangeRemove, ID: m.ID}, m.Name,
			because(ReasonMembership, "taking out learner %s (ID %s), which is not wanted or whose data directory is no more", m.Name, m.ID))
	}
	if m, ok := replacedVoter(o, v); ok {
		return removeVoter(v, m)
	}
	learner, waits := planLearner(o, v)
	if waits && (learner.Step != nil || catchingUp(v)) {
		return learner
	}
	p := newcomer(o, v)
	if waits && (p == nil || len(v.of(p.Name)) == 0) {
		return learner // one that nobody hears keeps a member that is lost from being replaced no longer, but the cluster from growing
	}
	if p != nil {
		return change(v, raft.Change{Kind: raft.ChangeAddLearner, Member: newMember(o, p)}, p.Name,
			because(ReasonMembership, "adding %s as a learner", p.Name))
	}
	if d, ok := planShrink(o, v); ok {
		return d
	}
	for i := range o.Desired {
		if name := resources.PodName(o.Cluster, i); len(v.of(name)) == 0 {
			return Decision{Waiting: because(ReasonMembership, "%s is to become a member: %s", name, notYetMember(o, i))}
		}
	}
	return Decision{}
}

func change(v *View, c raft.Change, name string, why *Reason) Decision {
	return changes(v, []raft.Change{c}, name, why)
}

func changes(v *View, all []raft.Change, name string, why *Reason) Decision {
	return Decision{
		Step:    ChangeMembers{Leader: v.Leader, ConfigIndex: v.Status.ConfigIndex, Changes: all, Name: name},
		Waiting: why,
	}
}

// removeVoter takes a voter out whose directory is no more.
func removeVoter(v *View, m admin.MemberStatus) Decision {
	if !v.mayRemove(m) {
		return Decision{Waiting: because(ReasonQuorumAtRisk,
			"member %s (ID %s) lost its data directory, but removing it now would leave no active quorum: other members have to come back first", m.Name, m.ID)}
	}
	return change(v, raft.Change{Kind: raft.ChangeRemove, ID: m.ID}, m.Name,
		because(ReasonMembership, "removing %s (ID %s), whose data directory is no more", m.Name, m.ID))
}

// uselessLearner finds a learner that will never get a vote: its pod is not wanted or has another directory.
func uselessLearner(o *Observation, v *View) (admin.MemberStatus, bool) {
	for _, m := range v.Status.Members {
		ordinal, ours := resources.Ordinal(o.Cluster, m.Name)
		if m.Learner && ours && (ordinal >= o.Desired || lost(o, m.Member)) {
			return m, true
		}
	}
	return admin.MemberStatus{}, false
}

// replacedVoter finds a voter whose directory is no more although a voter with the pod's present directory exists already.
func replacedVoter(o *Observation, v *View) (admin.MemberStatus, bool) {
	for _, m := range v.Status.Members {
		if m.Learner || !lost(o, m.Member) {
			continue
		}
		for _, n := range v.of(m.Name) {
			if !n.Learner && n.ID != m.ID && !lost(o, n.Member) {
				return m, true
			}
		}
	}
	return admin.MemberStatus{}, false
}

// planLearner goes on with the learners that wait for their vote: caught up, they take over that of the member of the same
// name that they replace, in one joint change. Where some member's build does not know joint changes yet, the old one goes
// first and then the new one gets its vote. It reports false if there is no such learner.
func planLearner(o *Observation, v *View) (Decision, bool) {
	var waiting *Reason
	for _, m := range v.Status.Members {
		if _, ours := resources.Ordinal(o.Cluster, m.Name); !m.Learner || !ours {
			continue
		}
		if !v.Healthy(m) {
			waiting = because(ReasonMembership, "learner %s %s", m.Name, ailment(v, m.Active))
			continue
		}
		for _, old := range v.of(m.Name) {
			if old.ID == m.ID || old.Learner {
				continue
			}
			if v.mayReplace(old, m) {
				return changes(v, []raft.Change{{Kind: raft.ChangePromote, ID: m.ID}, {Kind: raft.ChangeRemove, ID: old.ID}}, m.Name,
					because(ReasonMembership, "%s (ID %s) takes the vote of ID %s, whose data directory is no more", m.Name, m.ID, old.ID)), true
			}
			return removeVoter(v, old), true
		}
		if !v.mayPromote(m) {
			waiting = because(ReasonQuorumAtRisk,
				"learner %s has caught up, but giving it a vote now would leave no active quorum: other members have to come back first", m.Name)
			continue
		}
		return change(v, raft.Change{Kind: raft.ChangePromote, ID: m.ID}, m.Name,
			because(ReasonMembership, "giving %s its vote", m.Name)), true
	}
	return Decision{Waiting: waiting}, waiting != nil
}

// catchingUp tells that the leader hears a learner: one at a time is brought up to date.
func catchingUp(v *View) bool {
	return slices.ContainsFunc(v.Status.Members, func(m admin.MemberStatus) bool { return m.Learner && v.Active(m) })
}

// newcomer finds the next pod to add: one that replaces a lost voter before one that makes the cluster larger.
func newcomer(o *Observation, v *View) *Pod {
	var grow *Pod
	for i := range o.Pods {
		p := &o.Pods[i]
		if p.Ordinal >= o.Desired || p.Terminating || !p.empty() {
			continue
		}
		if _, added := v.bound(p); added {
			continue
		}
		if len(v.of(p.Name)) > 0 {
			return p
		}
		if grow == nil {
			grow = p
		}
	}
	return grow
}

// planShrink removes members that are not wanted, and then their pods, from the highest ordinal down. Members that are
// away go before all others, since each vote of theirs makes the quorum harder to reach; healthy ones go only while those that are to
// stay are healthy, since a smaller cluster bears the loss of fewer. It reports false if there are none.
func planShrink(o *Observation, v *View) (Decision, bool) {
	var last admin.MemberStatus
	highest, best := -1, -1
	for _, m := range v.Status.Members {
		ordinal, ours := resources.Ordinal(o.Cluster, m.Name)
		if !ours || ordinal < o.Desired {
			continue
		}
		highest = max(highest, ordinal)
		score := ordinal
		if !v.Active(m) {
			score += awayFirst
		}
		if score > best {
			last, best = m, score
		}
	}
	have := o.Workload.Replicas
	// A pod goes only once no member needs it; pods above the last member are not needed.
	if have > o.Desired && have-1 > highest {
		if p := o.pod(have - 1); p != nil && p.Node != nil && p.Node.State == admin.StateMember && p.Node.ClusterID != o.ClusterID && !o.Workload.KeepsClaims {
			return Decision{Waiting: because(ReasonScaling, "pod %s holds data of cluster %s and goes once the StatefulSet has taken in that it keeps the pod's claim", p.Name, p.Node.ClusterID)}, true
		}
		return Decision{Step: Scale{From: have, To: have - 1},
			Waiting: because(ReasonScaling, "%s is no member: its pod goes, its claim stays by the retention policy", resources.PodName(o.Cluster, have-1))}, true
	}
	if highest < 0 {
		return Decision{}, false
	}
	if d, ok := planDoomed(o, v); ok && v.Healthy(last) {
		return d, true
	}
	if ill, ok := unhealthyWanted(o, v); ok && v.Healthy(last) {
		return Decision{Waiting: because(ReasonQuorumAtRisk,
			"%s is to be removed, but %s, which is to stay, is not healthy: it has to come back or be replaced first", last.Name, ill.Name)}, true
	}
	if missed := missedVoter(o, v); v.Healthy(last) && !last.Learner && v.Voters() <= o.Desired && missed != "" {
		return Decision{Waiting: because(ReasonQuorumAtRisk, "%s is to be removed, but that would leave fewer than %d voters: %s", last.Name, o.Desired, missed)}, true
	}
	if v.Leads(last) {
		return handOver(o, v, "it is to be removed"), true
	}
	if !v.mayRemove(last) {
		return Decision{Waiting: because(ReasonQuorumAtRisk,
			"%s is to be removed, but that would leave no active quorum: other members have to come back first", last.Name)}, true
	}
	if d, ok := withdraw(o, last); ok {
		return d, true
	}
	return change(v, raft.Change{Kind: raft.ChangeRemove, ID: last.ID}, last.Name,
		because(ReasonMembership, "removing %s, since %d members are asked for", last.Name, o.Desired)), true
}

// withdraw takes the pod of a member that is about to be removed out of the client Service, and waits until no client is sent to it any more. It reports
// false where that is so, or where the pod serves nobody: one that is not ready is behind no Service.
func withdraw(o *Observation, m admin.MemberStatus) (Decision, bool) {
	p := podOf(o, m.Name)
	if p == nil || p.Terminating || !p.Ready || p.Node != nil && p.Node.Incarnation != m.Incarnation {
		return Decision{}, false
	}
	switch {
	case !p.Withdrawn:
		return Decision{Step: Withdraw{Pod: p.Name, UID: p.UID}, Waiting: because(ReasonMembership,
			"%s is to be removed: first no client is sent to it any more", p.Name)}, true
	case !p.Forgotten:
		return Decision{Waiting: because(ReasonMembership, "%s is to be removed as soon as no client is sent to it any more", p.Name)}, true
	}
	return Decision{}, false
}

// withdrawn are the pods that stay out of the client Service: those that are to go. They stay out also while their removal has to wait, so that a member that is
// ill now and then does not have it begin anew each time: there is always another pod behind the Service as long as there is a quorum.
func withdrawn(o *Observation) map[string]bool {
	out := map[string]bool{}
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Withdrawn && p.Ordinal >= o.Desired {
			out[p.Name] = true
		}
	}
	return out
}

// unhealthyWanted finds a voter that is not healthy and is to stay.
func unhealthyWanted(o *Observation, v *View) (admin.MemberStatus, bool) {
	for _, m := range v.Status.Members {
		if ordinal, ours := resources.Ordinal(o.Cluster, m.Name); ours && ordinal < o.Desired && !m.Learner && !v.Healthy(m) {
			return m, true
		}
	}
	return admin.MemberStatus{}, false
}

// missedVoter says which pod that is to stay is to become a voter first, and what keeps it from that; empty if none is missed.
func missedVoter(o *Observation, v *View) string {
	for i := range o.Desired {
		name := resources.PodName(o.Cluster, i)
		if !slices.ContainsFunc(v.of(name), func(m admin.MemberStatus) bool { return !m.Learner }) {
			return name + " has to become one first: " + notYetMember(o, i)
		}
	}
	return ""
}

// handOver moves the leadership to a wanted voter that is healthy, the lowest ordinal of those already updated first.
func handOver(o *Observation, v *View, why string) Decision {
	return handOverTo(o, v, why, func(p *Pod) bool { return p.Ordinal < o.Desired })
}

// handOverTo hands over to a member whose pod is fit for it.
func handOverTo(o *Observation, v *View, why string, fit func(*Pod) bool) Decision {
	var to admin.MemberStatus
	best := -1
	for _, m := range v.Status.Members {
		ordinal, ours := resources.Ordinal(o.Cluster, m.Name)
		if m.Learner || v.Leads(m) || !ours || !v.Healthy(m) {
			continue
		}
		p := o.pod(ordinal)
		if p == nil || p.Terminating || !fit(p) {
			continue
		}
		score := 2*raft.MaxMembers - ordinal
		if outdated(o, p) {
			score -= raft.MaxMembers
		}
		if score > best {
			to, best = m, score
		}
	}
	if best < 0 {
		return Decision{Waiting: because(ReasonQuorumAtRisk, "%s leads and %s, but no other wanted member is healthy enough to take over", v.Leader, why)}
	}
	return Decision{Step: Transfer{Leader: v.Leader, To: to.ID, Name: to.Name},
		Waiting: because(ReasonMembership, "handing leadership from %s to %s, since %s", v.Leader, to.Name, why)}
}

// awayFirst is above every ordinal of a pod that can be a member.
const awayFirst = 1 << 16

func notYetMember(o *Observation, ordinal int) string {
	p := o.pod(ordinal)
	if p != nil && p.Node != nil && p.Node.State == admin.StateMember {
		return "its node still holds the directory of a removed member and is about to set it aside"
	}
	return notEmpty(o, ordinal)
}
