package plan

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// Plan decides. It reads like the life of a cluster: nothing in the way, pods made, founded, led, as many members as
// asked, all on the current template.
func Plan(o *Observation) Decision {
	d := decide(o)
	d.Hold = o.Paused || d.Stalled != nil || o.failed()
	d.Awake = !o.Hibernate && o.Asleep > 0 && o.Workload != nil && o.Workload.Replicas >= o.Asleep
	d.Roles = roles(o, d.View)
	d.Withdrawn = withdrawn(o)
	d.Good = proven(o, d)
	return d
}

func decide(o *Observation) Decision {
	if len(o.Foreign) > 0 {
		stalled := because(ReasonChildNotOwned, "%s; the operator touches nothing that is not its own: remove or rename it", strings.Join(o.Foreign, "; "))
		if o.ClusterID == 0 { // else its data would not be found there, or go with it
			stalled.with(", or delete this RaftCluster and create it under another name")
		}
		return Decision{Stalled: stalled}
	}
	if len(o.Earlier) > 0 {
		return Decision{View: viewOf(o), Waiting: because(ReasonCreating, "%s: the cluster's objects are created once that is gone", strings.Join(o.Earlier, "; "))}
	}
	if o.Workload == nil {
		return Decision{View: viewOf(o), Waiting: because(ReasonCreating, "the cluster's objects are being created")}
	}
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Stuck && mayForce(o, viewOf(o), p) {
			return Decision{Step: ForceDelete{Pod: p.Name, UID: p.UID}, View: viewOf(o), Waiting: because(ReasonForcingOut,
				"pod %s cannot end because its Kubernetes node is gone or out of service", p.Name)}
		}
	}
	if o.ClusterID == 0 {
		return planFounding(o)
	}
	if d, ok := planSuccession(o); ok {
		return d
	}
	if d, ok := planHibernation(o); ok {
		return d
	}
	if s := foreignData(o); s != nil {
		return Decision{Stalled: s, View: viewOf(o)}
	}
	if o.Workload.Replicas < o.Desired {
		return Decision{Step: Scale{From: o.Workload.Replicas, To: o.Desired}, View: viewOf(o),
			Waiting: because(ReasonScaling, "scaling up to %d pods", o.Desired)}
	}
	v := leaderView(o)
	if v == nil {
		return planLeaderless(o)
	}
	d := planLed(o, v)
	d.View = v
	d.ForgetRecovery = o.Recovery != nil && o.Recovery.From == o.ClusterID // a quorum is back, after all
	return d
}

func viewOf(o *Observation) *View {
	if o.ClusterID == 0 {
		return nil
	}
	return leaderView(o)
}

// foreignData finds a wanted pod whose directory belongs to another cluster. Adding it would be wrong, and so would be wiping it.
func foreignData(o *Observation) *Reason {
	for i := range o.Pods {
		p := &o.Pods[i]
		if p.Ordinal < o.Desired && p.Node != nil && p.Node.State == admin.StateMember && p.Node.ClusterID != o.ClusterID {
			claim := resources.ClaimName(o.Cluster, p.Ordinal)
			if mayBeSuccessor(o, p) {
				return because(ReasonForeignData,
					"pod %s holds data of cluster %s, this one is %s, of which no member that answers can be elected: the pod may have founded the other one in its place, from all that it held, by a recovery that is on record no more, so keep the claim %s; to go on with the other cluster, put that on record (kubectl edit raftcluster %s --subresource=status): recovery: {from: %q, clusterID: %q, pod: %s, incarnation: %q}",
					p.Name, p.Node.ClusterID, o.ClusterID, claim, o.Cluster, o.ClusterID, p.Node.ClusterID, p.Name, p.Node.Incarnation)
			}
			keep := fmt.Sprintf("set replicas to %d or less", p.Ordinal)
			if p.Ordinal == 0 {
				keep = "have its volume outlive the claim before that (persistentVolumeReclaimPolicy: Retain)"
			}
			return because(ReasonForeignData, "pod %s holds data of cluster %s, this one is %s; if that data is not needed, delete the claim %s and then the pod, else %s",
				p.Name, p.Node.ClusterID, o.ClusterID, claim, keep)
		}
	}
	return nil
}

// mayBeSuccessor tells that the pod's node may have been told to found the cluster that it is of in the place of the one on record: nothing is left of that, or nobody of those that
// answer can be elected, the pod has the name of one of its members, and the node's ID was given after all of theirs, as that of a founder is.
func mayBeSuccessor(o *Observation, p *Pod) bool {
	known := newestMembership(o, o.ClusterID)
	switch {
	case followed(o) != "", leaderView(o) != nil:
		return false
	case known == nil:
		return len(unheard(o, nil)) == 0
	case !hopeless(o):
		return false
	}
	member := false
	for _, m := range known.Members {
		member = member || m.Name == p.Name
		if m.ID >= p.Node.MemberID {
			return false
		}
	}
	return member
}

// planLed is for a cluster that has a leader.
func planLed(o *Observation, v *View) Decision {
	if !v.Settled() {
		return Decision{Waiting: because(ReasonMembership, "a membership change is being committed")}
	}
	d := planMembers(o, v)
	if d.Step != nil {
		return d
	}
	r, replaces := planVolumeReplacement(o, v)
	if d, ok := failedUpdate(o, v); ok && (d.Step != nil || r.Step == nil || o.failed()) {
		return d // else the new template has proved good, and the member is ill for a reason of its own
	}
	if s := restartBroken(o, v); s != nil {
		return Decision{Step: *s, Waiting: because(ReasonUpdating, "restarting pod %s, which is not healthy, on the new template", s.Pod)}
	}
	// A member that is gone for good may be what the membership waits for.
	if replaces && (r.Step != nil || d.Waiting == nil) {
		return r
	}
	if d.Waiting != nil {
		return d
	}
	if d, ok := replaceBrokenLeader(o, v); ok && (d.Step == nil || mayEnd(o, v, leaderPod(o, v))) {
		return d
	}
	if d, ok := planDoomed(o, v); ok {
		return d
	}
	if w := unhealthy(o, v); w != nil {
		return Decision{Waiting: w}
	}
	growth, grows := planGrowth(o)
	if growth.Step != nil {
		return growth
	}
	// Some volumes grow only when their pods begin anew, so that a roll does not wait for them.
	if d := planUpdate(o, v); d.Step != nil || d.Waiting != nil && !grows {
		return d
	}
	if grows {
		return growth
	}
	if w := leftover(o); w != nil || !o.Hibernate {
		return Decision{Waiting: w}
	}
	return Decision{Waiting: restless(o, v)}
}

// leftover says which pod is still ending that is not needed any more; nil if none is.
func leftover(o *Observation) *Reason {
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Ordinal >= o.Desired {
			return because(ReasonScaling, "pod %s, which is not needed any more, is ending", p.Name)
		}
	}
	return nil
}

// unhealthy finds a reason why the cluster is not yet what the spec asks for, members being as many as asked.
func unhealthy(o *Observation, v *View) *Reason {
	for i := range o.Desired {
		name := resources.PodName(o.Cluster, i)
		p := o.pod(i)
		if p == nil {
			return because(ReasonMemberNotReady, "%s", missing(o, name))
		}
		if p.Terminating {
			return because(ReasonMemberNotReady, "%s", ending(p))
		}
		if !p.Running && p.Trouble != "" {
			return because(ReasonMemberNotReady, "pod %s does not run: %s", name, p.Trouble)
		}
		for _, m := range v.of(name) {
			if !v.Healthy(m) {
				return because(ReasonMemberNotReady, "member %s %s", name, ailment(v, m.Active))
			}
		}
		if !p.Ready {
			return because(ReasonMemberNotReady, "pod %s is not ready%s", name, notReady(p))
		}
	}
	return nil
}

func ailment(v *View, active bool) string {
	if active {
		return "is catching up with the leader " + v.Leader
	}
	return "is not heard by the leader " + v.Leader
}

// missing says that a pod does not exist, and why if that is known.
func missing(o *Observation, pod string) string {
	if why := o.Workload.Trouble[pod]; why != "" {
		return "pod " + pod + " cannot be made: " + why
	}
	return "pod " + pod + " does not exist yet"
}

func notReady(p *Pod) string {
	switch {
	case p.Node != nil && p.Node.NotReady != "":
		return ": " + p.Node.NotReady
	case p.Node == nil && p.NodeError != "":
		return fmt.Sprintf(" and its node does not answer: %s", p.NodeError)
	}
	return ""
}

// ending says that the pod was asked to go, or why it cannot.
func ending(p *Pod) string {
	if p.Stuck {
		return "pod " + p.Name + " cannot end since its Kubernetes node is gone or out of service (kubectl delete pod --force ends it)"
	}
	return "pod " + p.Name + " is ending"
}

// newMember is the member that the pod's node becomes.
func newMember(o *Observation, p *Pod) raft.Member {
	return raft.Member{
		Incarnation:   p.Node.Incarnation,
		Name:          p.Name,
		PeerAddress:   resources.PeerAddress(o.Namespace, o.Cluster, p.Name),
		ClientAddress: resources.ClientAddress(o.Namespace, o.Cluster, p.Name),
	}
}
