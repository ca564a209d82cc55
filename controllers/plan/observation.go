package plan

import (
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// Observation is all that a decision rests on.
type Observation struct {
	// Cluster and Namespace are the names of the RaftCluster.
	Cluster, Namespace string
	// Desired is the number of voters that the spec asks for.
	Desired int
	// Paused holds the pods' template back.
	Paused bool

	// Hibernate asks for no pods. Asleep is the number of pods that the cluster had when that began, as the status has it on record; zero
	// while it does not hibernate.
	Hibernate bool
	Asleep    int
	// Rebuild is what the spec allows for a quorum that is lost for good; nil for nothing. Recovery is the decision about it that the status has
	// on record; it stays there when it was carried out.
	Rebuild  *Rebuild
	Recovery *Recovery

	// ClusterID and Bootstrap are what the status has on record; zero and nil for a cluster that was not bootstrapped.
	ClusterID raft.ClusterID
	Bootstrap *Bootstrap
	// NewClusterID is a random ID, for the case that this decision founds the cluster.
	NewClusterID raft.ClusterID

	// Good is the revision of the pods' template with which all pods were last ready; empty if that is not known. GoodGone says that Kubernetes does
	// not keep it any more, as far as that was looked for.
	Good     string
	GoodGone bool

	// Leaderless says that no leader was seen, nor anybody who follows one, for so long before the operator's eyes that a quorum would have elected one, if there
	// was a quorum.
	Leaderless bool

	// Foreign says which children exist and belong to something else, a sentence each.
	Foreign []string
	// Earlier says which of them go with an earlier RaftCluster of the name, whose deletion the garbage collector has not carried out yet.
	Earlier []string
	// Workload is the StatefulSet; nil while there is none.
	Workload *Workload
	// Pods are the StatefulSet's pods that exist, sorted by ordinal.
	Pods []Pod
	// Claims are the claims of the cluster's name that exist, sorted by ordinal; retained ones too.
	Claims []Claim
}

// Bootstrap is the recorded decision which node founds the cluster.
type Bootstrap struct {
	ClusterID   raft.ClusterID
	Pod         string
	Incarnation raft.Incarnation
}

// Rebuild is a person's consent to lose what only lost members of that cluster held.
type Rebuild struct {
	ClusterID raft.ClusterID
	// StartEmpty allows to begin with nothing where no member is left.
	StartEmpty bool
}

// Recovery is the recorded decision which member's directory founds the cluster that takes the place of From.
type Recovery struct {
	From, ClusterID raft.ClusterID
	Pod             string
	Incarnation     raft.Incarnation
	// Empty says that nothing is left: the directory is empty, and so is the new cluster.
	Empty bool
}

// Workload is what the decision needs of the StatefulSet.
type Workload struct {
	Replicas int
	// Revision is that of the template which pods are to have; empty while the StatefulSet controller has not yet
	// seen the latest template, or the template is not yet what the spec asks for.
	Revision string
	// Stale says that the template which is in force is not what the spec asks for.
	Stale bool
	// Failed is the revision of the template that the spec asks for, if it was taken out of the StatefulSet because it made no pod ready; empty else.
	Failed string
	// KeepsClaims says that the claims of pods that are scaled away are kept, and that the StatefulSet controller knows.
	KeepsClaims bool
	// SmallClaims says that new claims would be smaller than the spec asks for, since a StatefulSet's claim template cannot be changed.
	SmallClaims bool
	// Trouble is why a missing pod is not made, by the pod's name and in the words of Kubernetes; empty if it says nothing.
	Trouble map[string]string
}

// Pod is one pod of the StatefulSet and what its node says.
type Pod struct {
	Ordinal   int
	Name, UID string
	// Revision is that of the template which the pod was made from.
	Revision string
	// Ready is the pod's condition; Running says that its container runs, however well.
	Ready, Running bool
	// Terminating pods were asked to go; Stuck ones cannot, because their Kubernetes node is gone or out of service.
	Terminating, Stuck bool
	// Unheard pods are on a machine that does not report, so that they may run although they are said not to.
	Unheard bool
	// Late pods have not been ready for longer than an update may take; Unreachable ones for longer than the spec waits before it gives a
	// member's volume up, in a way that a new volume may cure, and were heard by nobody for as long before the operator's eyes, while somebody led.
	Late, Unreachable bool
	// Silent pods are not ready, and their nodes have not answered the operator for so long, before its eyes and without a break, that they are neither busy nor hard to
	// reach for a moment.
	Silent bool
	// Role is the role label that the pod has now.
	Role string
	// Withdrawn pods were taken out of the client Service; Forgotten ones so long ago that no client is sent to them any more.
	Withdrawn, Forgotten bool
	// Trouble is why the pod does not run, in the words of Kubernetes; empty if it says nothing.
	Trouble string
	// Node is what the node answered; nil if it does not answer, for the reason NodeError.
	Node      *admin.Status
	NodeError string
}

// Claim is one claim of the cluster.
type Claim struct {
	Ordinal int
	Name    string
	// Bound claims have had a volume and so may hold data.
	Bound bool
	// Lost claims have lost their volume for good. Going ones were deleted, or go with an earlier RaftCluster of the name: Kubernetes keeps them as long as their
	// pods are there. OfEarlier are those of the latter kind.
	Lost, Going, OfEarlier bool
	// UID is that of the claim.
	UID string
	// Small claims ask for less than the spec does, Growing ones have less than they ask for.
	Small, Growing bool
}

func (o *Observation) pod(ordinal int) *Pod {
	for i := range o.Pods {
		if o.Pods[i].Ordinal == ordinal {
			return &o.Pods[i]
		}
	}
	return nil
}

func (o *Observation) claim(ordinal int) *Claim {
	for i := range o.Claims {
		if o.Claims[i].Ordinal == ordinal {
			return &o.Claims[i]
		}
	}
	return nil
}

// going tells that the claim of that ordinal goes as soon as its pod ends.
func (o *Observation) going(ordinal int) bool {
	c := o.claim(ordinal)
	return c != nil && c.Going
}

// empty tells that the pod's node answers and its directory speaks for no member.
func (p *Pod) empty() bool {
	return p != nil && p.Node != nil && p.Node.State == admin.StateEmpty && p.Node.Incarnation != 0
}

// member tells that the pod's node answers as a member of that cluster.
func (p *Pod) member(id raft.ClusterID) bool {
	return p != nil && p.Node != nil && p.Node.State == admin.StateMember && p.Node.ClusterID == id
}
