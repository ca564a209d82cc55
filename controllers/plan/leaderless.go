package plan

import (
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// planLeaderless is for a cluster that was founded and has no leader that answers. Mostly the members elect one by
// themselves; the operator only restarts what does not run, brings back pods that voters need, and says when no election
// can ever succeed. A pod that is said not to run may run all the same where its machine does not report, and its vote may be what the
// others have a leader by, so that it is left alone then, and while an election may be going on. One that runs is left alone as long as its node may only be
// busy, or hard to reach for a moment.
func planLeaderless(o *Observation) Decision {
	var doomed *Pod
	leads := followed(o)
	for i := len(o.Pods) - 1; i >= 0 && o.Leaderless && leads == "" && !untried(o); i-- {
		p := &o.Pods[i]
		switch {
		case !outdated(o, p) || p.Unheard || p.Node != nil || p.Running && !(p.Late && p.Silent):
		case !mayEnd(o, nil, p):
			doomed = p
		default:
			return Decision{Step: Restart{Pod: p.Name, UID: p.UID, Evict: p.Running},
				Waiting: because(ReasonUpdating, "restarting pod %s, which does not run well, on the new template", p.Name)}
		}
	}
	known := newestMembership(o, o.ClusterID)
	hopeless := known != nil && leads == "" && hopeless(o)
	failed, isFailed := failedUpdate(o, nil)
	if hopeless && (o.rebuildAllowed() || len(unheard(o, known)) == 0) {
		d := planLoss(o, known)
		if isFailed && d.Step == nil && d.Stalled == nil {
			return besides(failed, d) // what those that are waited for lack may be the last good template
		}
		return d
	}
	if hopeless {
		if n := unasked(o, known); n > o.Workload.Replicas {
			return Decision{Step: Scale{From: o.Workload.Replicas, To: n}, Waiting: because(ReasonScaling,
				"%s; claims without a pod may hold members that know better: their pods are started", lossText(o, known))}
		}
	}
	if known != nil {
		if d, ok := houseVoters(o, known); ok {
			return d
		}
	}
	if known == nil {
		d := noMemberKnown(o)
		if isFailed && d.Step == nil {
			return besides(failed, d)
		}
		if doomed != nil && d.Waiting != nil && d.Step == nil {
			return neededClaim(o, doomed, d.Waiting)
		}
		return d
	}
	var w *Reason
	switch {
	case hopeless:
		w = undecided(o, known)
	case leads == "":
		w = unreachable(o, known)
	}
	if w != nil && doomed != nil {
		return neededClaim(o, doomed, w)
	}
	if isFailed {
		return besides(failed, Decision{Waiting: w})
	}
	if w != nil {
		return Decision{Waiting: w, ForgetRecovery: hopeless && o.unrun()}
	}
	if leads != "" {
		return Decision{Waiting: because(ReasonMemberNotReady, "member %s, which leads as others say, does not answer the operator%s", leads, whySilent(podOf(o, leads)))}
	}
	voters := 0
	for _, m := range known.Members {
		if !m.Learner {
			voters++
		}
	}
	return Decision{Waiting: because(ReasonNoLeader, "no member that answers leads; the members elect a leader once %d of %d voters reach each other", quorum(voters), voters)}
}

// neededClaim is for a pod that does not run well, is not restarted since its claim would go with it, and may be needed.
func neededClaim(o *Observation, p *Pod, w *Reason) Decision {
	return Decision{Stalled: claimDeleted(o, p.Ordinal, w.Message+"; if they do not come back and what that claim holds is not needed, delete pod "+p.Name)}
}

// besides adds to a failed update what else is waited for, or has to be decided.
func besides(failed, d Decision) Decision {
	why := d.Stalled
	if why == nil {
		why = d.Waiting
	}
	if why != nil {
		failed.Stalled.with("; besides, " + why.Message)
	}
	failed.ForgetRecovery = d.ForgetRecovery
	return failed
}

// followed is the leader that members hear and that does not answer the operator; empty if they hear none. It may run in a pod that is said not to.
func followed(o *Observation) string {
	var newest *admin.Status
	for i := range o.Pods {
		if p := &o.Pods[i]; p.member(o.ClusterID) && p.Node.Leader != 0 && (newest == nil || p.Node.Term > newest.Term) {
			newest = p.Node
		}
	}
	if newest == nil {
		return ""
	}
	for _, m := range newest.Members {
		if m.ID == newest.Leader {
			return m.Name
		}
	}
	return newest.Leader.String()
}

func whySilent(p *Pod) string {
	if p == nil || p.NodeError == "" {
		return ""
	}
	return ": " + p.NodeError
}

// untried tells that a pod has the new template and no node has answered with that yet: whether another one may have it remains to be seen.
func untried(o *Observation) bool {
	waits := false
	for i := range o.Pods {
		switch p := &o.Pods[i]; {
		case o.Workload.Revision == "" || p.Revision != o.Workload.Revision:
		case p.Node != nil:
			return false
		case p.Ordinal < o.Workload.Replicas && !p.Terminating:
			waits = true
		}
	}
	return waits
}

// houseVoters brings pods back that voters need, where so many are without one, silent for as long as an update may take, or gone for good, that no leader can be elected.
func houseVoters(o *Observation, known *admin.Status) (Decision, bool) {
	var voters, housed, highest int
	for _, m := range known.Members {
		if m.Learner {
			continue
		}
		voters++
		ordinal, ours := resources.Ordinal(o.Cluster, m.Name)
		switch {
		case gone(o, m.Member):
		case ours && ordinal < o.Workload.Replicas:
			if p := o.pod(ordinal); p == nil || p.Node != nil || !p.Late {
				housed++ // one that does not get on by itself may never
			}
		case ours && o.claim(ordinal) != nil:
			highest = max(highest, ordinal)
		}
	}
	if housed < quorum(voters) && highest >= o.Workload.Replicas {
		return Decision{Step: Scale{From: o.Workload.Replicas, To: highest + 1}, Waiting: because(ReasonScaling,
			"the cluster has %d voters, and too few of them have pods that get on, while others are on claims without a pod: their pods are started, so that a leader can be elected before members are removed", voters)}, true
	}
	return Decision{}, false
}

// unreachable says that fewer voters answer than a quorum has, and which are missed and why; nil if enough answer.
func unreachable(o *Observation, known *admin.Status) *Reason {
	var voters, answer int
	var missed []string
	for _, m := range known.Members {
		if m.Learner {
			continue
		}
		voters++
		if p := podOf(o, m.Name); p.member(o.ClusterID) && p.Node.Incarnation == m.Incarnation {
			answer++
			continue
		}
		missed = append(missed, whyAway(o, m.Member))
	}
	if answer >= quorum(voters) {
		return nil
	}
	return because(ReasonQuorumUnreachable,
		"%d of %d voters answer and %d are needed, so that nothing is written and nothing read that must be up to date: %s; the members go on by themselves once %d more of them are back with their volumes",
		answer, voters, quorum(voters), strings.Join(missed, "; "), quorum(voters)-answer).with(refusedRebuild(o))
}

// undecided says that no member that answers can be elected, and who may know better: members that were voters may be voters no more by entries that only
// the silent ones hold, and a quorum of those that are left by them may be there.
func undecided(o *Observation, known *admin.Status) *Reason {
	return because(ReasonQuorumUnreachable,
		"%s, so that no member that answers can be elected; others may know of later members, of which a quorum is left: %s; the members go on by themselves if so, once these are back with their volumes; delete the claim of one that will never come back, and its pod%s",
		lossText(o, known), strings.Join(unheard(o, known), "; "), otherRebuild(o))
}

// refusedRebuild says why a recovery that the spec allows is not begun.
func refusedRebuild(o *Observation) string {
	if !o.rebuildAllowed() {
		return ""
	}
	return "; spec.recovery is not followed while these may come back: delete the claims of those that never will"
}

// whyAway says why the member does not answer.
func whyAway(o *Observation, m raft.Member) string {
	ordinal, ours := resources.Ordinal(o.Cluster, m.Name)
	switch {
	case !ours:
		return "member " + m.Name + " is not a pod of this cluster"
	case lost(o, m):
		return "pod " + m.Name + " has another data directory than the member had"
	}
	return notEmpty(o, ordinal)
}

func podOf(o *Observation, name string) *Pod {
	ordinal, ours := resources.Ordinal(o.Cluster, name)
	if !ours {
		return nil
	}
	return o.pod(ordinal)
}

// newestMembership is the newest one that a member of the cluster knows, without a leader's knowledge of who is active. A member that
// has just begun knows none yet.
func newestMembership(o *Observation, id raft.ClusterID) *admin.Status {
	var best *admin.Status
	for i := range o.Pods {
		p := &o.Pods[i]
		if p.member(id) && len(p.Node.Members) > 0 && (best == nil || p.Node.ConfigIndex > best.ConfigIndex) {
			best = p.Node
		}
	}
	return best
}

// noMemberKnown tells "they do not answer" from "there are none".
func noMemberKnown(o *Observation) Decision {
	var silent, begun []string
	for i := range o.Workload.Replicas {
		switch p := o.pod(i); {
		case p.member(o.ClusterID) && !nothingReceived(p):
			return Decision{Waiting: because(ReasonNoLeader, "%s has just begun and does not know the other members yet", p.Name)}
		case p.member(o.ClusterID):
			begun = append(begun, p.Name)
		case p.empty(), (p == nil || p.Node == nil) && o.volumeless(i):
		case p != nil && p.Node != nil && p.Node.State == admin.StateMember: // of another cluster: one that is wanted would be told of as ForeignData
		default:
			silent = append(silent, notEmpty(o, i))
		}
	}
	switch text := strings.Join(silent, "; "); {
	case len(silent) == 1:
		return Decision{Waiting: because(ReasonNoLeader, "no member answers: %s", text)}
	case len(silent) > 1:
		return Decision{Waiting: because(ReasonQuorumUnreachable,
			"no member answers, so that nothing is written or read: %s; the members go on by themselves once most of them are back with their volumes", text)}
	}
	for _, c := range o.Claims {
		if c.Ordinal >= o.Workload.Replicas && c.Bound && !c.Lost {
			return Decision{Stalled: because(ReasonNoMemberLeft,
				"all nodes are empty, but claim %s may still hold data of cluster %s; set replicas to %d or more to use it", c.Name, o.ClusterID, c.Ordinal+1)}
		}
	}
	if d, ok := planEmptyStart(o); ok {
		return d
	}
	if len(begun) > 0 {
		return Decision{ForgetRecovery: !o.rebuildAllowed() && o.unrun(), Stalled: because(ReasonNoMemberLeft,
			"%s was added to cluster %s and has received nothing of it, and no other node holds its data any more: restore a backup into a new RaftCluster, or begin with nothing: set spec.recovery to {clusterID: %q, acknowledgeDataLoss: true, startEmpty: true}",
			strings.Join(begun, ", "), o.ClusterID, o.ClusterID)}
	}
	return Decision{ForgetRecovery: !o.rebuildAllowed() && o.unrun(), Stalled: because(ReasonNoMemberLeft,
		"all nodes that have a volume answer and none holds data of cluster %s any more: the data is gone; restore a backup into a new RaftCluster, or begin with nothing: set spec.recovery to {clusterID: %q, acknowledgeDataLoss: true, startEmpty: true}",
		o.ClusterID, o.ClusterID)}
}
