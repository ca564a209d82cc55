package plan

import (
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// Decision is what to do and what to say.
type Decision struct {
	// Step is the one step to take now; nil for none.
	Step Step
	// Adopt is the ID of the cluster that the nodes turned out to belong to, to be recorded; zero for none.
	Adopt raft.ClusterID
	// ForgetRecovery takes a recovery off the record that came to nothing.
	ForgetRecovery bool
	// Hibernated says that the cluster rests as asked; Awake that its pods are back, so that the hibernation goes off the record.
	Hibernated, Awake bool
	// Good is the revision with which all pods are ready, to be recorded; empty if they are not.
	Good string
	// Roles is the role label that each pod, by name, is to have; an empty one is taken off. Pods that are not named keep theirs.
	Roles map[string]string
	// Withdrawn are the pods, by name, that stay out of the client Service if they are; all others are to be in it.
	Withdrawn map[string]bool
	// Hold keeps the StatefulSet's template as it is.
	Hold bool
	// Stalled says why a person must decide; nil if none must.
	Stalled *Reason
	// Waiting says what has to happen before the cluster is as asked; nil if it is.
	Waiting *Reason
	// View is the cluster through the eyes of its leader; nil without one.
	View *View
}

// Reason is why: a CamelCase word for machines and a sentence for people.
type Reason struct {
	Reason, Message string
}

// Reasons of Stalled.
const (
	ReasonChildNotOwned        = "ChildNotOwned"
	ReasonForeignData          = "ForeignData"
	ReasonConflictingData      = "ConflictingData"
	ReasonBootstrapNodeLost    = "BootstrapNodeLost"
	ReasonUnaccountedClaim     = "UnaccountedClaim"
	ReasonQuorumLost           = "QuorumLost"
	ReasonNoMemberLeft         = "NoMemberLeft"
	ReasonInvalidStatus        = "InvalidStatus"
	ReasonStorageNotExpandable = "StorageNotExpandable"
	ReasonRecoveryNodeLost     = "RecoveryNodeLost"
	// ReasonSpecRefused: Kubernetes does not take what the spec makes of an object.
	ReasonSpecRefused = "SpecRefused"
	// ReasonClaimDeleted: a claim was deleted, and there are too few members to do without it.
	ReasonClaimDeleted = "ClaimDeleted"
	// ReasonUpdateFailed: a pod on the new template does not become ready.
	ReasonUpdateFailed = "UpdateFailed"
)

// Reasons of Waiting.
const (
	ReasonCreating      = "Creating"
	ReasonBootstrapping = "Bootstrapping"
	ReasonNoLeader      = "NoLeader"
	// ReasonQuorumUnreachable: the quorum is lost for now, and back when the members that are away are.
	ReasonQuorumUnreachable = "QuorumUnreachable"
	ReasonMembership        = "ChangingMembers"
	ReasonScaling           = "Scaling"
	ReasonUpdating          = "Updating"
	ReasonMemberNotReady    = "MemberNotReady"
	ReasonQuorumAtRisk      = "QuorumAtRisk"
	ReasonForcingOut        = "ForcingOutPod"
	ReasonRecovering        = "Recovering"
	ReasonHibernating       = "Hibernating"
	ReasonResuming          = "Resuming"
	ReasonReplacing         = "ReplacingVolume"
	ReasonGrowing           = "GrowingVolumes"
)

func because(reason, format string, args ...any) *Reason {
	return &Reason{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// with adds to the sentence.
func (r *Reason) with(text string) *Reason {
	r.Message += text
	return r
}

// Step is one step of the operator. All but Scale upwards are risky: they are planned on a live read.
type Step interface {
	// Risky steps are taken only on an Observation that was read live.
	Risky() bool
	// String says what is being done, for logs and events.
	String() string
}

// RecordBootstrap writes the decision which node founds the cluster, before anything is asked of it.
type RecordBootstrap struct{ Bootstrap Bootstrap }

// RunBootstrap asks the recorded incarnation to found the cluster.
type RunBootstrap struct {
	Bootstrap Bootstrap
	Member    raft.Member
}

// ChangeMembers asks the leader for membership changes that are made all at once or not at all: one, or a replacement.
type ChangeMembers struct {
	// Leader is the pod whose node leads.
	Leader string
	// ConfigIndex is the configuration that the change was decided on.
	ConfigIndex raft.Index
	Changes     []raft.Change
	// Name is the member's, for people.
	Name string
}

// Withdraw takes a pod out of the client Service, before its member is removed: from then on it refuses clients, and some would be sent to it still.
type Withdraw struct{ Pod, UID string }

// Transfer asks the leader to hand over to the member To.
type Transfer struct {
	Leader string
	To     raft.NodeID
	Name   string
}

// Scale sets the StatefulSet's replicas from From to To.
type Scale struct{ From, To int }

// Restart removes a pod so that the StatefulSet makes it anew from the current template, and with a new claim if the old one was deleted.
type Restart struct {
	Pod, UID string
	// Evict asks through the Eviction API, which respects disruption budgets. A pod whose container does not run is deleted.
	Evict bool
}

// ForceDelete removes a pod whose Kubernetes node is gone, without waiting for that node's consent.
type ForceDelete struct{ Pod, UID string }

// RecordRecovery writes the decision which member's directory founds the cluster that takes the place of a lost one.
type RecordRecovery struct{ Recovery Recovery }

// RunRecovery asks the recorded directory to do it.
type RunRecovery struct {
	Recovery Recovery
	Member   raft.Member
}

// Abandon tells a member of a cluster that was rebuilt elsewhere to set its directory aside.
type Abandon struct {
	Pod         string
	ClusterID   raft.ClusterID
	Incarnation raft.Incarnation
}

// RecordHibernation writes how many pods the cluster has, before it loses them.
type RecordHibernation struct{ Pods int }

// ReplaceVolume deletes the claim of a member that has been unreachable for too long, and its pod, so that both are made anew.
type ReplaceVolume struct{ Pod, UID, Claim, ClaimUID string }

// RecreateWorkload deletes the StatefulSet and leaves its pods, so that it is made anew with a claim template of the right size.
type RecreateWorkload struct{}

// PutBack takes the template of revision Failed, which made no pod ready, out of the StatefulSet, and puts that of Revision there.
type PutBack struct{ Revision, Failed string }

// Risky is true.
func (PutBack) Risky() bool { return true }

// Risky is true.
func (RecordBootstrap) Risky() bool { return true }

// Risky is true.
func (RecordRecovery) Risky() bool { return true }

// Risky is true.
func (RunRecovery) Risky() bool { return true }

// Risky is true.
func (Abandon) Risky() bool { return true }

// Risky is true.
func (RecordHibernation) Risky() bool { return true }

// Risky is true.
func (ReplaceVolume) Risky() bool { return true }

// Risky is true.
func (RecreateWorkload) Risky() bool { return true }

// Risky is true.
func (RunBootstrap) Risky() bool { return true }

// Risky is true.
func (ChangeMembers) Risky() bool { return true }

// Risky is true.
func (Withdraw) Risky() bool { return true }

// Risky is true.
func (Transfer) Risky() bool { return true }

// Risky is true downwards: more pods harm nothing, they wait until they are added.
func (s Scale) Risky() bool { return s.To < s.From }

// Risky is true.
func (Restart) Risky() bool { return true }

// Risky is true.
func (ForceDelete) Risky() bool { return true }

func (s RecordBootstrap) String() string {
	return fmt.Sprintf("record that pod %s founds cluster %s", s.Bootstrap.Pod, s.Bootstrap.ClusterID)
}

func (s RunBootstrap) String() string {
	return fmt.Sprintf("bootstrap cluster %s on pod %s", s.Bootstrap.ClusterID, s.Bootstrap.Pod)
}

func (s RecordRecovery) String() string {
	return fmt.Sprintf("record that pod %s rebuilds cluster %s as %s", s.Recovery.Pod, s.Recovery.From, s.Recovery.ClusterID)
}

func (s RunRecovery) String() string {
	return fmt.Sprintf("rebuild cluster %s as %s on pod %s", s.Recovery.From, s.Recovery.ClusterID, s.Recovery.Pod)
}

func (s Abandon) String() string {
	return fmt.Sprintf("have pod %s set the directory of cluster %s aside", s.Pod, s.ClusterID)
}

func (s RecordHibernation) String() string {
	return fmt.Sprintf("record that %d pods go to rest", s.Pods)
}

func (s ReplaceVolume) String() string {
	return fmt.Sprintf("give up claim %s and pod %s, so that both are made anew", s.Claim, s.Pod)
}

func (RecreateWorkload) String() string {
	return "make the StatefulSet anew, without its pods, for the size of its claim template"
}

func (s PutBack) String() string {
	return fmt.Sprintf("put the template of revision %s back, since %s made no pod ready", s.Revision, s.Failed)
}

func (s ChangeMembers) String() string {
	if len(s.Changes) == 2 {
		return fmt.Sprintf("give %s (ID %s) the vote of the lost ID %s", s.Name, s.Changes[0].ID, s.Changes[1].ID)
	}
	switch c := s.Changes[0]; c.Kind {
	case raft.ChangeAddLearner:
		return fmt.Sprintf("add %s as a learner", s.Name)
	case raft.ChangePromote:
		return fmt.Sprintf("give %s (ID %s) a vote", s.Name, c.ID)
	case raft.ChangeRemove:
		return fmt.Sprintf("remove %s (ID %s)", s.Name, c.ID)
	default:
		return fmt.Sprintf("%s %s (ID %s)", c.Kind, s.Name, c.ID)
	}
}

// Kind names the change: what is done to the one member, or that one is replaced.
func (s ChangeMembers) Kind() string {
	if len(s.Changes) == 2 {
		return "replace"
	}
	return s.Changes[0].Kind.String()
}

func (s Withdraw) String() string {
	return fmt.Sprintf("take pod %s out of the client Service", s.Pod)
}

func (s Transfer) String() string {
	return fmt.Sprintf("hand leadership from %s to %s", s.Leader, s.Name)
}

func (s Scale) String() string { return fmt.Sprintf("scale from %d to %d pods", s.From, s.To) }

func (s Restart) String() string { return "restart pod " + s.Pod }

func (s ForceDelete) String() string {
	return fmt.Sprintf("force out pod %s, whose Kubernetes node is gone or out of service", s.Pod)
}
