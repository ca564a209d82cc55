package plan

import (
	"github.com/raftkv/raftkv/controllers/resources"
)

// A cluster hibernates without pods: its membership stays what it was, its claims are kept whatever the retention policy says, and the number
// of its pods is on record, so that the same cluster comes back. The record comes first, and only while all voters are healthy;
// then the leader moves to the pod that is stopped last, the followers are stopped, and last that one.

// planHibernation reports false where the cluster is to go on as if there were no hibernation.
func planHibernation(o *Observation) (Decision, bool) {
	switch {
	case !o.Hibernate && o.Asleep == 0:
		return Decision{}, false
	case !o.Hibernate && o.Workload.Replicas < o.Asleep:
		return Decision{Step: Scale{From: o.Workload.Replicas, To: o.Asleep}, Waiting: because(ReasonResuming, "starting the %d pods that the cluster had", o.Asleep)}, true
	case !o.Hibernate:
		return Decision{}, false
	case o.Workload.Replicas == 0, o.Asleep > o.Workload.Replicas && o.Workload.Replicas == 1:
		return lieDown(o), true
	}
	// While there are more pods none was stopped yet, whatever number is on record: the cluster may have shrunk since.
	v := leaderView(o)
	if v == nil || !restful(o, v) {
		return Decision{}, false
	}
	d := fallAsleep(o, v)
	d.View = v
	return d, true
}

// restful tells that nothing is under way and that every voter has all that the leader has.
func restful(o *Observation, v *View) bool {
	if _, doomed := doomedMember(o, v); doomed || !v.Settled() {
		return false
	}
	for _, m := range v.Status.Members {
		p := podOf(o, m.Name)
		if m.Learner || !v.Healthy(m) || p == nil || p.Terminating {
			return false
		}
	}
	return true
}

// restless says what keeps a cluster from resting of which all pods are well: members that are no pods of its own.
func restless(o *Observation, v *View) *Reason {
	for _, m := range v.Status.Members {
		if _, ours := resources.Ordinal(o.Cluster, m.Name); !ours {
			return because(ReasonHibernating, "member %q (ID %s, at %s) is no pod of this cluster, which goes to rest once that is removed", m.Name, m.ID, m.PeerAddress)
		}
	}
	return nil
}

// fallAsleep begins, while all pods run.
func fallAsleep(o *Observation, v *View) Decision {
	have := o.Workload.Replicas
	switch {
	case o.Asleep != have:
		return Decision{Step: RecordHibernation{Pods: have}, Waiting: because(ReasonHibernating, "all voters are caught up: the cluster of %d pods goes to rest", have)}
	case !o.Workload.KeepsClaims:
		return keepClaims()
	}
	last := resources.PodName(o.Cluster, 0)
	for _, m := range v.of(last) {
		if !v.Leads(m) {
			return Decision{Step: Transfer{Leader: v.Leader, To: m.ID, Name: m.Name},
				Waiting: because(ReasonHibernating, "handing leadership to %s, which is stopped last", last)}
		}
	}
	return Decision{Step: Scale{From: have, To: min(have-1, 1)}, Waiting: because(ReasonHibernating, "stopping the followers")}
}

func keepClaims() Decision {
	return Decision{Waiting: because(ReasonHibernating, "the StatefulSet is yet to take in that it keeps the claims of pods that are scaled away")}
}

// lieDown goes on once pods were stopped: there is no leader to ask any more.
func lieDown(o *Observation) Decision {
	var last *Pod
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Ordinal >= o.Workload.Replicas {
			last = p
		}
	}
	switch {
	case last != nil:
		return Decision{Waiting: because(ReasonHibernating, "%s", ending(last))}
	case o.Workload.Replicas == 0:
		return Decision{Hibernated: true}
	case !o.Workload.KeepsClaims:
		return keepClaims()
	case o.going(0):
		return Decision{Stalled: claimDeleted(o, 0, "take spec.hibernate away, and it is replaced once the others are back")}
	}
	return Decision{Step: Scale{From: o.Workload.Replicas, To: 0}, Waiting: because(ReasonHibernating, "stopping the last pod")}
}
