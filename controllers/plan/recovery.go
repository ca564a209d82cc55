package plan

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// A cluster that has lost its quorum for good is rebuilt only when a person asks for it, in the name of that cluster: the survivor whose
// log is the longest founds a new cluster, under a new ID, from its own state. The decision is recorded before anything is asked
// of the survivor, which does it once; all other members of the old cluster are told to set their directories aside, and join as new ones.

// planSuccession is for a recovery that is on record: it sees that it was done, and then ends what is left of the old cluster. It reports
// false if there is nothing to do for it now.
func planSuccession(o *Observation) (Decision, bool) {
	r := o.Recovery
	if r == nil {
		return Decision{}, false
	}
	if r.From == r.ClusterID {
		return Decision{Stalled: because(ReasonInvalidStatus, "status.recovery says that cluster %s was rebuilt as itself; take status.recovery away", r.From)}, true
	}
	if o.ClusterID == r.ClusterID {
		return planAbandonment(o)
	}
	if o.ClusterID != r.From {
		return Decision{}, false
	}
	if leaderView(o) != nil || followed(o) != "" {
		return Decision{}, false // a quorum is back, after all: what was founded meanwhile is not in force
	}
	for i := range o.Pods {
		if p := &o.Pods[i]; p.member(r.ClusterID) {
			return Decision{Adopt: r.ClusterID, Waiting: because(ReasonRecovering, "%s has founded cluster %s, which takes the place of cluster %s", p.Name, r.ClusterID, r.From)}, true
		}
	}
	p := podOf(o, r.Pod)
	switch {
	case p == nil || p.Node == nil || opening(p.Node):
		if ordinal, ours := resources.Ordinal(o.Cluster, r.Pod); o.Rebuild == nil && ours && o.volumeless(ordinal) {
			return Decision{ForgetRecovery: true, Waiting: because(ReasonRecovering, "the recovery by %s, whose claim is no more or never had a volume, is given up", r.Pod)}, true
		}
		return Decision{}, false
	case p.Node.State == admin.StateRefounding:
		return Decision{Waiting: because(ReasonRecovering, "%s makes the state of cluster %s out of its own", p.Name, r.ClusterID)}, true
	case p.Node.Incarnation == r.Incarnation:
		return Decision{}, false
	case o.Rebuild == nil:
		return Decision{ForgetRecovery: true, Waiting: because(ReasonRecovering, "the recovery by %s, whose directory is no more, is given up", p.Name)}, true
	}
	return Decision{Stalled: because(ReasonRecoveryNodeLost,
		"pod %s was chosen to rebuild cluster %s as %s, but its data directory is now another one, so the new cluster may have been founded and lost; to begin again with those that are left, take spec.recovery away, wait until this is no longer said, and set it again",
		r.Pod, r.From, r.ClusterID)}, true
}

// volumeless tells that the pod of that ordinal, whether it exists or not, has no volume on which a node could have left anything: its claim is deleted, has lost its
// volume, or never had one. What still runs has its directory open, whatever became of the claim.
func (o *Observation) volumeless(ordinal int) bool {
	if p := o.pod(ordinal); p != nil && (p.Running || p.Unheard) {
		return false
	}
	c := o.claim(ordinal)
	return c == nil || !c.Bound || c.Lost
}

// opening tells that the node does not know yet whose directory it has, as it is between the end of the old member and the beginning of the new one.
func opening(s *admin.Status) bool { return s.Incarnation == 0 }

// planAbandonment tells members of the cluster that was given up to set their directories aside.
func planAbandonment(o *Observation) (Decision, bool) {
	for i := range o.Pods {
		p := &o.Pods[i]
		if !p.member(o.Recovery.From) {
			continue
		}
		if p.Node.Leader != 0 {
			return Decision{View: viewOf(o), Stalled: because(ReasonForeignData,
				"cluster %s was given up and rebuilt as %s, but pod %s is one of its members and has a leader again: nothing of it is touched; stop its pods and delete the claims of those whose data is not needed",
				o.Recovery.From, o.ClusterID, p.Name)}, true
		}
		return Decision{Step: Abandon{Pod: p.Name, ClusterID: o.Recovery.From, Incarnation: p.Node.Incarnation}, View: viewOf(o), Waiting: because(ReasonRecovering,
			"pod %s still holds the directory of cluster %s, which was rebuilt as %s: it sets that aside and joins as a new member", p.Name, o.Recovery.From, o.ClusterID)}, true
	}
	return Decision{}, false
}

// planLoss is for a cluster of which no member that answers can ever be elected: it says so, or rebuilds it where a person allows that.
func planLoss(o *Observation, known *admin.Status) Decision {
	if !o.rebuildAllowed() {
		return Decision{ForgetRecovery: o.unrun(), Stalled: because(ReasonQuorumLost,
			"%s, so that no leader can be elected ever again; bring the lost volumes back, or restore a backup into a new RaftCluster, or go on with what the others hold, which may lack acknowledged writes: set spec.recovery to {clusterID: %q, acknowledgeDataLoss: true}%s",
			lossText(o, known), o.ClusterID, otherRebuild(o))}
	}
	best, missed := bestSurvivor(o, known)
	if n := unasked(o, known); n > o.Workload.Replicas {
		return Decision{Step: Scale{From: o.Workload.Replicas, To: n}, Waiting: because(ReasonRecovering,
			"cluster %s is to be rebuilt from the member with the longest log, which may be on a claim without a pod: the pods of all claims that are left are started", o.ClusterID)}
	}
	switch {
	case len(missed) > 0:
		return Decision{Waiting: because(ReasonRecovering,
			"cluster %s is to be rebuilt from the member with the longest log, so that all that are left must be asked: %s; delete the claim of one that will never come back, and its pod", o.ClusterID, strings.Join(missed, "; "))}
	case best == nil:
		return Decision{Stalled: because(ReasonQuorumLost, "%s, and no member is left to rebuild the cluster from", lossText(o, known))}
	}
	if r := o.Recovery; r != nil && r.From == o.ClusterID {
		return runRecovery(o, best)
	}
	return recordRecovery(o, best, false)
}

// unrun tells that a recovery is on record whose survivor is still what it was.
func (o *Observation) unrun() bool {
	r := o.Recovery
	if r == nil || r.From != o.ClusterID {
		return false
	}
	p := podOf(o, r.Pod)
	return p != nil && p.Node != nil && p.Node.Incarnation == r.Incarnation
}

func (o *Observation) rebuildAllowed() bool {
	return o.Rebuild != nil && o.Rebuild.ClusterID == o.ClusterID
}

// otherRebuild says that the spec's recovery is of another cluster, which is no news once that was rebuilt as this one.
func otherRebuild(o *Observation) string {
	if o.Rebuild == nil || (o.Recovery != nil && o.Rebuild.ClusterID == o.Recovery.From) {
		return ""
	}
	return fmt.Sprintf(" (it names cluster %s now)", o.Rebuild.ClusterID)
}

func recordRecovery(o *Observation, p *Pod, empty bool) Decision {
	r := Recovery{From: o.ClusterID, ClusterID: o.NewClusterID, Pod: p.Name, Incarnation: p.Node.Incarnation, Empty: empty}
	text := fmt.Sprintf("cluster %s is rebuilt as %s from pod %s, whose log ends at term %d, index %d", r.From, r.ClusterID, r.Pod, p.Node.LastTerm, p.Node.LastIndex)
	if empty {
		text = fmt.Sprintf("cluster %s, of which nothing is left, begins empty as %s on pod %s", r.From, r.ClusterID, r.Pod)
	}
	return Decision{Step: RecordRecovery{r}, Waiting: because(ReasonRecovering, "%s", text)}
}

// chosen tells that the pod's directory is the one on record.
func (o *Observation) chosen(p *Pod) bool {
	r := o.Recovery
	return r != nil && r.From == o.ClusterID && p.Name == r.Pod && p.Node.Incarnation == r.Incarnation
}

// runRecovery asks the recorded directory, and no other.
func runRecovery(o *Observation, best *Pod) Decision {
	r := *o.Recovery
	if r.Empty || best.Name != r.Pod || best.Node.Incarnation != r.Incarnation {
		return Decision{Stalled: because(ReasonRecoveryNodeLost,
			"pod %s was chosen to rebuild cluster %s, but %s holds more now; take spec.recovery away, wait until this is no longer said, and set it again", r.Pod, r.From, best.Name)}
	}
	return Decision{Step: RunRecovery{Recovery: r, Member: newMember(o, best)},
		Waiting: because(ReasonRecovering, "%s founds cluster %s from all that it holds of cluster %s", r.Pod, r.ClusterID, r.From)}
}

// planEmptyStart begins anew where nothing of the cluster is left and a person asked for that in so many words.
func planEmptyStart(o *Observation) (Decision, bool) {
	if !o.rebuildAllowed() || !o.Rebuild.StartEmpty {
		return Decision{}, false
	}
	r := o.Recovery
	if r == nil || r.From != o.ClusterID {
		for i := range o.Pods {
			if p := &o.Pods[i]; p.empty() && !p.Terminating {
				return recordRecovery(o, p, true), true
			}
		}
		return awaitEmpty(o), true
	}
	p := podOf(o, r.Pod)
	if !r.Empty || p == nil || p.Node == nil {
		return Decision{Stalled: because(ReasonRecoveryNodeLost,
			"pod %s was chosen to begin cluster %s anew as %s, and has no data directory any more; take spec.recovery away, wait until status.recovery is gone, and set it again", r.Pod, r.From, r.ClusterID)}, true
	}
	return Decision{Step: RunRecovery{Recovery: *r, Member: newMember(o, p)},
		Waiting: because(ReasonRecovering, "%s founds cluster %s, which is empty", r.Pod, r.ClusterID)}, true
}

// awaitEmpty is for a cluster that may begin empty, and of which no node says that it is. It is no stall, which would hold the pods' template back: another one may be what lets
// them run.
func awaitEmpty(o *Observation) Decision {
	var missed []string
	for i := range o.Desired {
		if p := o.pod(i); p.member(o.ClusterID) {
			missed = append(missed, "pod "+p.Name+" was added to the lost cluster and has received nothing of it: delete its claim, and then the pod")
			continue
		}
		missed = append(missed, notEmpty(o, i))
	}
	return Decision{Waiting: because(ReasonRecovering, "cluster %s, of which nothing is left, begins empty as soon as a node says that it is empty: %s", o.ClusterID, strings.Join(missed, "; "))}
}

// hopeless tells that no member can ever be elected again. A candidate goes by the newest membership in its own log, and gets the votes of
// those whose logs are not longer than its own (§5.4.1). A member that is merely away may come back and vote for anybody.
func hopeless(o *Observation) bool {
	any := false
	for i := range o.Pods {
		p := &o.Pods[i]
		if !p.member(o.ClusterID) || len(p.Node.Members) == 0 {
			continue
		}
		any = true
		if electable(o, p.Node) {
			return false
		}
	}
	return any
}

func electable(o *Observation, candidate *admin.Status) bool {
	votes := map[raft.NodeID]bool{}
	var m raft.Membership
	for _, x := range candidate.Members {
		m.Members = append(m.Members, x.Member)
		p := podOf(o, x.Name)
		answers := p.member(o.ClusterID) && p.Node.Incarnation == x.Incarnation
		votes[x.ID] = !gone(o, x.Member) && (!answers || !known(candidate) || !longer(p.Node, candidate))
	}
	return m.HasQuorum(func(id raft.NodeID) bool { return votes[id] })
}

// known tells that the member says where its log ends.
func known(s *admin.Status) bool { return s.LastIndex != 0 }

// gone tells that the member will never come back: its pod has another directory, or no volume for one.
func gone(o *Observation, m raft.Member) bool {
	if lost(o, m) {
		return true
	}
	ordinal, ours := resources.Ordinal(o.Cluster, m.Name)
	if !ours {
		return false
	}
	if p := o.pod(ordinal); p != nil && p.Node != nil {
		return false
	}
	return o.volumeless(ordinal)
}

// mostOrdinals is how many ordinals the pods and the members have, as far as these are known, and claims that may hold members which only others know. Above those of
// all members nothing is started: claims of such names are not of the operator's making.
func mostOrdinals(o *Observation, known *admin.Status) int {
	n := o.Workload.Replicas
	for _, c := range o.Claims {
		if c.Bound && c.Ordinal < raft.MaxVoters {
			n = max(n, c.Ordinal+1)
		}
	}
	if known == nil {
		return n
	}
	for _, m := range known.Members {
		if i, ours := resources.Ordinal(o.Cluster, m.Name); ours {
			n = max(n, i+1)
		}
	}
	return n
}

// unasked is how many pods there must be so that each claim of a member has one.
func unasked(o *Observation, known *admin.Status) int {
	n := 0
	for i := range mostOrdinals(o, known) {
		if c := o.claim(i); c != nil && c.Bound && !c.Lost && !c.Going {
			n = i + 1
		}
	}
	return n
}

// unheard says which pods may hold a directory of the cluster and do not say what they know of it. Whoever may hold one counts, also a learner, or a
// pod that no membership which is known names: it may have become a voter by an entry that only it holds, or know that others are voters no more.
func unheard(o *Observation, known *admin.Status) []string {
	var out []string
	for i := range mostOrdinals(o, known) {
		if silentHolder(o, i) {
			out = append(out, notEmpty(o, i))
		}
	}
	return out
}

// silentHolder tells that a pod of that ordinal may hold a directory of the cluster of which nothing is known.
func silentHolder(o *Observation, ordinal int) bool {
	p := o.pod(ordinal)
	switch {
	case p == nil || p.Node == nil:
		return !o.volumeless(ordinal)
	case p.member(o.ClusterID):
		return len(p.Node.Members) == 0 && !nothingReceived(p)
	}
	return !p.empty() && p.Node.State != admin.StateMember
}

// bestSurvivor is the member that answers with the longest log (§5.4.1), and why others that may have a longer one do not say so.
func bestSurvivor(o *Observation, known *admin.Status) (best *Pod, missed []string) {
	for i := range mostOrdinals(o, known) {
		p := o.pod(i)
		switch {
		case p.member(o.ClusterID) && !nothingReceived(p) && (p.Node.LastIndex == 0 || p.Node.Leader != 0):
			missed = append(missed, "the node of pod "+p.Name+" does not say where its log ends: it is just beginning, or its build is older than the recovery")
		case silentHolder(o, i), p != nil && p.Terminating && o.going(i): // what the latter holds goes with it: a cluster must not be founded on that
			missed = append(missed, notEmpty(o, i))
		case !p.member(o.ClusterID), nothingReceived(p):
		case best == nil || longer(p.Node, best.Node) || o.chosen(p) && !longer(best.Node, p.Node):
			best = p
		}
	}
	return best, missed
}

// nothingReceived tells that the pod's node was added to a cluster, runs, and has received nothing of it: it does not even know the members.
func nothingReceived(p *Pod) bool { return p.Node.Role != "" && len(p.Node.Members) == 0 }

func longer(a, b *admin.Status) bool {
	if a.LastTerm != b.LastTerm {
		return a.LastTerm > b.LastTerm
	}
	return a.LastIndex > b.LastIndex
}

// lossText says which voters are gone.
func lossText(o *Observation, known *admin.Status) string {
	var names []string
	voters := 0
	for _, m := range known.Members {
		if !m.Votes() {
			continue
		}
		voters++
		if gone(o, m.Member) {
			names = append(names, m.Name)
		}
	}
	return fmt.Sprintf("%d of %d voters (%s) lost their data directories", len(names), voters, strings.Join(names, ", "))
}
