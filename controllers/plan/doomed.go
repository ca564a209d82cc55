package plan

import (
	"slices"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/server/admin"
)

// A claim that somebody deletes stays as long as its pod is there, and goes with it, whyever that ends: a roll, a drain, rest. Nobody can take the deletion back. So the pods of
// such claims are restarted one after the other while the others are well, and begin anew on new claims, before chance ends several of them; and where there are too
// few members to do without one, nothing is done that ends its pod.

// planDoomed replaces the members whose claims go, the leader last. It reports false if there are none.
func planDoomed(o *Observation, v *View) (Decision, bool) {
	var leader *Pod
	for i := len(o.Pods) - 1; i >= 0; i-- {
		p := &o.Pods[i]
		m, voter := voterOf(v, p)
		switch {
		case p.Ordinal >= o.Desired || p.Terminating || !voter || !o.going(p.Ordinal):
			continue
		case v.Voters() < 3:
			return Decision{Stalled: claimDeleted(o, p.Ordinal, "ask for three members, and it is replaced")}, true
		}
		w := unhealthy(o, v)
		if w == nil {
			w = unsteady(o, v)
		}
		if w != nil {
			return Decision{Waiting: w.with("; claim " + resources.ClaimName(o.Cluster, p.Ordinal) + " was deleted and is replaced after that")}, true
		}
		if v.Leads(m) {
			leader = p
			continue
		}
		return renew(o, v, p), true
	}
	if leader == nil {
		return Decision{}, false
	}
	const why = "its claim was deleted"
	d := handOver(o, v, why)
	if d.Step == nil {
		// One that is to be removed does, too: that waits until the others are safe.
		d = handOverTo(o, v, why, func(p *Pod) bool { return p.Ordinal < o.Workload.Replicas })
	}
	return d, true
}

// unsteady finds a voter that is to go, and is heard but not well: that passes, or it is not heard any more, and goes before all others.
func unsteady(o *Observation, v *View) *Reason {
	for _, m := range v.Status.Members {
		if ordinal, ours := resources.Ordinal(o.Cluster, m.Name); !ours || ordinal < o.Desired || m.Learner || !v.Active(m) || v.Healthy(m) {
			continue
		}
		if p := podOf(o, m.Name); p != nil && p.Terminating {
			return because(ReasonMemberNotReady, "%s", ending(p))
		}
		return because(ReasonMemberNotReady, "member %s %s", m.Name, ailment(v, m.Active))
	}
	return nil
}

func renew(o *Observation, v *View, p *Pod) Decision {
	if !mayEnd(o, v, p) {
		return Decision{Waiting: because(ReasonQuorumAtRisk, "claim %s was deleted, but without its pod there would be no active quorum", resources.ClaimName(o.Cluster, p.Ordinal))}
	}
	return Decision{Step: Restart{Pod: p.Name, UID: p.UID, Evict: true}, Waiting: because(ReasonReplacing,
		"claim %s was deleted and goes with its pod: while all others are well, the pod is restarted and begins anew with a new claim", resources.ClaimName(o.Cluster, p.Ordinal))}
}

// mayEnd tells that the operator may end the pod as far as its claim is concerned: that stays, or was to go with an earlier RaftCluster, or the voters can do
// without what it holds. Which voters there are is not known of a cluster that is on no record: it is looked for, and adopted, first.
func mayEnd(o *Observation, v *View, p *Pod) bool {
	if !o.going(p.Ordinal) || o.ClusterID == 0 && o.claim(p.Ordinal).OfEarlier {
		return true
	}
	if v == nil {
		return false
	}
	for _, m := range v.of(p.Name) {
		if !v.maySuspend(m) {
			return false
		}
	}
	return true
}

// mayForce tells that a pod may be forced out whose Kubernetes node is said to be gone or out of service. That may be said too early: a member that the leader hears runs, and is
// not ended while the others need its vote. Where no leader answers, it may be one, or the vote that one is elected by, unless there was none for long and it does not answer.
func mayForce(o *Observation, v *View, p *Pod) bool {
	switch {
	case !mayEnd(o, v, p):
		return false
	case o.ClusterID == 0:
		return mayForceUnrecorded(o, p)
	case v == nil:
		return o.Leaderless && !p.member(o.ClusterID)
	}
	return !slices.ContainsFunc(v.of(p.Name), func(m admin.MemberStatus) bool { return v.Active(m) && !v.maySuspend(m) })
}

// mayForceUnrecorded is mayForce for a cluster that is on no record. One that lives, as its members say, is adopted first, so that its leader is asked; where none is known to,
// a pod may be a member that others need, unless it says that it is empty, does not run, or has not answered for long.
func mayForceUnrecorded(o *Observation, p *Pod) bool {
	if c := o.claim(p.Ordinal); c != nil && c.OfEarlier {
		return true
	}
	id, conflict := existing(o)
	if conflict != nil || id != 0 && lives(o, id, newestMembership(o, id)) {
		return false
	}
	return p.empty() || p.Node == nil && (p.Silent || !p.Running)
}

// doomedMember finds a member whose claim goes as soon as its pod ends.
func doomedMember(o *Observation, v *View) (ordinal int, found bool) {
	for _, m := range v.Status.Members {
		if i, ours := resources.Ordinal(o.Cluster, m.Name); ours && o.going(i) {
			return i, true
		}
	}
	return 0, false
}

func claimDeleted(o *Observation, ordinal int, remedy string) *Reason {
	return because(ReasonClaimDeleted,
		"claim %s was deleted: it goes, with its data, as soon as its pod ends, and the other members cannot do without it; no pod is restarted or stopped until that is settled: %s",
		resources.ClaimName(o.Cluster, ordinal), remedy)
}

// awaitEarlier is for a cluster that has no ID on record: claims that go with an earlier RaftCluster of the name are not adopted. Whoever deleted that asked for its data to
// go, so their pods do not keep them, whatever they hold.
func awaitEarlier(o *Observation) (Decision, bool) {
	for _, c := range o.Claims {
		if !c.OfEarlier {
			continue
		}
		d := Decision{Waiting: because(ReasonBootstrapping, "claim %s goes with an earlier RaftCluster of this name: the cluster is founded once it is gone", c.Name)}
		if p := o.pod(c.Ordinal); p != nil && !p.Terminating {
			d.Step = Restart{Pod: p.Name, UID: p.UID, Evict: true}
		}
		return d, true
	}
	return Decision{}, false
}

// awaitDeleted is for a cluster that is not founded: a claim that somebody deleted is not taken for an empty one. Its pod is ended for that only if it says that it holds
// nothing, or its claim never had a volume. Members of a cluster that runs, unknown for want of a status, are ready also when the operator cannot hear them; and one that
// does not answer may hold what is left of such a cluster, which is adopted as soon as it is heard of.
func awaitDeleted(o *Observation) (Decision, bool) {
	for _, c := range o.Claims {
		if !c.Going {
			continue
		}
		p := o.pod(c.Ordinal)
		d := Decision{Waiting: because(ReasonBootstrapping, "claim %s was deleted: the cluster is founded once it is gone", c.Name)}
		switch {
		case p == nil || p.Terminating && !p.Stuck:
		case p.empty(), p.Node == nil && !c.Bound:
			d.Step = end(p)
		case p.Node != nil, p.Ready && !p.Stuck:
			d.Waiting = because(ReasonBootstrapping,
				"claim %s was deleted, but pod %s does not say that it is empty; the claim goes, with what it holds, when that pod is deleted, and the cluster is founded then", c.Name, p.Name)
		default:
			return awaitSilent(o, c, p), true
		}
		return d, true
	}
	return Decision{}, false
}

// awaitSilent is for a pod that does not answer, and with which a claim goes that somebody deleted. Once all others have said what they hold, and none belongs to a cluster,
// what this one holds is for a person to give up.
func awaitSilent(o *Observation, c Claim, p *Pod) Decision {
	if o.Workload.Replicas < o.Desired {
		return Decision{Step: Scale{From: o.Workload.Replicas, To: o.Desired}, Waiting: because(ReasonScaling, "scaling to %d pods before the cluster is founded", o.Desired)}
	}
	text := notEmpty(o, c.Ordinal)
	unknown := unknownData(o, true)
	if unknown == "" && (p.Silent || p.Stuck || !p.Running) {
		return Decision{Stalled: because(ReasonClaimDeleted,
			"claim %s was deleted and goes, with its data, when its pod ends, and nobody knows whether that is all that is left of an earlier cluster: %s; if it is not needed, delete pod %s, and the cluster is founded", c.Name, text, p.Name)}
	}
	d := restartSilent(o)
	if unknown != "" {
		text += "; " + unknown
	}
	d.Waiting = because(ReasonBootstrapping, "claim %s was deleted, and what its pod and others hold is not known yet: %s", c.Name, text)
	return d
}

// end asks the pod to go, or forces it out where it cannot.
func end(p *Pod) Step {
	if p.Stuck {
		return ForceDelete{Pod: p.Name, UID: p.UID}
	}
	return Restart{Pod: p.Name, UID: p.UID, Evict: true}
}
