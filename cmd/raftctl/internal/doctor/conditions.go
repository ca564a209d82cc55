package doctor

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
)

// operatorPatience is how long the operator may take to see a change.
const operatorPatience = 30 * time.Second

// operator looks for signs that nobody looks after the cluster.
func (p *patient) operator() {
	c := p.Cluster
	switch {
	case c.DeletionTimestamp != nil:
		p.add(Remark, p.name, fmt.Sprintf("is being deleted since %s", p.ago(c.DeletionTimestamp.Time)))
	case len(c.Status.Conditions) == 0 && p.Now.Sub(c.CreationTimestamp.Time) > operatorPatience:
		p.add(Critical, p.name, "the operator has never said anything about it",
			"see whether the operator runs and watches this namespace: "+p.operatorPods())
	case len(c.Status.Conditions) > 0 && c.Status.ObservedGeneration < c.Generation:
		p.add(Warning, p.name, fmt.Sprintf("the operator has not seen the latest change yet: the spec has generation %d, it speaks of %d", c.Generation, c.Status.ObservedGeneration),
			"if that stays so for more than a few seconds, see whether the operator runs: "+p.operatorPods())
	}
}

// resting tells that the cluster has no pods because it was asked to.
func (p *patient) resting() bool {
	return p.Cluster.Spec.Hibernate && p.is(v1.ConditionHibernated)
}

func (p *patient) is(condition string) bool {
	return meta.IsStatusConditionTrue(p.Cluster.Status.Conditions, condition)
}

// stalledBecause tells whether the operator waits for a person for that reason.
func (p *patient) stalledBecause(reason string) bool {
	c := meta.FindStatusCondition(p.Cluster.Status.Conditions, v1.ConditionStalled)
	return c != nil && c.Status == metav1.ConditionTrue && c.Reason == reason
}

// conditions repeats what the operator says, with what to do where a person must decide.
func (p *patient) conditions() {
	stalled := meta.FindStatusCondition(p.Cluster.Status.Conditions, v1.ConditionStalled)
	reconciling := meta.FindStatusCondition(p.Cluster.Status.Conditions, v1.ConditionReconciling)
	if stalled != nil && stalled.Status == metav1.ConditionTrue {
		severity := Critical
		if p.is(v1.ConditionAvailable) {
			severity = Warning
		}
		advice := []string{"read what " + stalled.Reason + " means in docs/reference/conditions.md"}
		if a := p.decision(stalled.Reason); len(a) > 0 {
			advice = a
		}
		p.add(severity, p.name, fmt.Sprintf("the operator waits for a person (%s): %s", stalled.Reason, stalled.Message), advice...)
	}
	switch {
	case reconciling == nil:
	case reconciling.Status == metav1.ConditionTrue:
		p.add(Remark, p.name, fmt.Sprintf("the operator is at work (%s, for %s): %s", reconciling.Reason, p.ago(reconciling.LastTransitionTime.Time), reconciling.Message))
	case reconciling.Reason == "Paused":
		p.add(Remark, p.name, "updateStrategy.paused holds back a change of the pods",
			"let it through: "+p.kubectl(`patch raftcluster %s --type merge -p '{"spec":{"updateStrategy":{"paused":false}}}'`, p.name))
	}
	if p.Cluster.Spec.Hibernate {
		p.add(Remark, p.name, "it hibernates, or is about to: spec.hibernate is set", "bring it back: "+p.raftctl("resume %s", p.name))
	}
}

// decision is what a person can do about a reason of Stalled.
func (p *patient) decision(reason string) []string {
	describe := p.kubectl("describe raftcluster %s", p.name)
	switch reason {
	case plan.ReasonQuorumLost:
		return []string{
			"bring back volumes that were lost, if that is possible: no write is lost then",
			"if it is not, and you accept that acknowledged writes may be lost, allow the rebuilding from the member that holds most: " + p.recovery(""),
		}
	case plan.ReasonNoMemberLeft:
		return []string{
			"bring back volumes that were lost, if that is possible, or restore a backup into a new RaftCluster",
			"if you accept that all data is lost, allow to begin with nothing: " + p.recovery(`,"startEmpty":true`),
		}
	case plan.ReasonChildNotOwned:
		return []string{"remove or rename the object that the message names"}
	case plan.ReasonForeignData:
		return []string{"do what the message says, which tells where the volume may hold what this cluster became: its data would be lost with the claim",
			"else, and only if that data is not needed, delete the claim and then the pod that the message names"}
	case plan.ReasonConflictingData:
		return []string{"decide which of the clusters is kept, and delete the claims of the others and then their pods", "see what the operator found: " + describe}
	case plan.ReasonBootstrapNodeLost:
		return []string{"if nothing was written to it yet, delete the RaftCluster and its claims and apply it again"}
	case plan.ReasonUnaccountedClaim:
		return []string{"raise replicas so that the claim is used, or delete the claim if its data is not needed: " + p.kubectl("get pvc -l app.kubernetes.io/instance=%s", p.name)}
	case plan.ReasonStorageNotExpandable:
		return []string{"let the StorageClass expand volumes (allowVolumeExpansion: true), or do what the message says: spec.storage.size of a RaftCluster that exists cannot be lowered"}
	case plan.ReasonClaimDeleted:
		advice := []string{"end no pod of it: the claim that was deleted goes with its pod, and the data with the claim",
			"save a snapshot: " + p.saveSnapshot(p.mostApplied())}
		if p.Desired() < 3 {
			return append(advice, "ask for three members, and the one of that claim is replaced: "+p.kubectl("scale raftcluster %s --replicas 3", p.name))
		}
		return append(advice, "do what the message says, or bring the other members back: it is replaced once they are well")
	case plan.ReasonRecoveryNodeLost:
		return []string{"take spec.recovery away, wait until this is no longer said, and set it again, so that another member is chosen: " +
			p.kubectl(`patch raftcluster %s --type merge -p '{"spec":{"recovery":null}}'`, p.name)}
	case plan.ReasonInvalidStatus:
		return []string{"somebody has edited the status: put back what the message names", "see what is recorded: " + p.kubectl("get raftcluster %s -o yaml", p.name)}
	case plan.ReasonSpecRefused:
		return []string{"correct what the message names in the spec: " + p.kubectl("edit raftcluster %s", p.name),
			"where it names a policy, a quota or a right of the operator, correct that: nothing is changed before, and the store goes on"}
	case plan.ReasonUpdateFailed:
		return []string{"see why the pod does not become ready: " + p.kubectl("get pods -l app.kubernetes.io/instance=%s", p.name),
			"correct what was changed in the spec, or put it back: the operator goes on by itself"}
	}
	return nil
}

// recovery is the command by which a person consents to a recovery of this cluster, with more that the consent says.
func (p *patient) recovery(more string) string {
	return p.kubectl(`patch raftcluster %s --type merge -p '{"spec":{"recovery":{"clusterID":"%s","acknowledgeDataLoss":true%s}}}'`, p.name, p.Cluster.Status.ClusterID, more)
}

// ago is how long something lasts, in whole units that a person would say.
func (p *patient) ago(since time.Time) string {
	d := p.Now.Sub(since)
	switch {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
