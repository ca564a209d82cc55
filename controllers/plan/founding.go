package plan

import (
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// planFounding is for a cluster that has no ID on record: it is new, or its data outlived its RaftCluster.
func planFounding(o *Observation) Decision {
	if d, ok := awaitEarlier(o); ok {
		return d
	}
	if id, s := existing(o); s != nil {
		return Decision{Stalled: s}
	} else if id != 0 {
		return planAdoption(o, id)
	}
	if d, ok := awaitDeleted(o); ok {
		return d
	}
	if s := restartBeforeFounding(o); s != nil {
		return Decision{Step: *s, Waiting: because(ReasonUpdating, "restarting pod %s on the new template", s.Pod)}
	}
	if o.Bootstrap != nil {
		return runBootstrap(o)
	}
	if d := scaleBeforeFounding(o); d != nil {
		return *d
	}
	for i := range o.Workload.Replicas {
		if p := o.pod(i); !p.empty() || p.Terminating {
			return Decision{Waiting: because(ReasonBootstrapping, "%s; a cluster is founded only when all of its nodes say that they are empty",
				notEmpty(o, i))}
		}
	}
	for _, c := range o.Claims {
		if c.Ordinal >= o.Workload.Replicas && c.Bound {
			return Decision{Stalled: because(ReasonUnaccountedClaim,
				"claim %s may hold data of an earlier cluster of this name; to use that data, set replicas to %d or more, else delete the claim",
				c.Name, min(c.Ordinal+1, raft.MaxVoters))}
		}
	}
	first := o.pod(0)
	b := Bootstrap{ClusterID: o.NewClusterID, Pod: first.Name, Incarnation: first.Node.Incarnation}
	return Decision{Step: RecordBootstrap{b}, Waiting: because(ReasonBootstrapping, "all nodes are empty: founding the cluster on pod %s", first.Name)}
}

// planAdoption is for nodes that hold a cluster which is on no record. An earlier cluster of the name may have been rebuilt under another ID, and a claim that was kept
// still hold what it was before that: so a cluster is adopted only when it lives, as its members say, or when no node is left that may hold another, also of those that have
// claims and no pods.
func planAdoption(o *Observation, id raft.ClusterID) Decision {
	unknown, newest := unknownData(o, false), newestMembership(o, id)
	alive := lives(o, id, newest)
	if n := unasked(o, newest); !alive && n > o.Workload.Replicas {
		return Decision{Step: Scale{From: o.Workload.Replicas, To: n}, Waiting: because(ReasonScaling,
			"nodes hold the data of cluster %s, of which other members may be on claims without a pod: their pods are started, so that they say what they hold", id)}
	}
	if alive || unknown == "" {
		return Decision{Adopt: id, Waiting: because(ReasonBootstrapping, "the nodes hold the data of cluster %s, which goes on", id)}
	}
	d := restartSilent(o)
	d.Waiting = because(ReasonBootstrapping,
		"nodes hold the data of cluster %s, which goes on once a quorum of its members answers or all nodes say what they hold: %s; if a pod never will, delete its claim and then the pod", id, unknown)
	return d
}

// restartSilent brings the new template to a pod that does not run and whose claim stays, so that its node can say what it holds.
func restartSilent(o *Observation) (d Decision) {
	for i := range o.Pods {
		if p := &o.Pods[i]; outdated(o, p) && !p.Running && !p.Unheard && !o.going(p.Ordinal) {
			d.Step = Restart{Pod: p.Name, UID: p.UID}
		}
	}
	return d
}

// lives tells that members of the cluster follow a leader, or that a quorum of them answers.
func lives(o *Observation, id raft.ClusterID, newest *admin.Status) bool {
	answer := map[raft.Incarnation]bool{}
	for i := range o.Pods {
		p := &o.Pods[i]
		if !p.member(id) {
			continue
		}
		if p.Node.Leader != 0 {
			return true
		}
		answer[p.Node.Incarnation] = true
	}
	if newest == nil {
		return false
	}
	voters, up := 0, 0
	for _, m := range newest.Members {
		if m.Learner {
			continue
		}
		voters++
		if answer[m.Incarnation] {
			up++
		}
	}
	return voters > 0 && up >= quorum(voters)
}

// unknownData says which nodes do not say what they hold, and may hold something; empty if none. With kept only those count whose claims nobody has deleted.
func unknownData(o *Observation, kept bool) string {
	var unknown []string
	for i := range o.Workload.Replicas {
		p, c := o.pod(i), o.claim(i)
		switch {
		case c == nil || !c.Bound || c.Lost || kept && c.Going:
		case p.empty(), p != nil && p.Node != nil && p.Node.State == admin.StateMember:
		default:
			unknown = append(unknown, notEmpty(o, i))
		}
	}
	return strings.Join(unknown, "; ")
}

// existing finds the cluster that nodes already belong to.
func existing(o *Observation) (raft.ClusterID, *Reason) {
	var id raft.ClusterID
	var first string
	for i := range o.Pods {
		p := &o.Pods[i]
		if p.Node == nil || p.Node.State != admin.StateMember || p.Node.ClusterID == 0 {
			continue
		}
		if p.Terminating && o.going(p.Ordinal) {
			continue // it ends, and its data with it
		}
		if id != 0 && p.Node.ClusterID != id {
			return 0, because(ReasonConflictingData,
				"pod %s holds data of cluster %s and pod %s of cluster %s; keep one of them and delete the claims of the other, then their pods",
				first, id, p.Name, p.Node.ClusterID)
		}
		id, first = p.Node.ClusterID, p.Name
	}
	if id != 0 && o.Bootstrap != nil && id != o.Bootstrap.ClusterID {
		return 0, because(ReasonForeignData,
			"pod %s holds data of cluster %s while cluster %s is being founded; if that data is not needed, delete the pod's claim and then the pod",
			first, id, o.Bootstrap.ClusterID)
	}
	return id, nil
}

// runBootstrap asks the recorded incarnation, and no other, until it says that it is a member.
func runBootstrap(o *Observation) Decision {
	b := *o.Bootstrap
	ordinal, ok := resources.Ordinal(o.Cluster, b.Pod)
	if !ok {
		return Decision{Stalled: because(ReasonInvalidStatus, "status.bootstrap.pod %q is not a pod of this cluster", b.Pod)}
	}
	p := o.pod(ordinal)
	if p == nil || p.Node == nil || opening(p.Node) {
		return Decision{Waiting: because(ReasonBootstrapping, "%s, which is to found the cluster", notEmpty(o, ordinal))}
	}
	if p.Node.Incarnation != b.Incarnation {
		return Decision{Stalled: because(ReasonBootstrapNodeLost,
			"pod %s was chosen to found cluster %s, but its data directory is now another one, so the cluster may have been founded and lost; if no data was written yet, delete this RaftCluster and its claims and apply it again",
			b.Pod, b.ClusterID)}
	}
	if !p.empty() {
		return Decision{Waiting: because(ReasonBootstrapping, "%s", notEmpty(o, ordinal))}
	}
	return Decision{Step: RunBootstrap{Bootstrap: b, Member: newMember(o, p)},
		Waiting: because(ReasonBootstrapping, "founding the cluster on pod %s", b.Pod)}
}

// scaleBeforeFounding follows the spec while nothing is decided. Downwards only if the pod that goes never had a volume: the claim of one that had would stay behind
// as one that nobody can account for. A pod that says that it is empty goes once the cluster is founded.
func scaleBeforeFounding(o *Observation) *Decision {
	have := o.Workload.Replicas
	if have == o.Desired {
		return nil
	}
	waiting := because(ReasonScaling, "scaling to %d pods before the cluster is founded", o.Desired)
	if have < o.Desired {
		return &Decision{Step: Scale{From: have, To: o.Desired}, Waiting: waiting}
	}
	last := have - 1
	if c := o.claim(last); c == nil || !c.Bound {
		return &Decision{Step: Scale{From: have, To: last}, Waiting: waiting}
	}
	return nil
}

// restartBeforeFounding brings the new template to pods that hold nothing or do not run, as their machines say.
func restartBeforeFounding(o *Observation) *Restart {
	for i := range o.Pods {
		p := &o.Pods[i]
		if outdated(o, p) && (p.empty() || !p.Running && !p.Unheard) {
			return &Restart{Pod: p.Name, UID: p.UID}
		}
	}
	return nil
}

func notEmpty(o *Observation, ordinal int) string {
	name := resources.PodName(o.Cluster, ordinal)
	p := o.pod(ordinal)
	switch {
	case p == nil:
		return missing(o, name)
	case p.Stuck, p.Terminating:
		return ending(p)
	case p.Node == nil && !p.Running && p.Trouble != "":
		return "pod " + name + " does not run: " + p.Trouble
	case p.Node == nil && !p.Running:
		return "pod " + name + " does not run yet"
	case p.Node == nil:
		return "the node of pod " + name + " does not answer: " + p.NodeError
	}
	return "the node of pod " + name + " says that it is " + string(p.Node.State)
}
