package controllers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// conditions are all conditions of the cluster. Reconciling and Stalled mean to kstatus what they mean here.
func conditions(s *snapshot, d *plan.Decision, status *v1.RaftClusterStatus) []metav1.Condition {
	degraded := degraded(&s.observation, d, status)
	return []metav1.Condition{
		ready(s, d, status, degraded.Status == metav1.ConditionTrue),
		reconciling(s, d),
		stalled(s, d),
		available(d, status),
		degraded,
		hibernated(s, d, status),
	}
}

func hibernated(s *snapshot, d *plan.Decision, status *v1.RaftClusterStatus) metav1.Condition {
	switch {
	case d.Hibernated:
		return condition(v1.ConditionHibernated, true, "Hibernated", "all pods are stopped; membership and volumes are kept")
	case status.Hibernation != nil && !s.observation.Hibernate:
		return condition(v1.ConditionHibernated, false, plan.ReasonResuming, message(d.Waiting))
	case status.Hibernation != nil:
		return condition(v1.ConditionHibernated, false, plan.ReasonHibernating, message(d.Waiting))
	case s.observation.Hibernate:
		return condition(v1.ConditionHibernated, false, "NotHibernated", "the cluster goes to rest once it is well: "+message(cmp.Or(d.Waiting, d.Stalled)))
	}
	return condition(v1.ConditionHibernated, false, "NotHibernated", "the spec does not ask for it")
}

func condition(kind string, is bool, reason, message string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: shortened(message, maxMessageBytes)}
	if is {
		c.Status = metav1.ConditionTrue
	}
	return c
}

// stallOf is all that waits for a person: what the plan stalls on, and volumes that cannot grow.
func stallOf(s *snapshot, d *plan.Decision) *plan.Reason {
	switch storage := s.besides; {
	case storage == nil:
		return d.Stalled
	case d.Stalled == nil:
		return storage
	default:
		return &plan.Reason{Reason: d.Stalled.Reason, Message: d.Stalled.Message + "; besides, " + storage.Message}
	}
}

func ready(s *snapshot, d *plan.Decision, status *v1.RaftClusterStatus, degraded bool) metav1.Condition {
	switch stall := stallOf(s, d); {
	case d.Stalled != nil:
		return condition(v1.ConditionReady, false, stall.Reason, stall.Message)
	case d.Hibernated:
		return condition(v1.ConditionReady, true, "Hibernated", "the cluster rests, as the spec asks")
	case d.Waiting != nil && stall != nil:
		// What keeps the members from being well matters more than what keeps their volumes from growing.
		return condition(v1.ConditionReady, false, d.Waiting.Reason, d.Waiting.Message+"; besides, "+stall.Message)
	case d.Waiting != nil:
		return condition(v1.ConditionReady, false, d.Waiting.Reason, d.Waiting.Message)
	case stall != nil && !degraded && status.Leader != nil:
		return condition(v1.ConditionReady, false, stall.Reason, stall.Message)
	case degraded:
		return condition(v1.ConditionReady, false, "Degraded", "a member is missing or unhealthy")
	case status.Leader == nil:
		return condition(v1.ConditionReady, false, plan.ReasonNoLeader, "there is no leader")
	case int(status.ReadyReplicas) < s.observation.Desired:
		// The members are well; the kubelets' probes have not said so of all their pods yet.
		return condition(v1.ConditionReady, false, "PodsNotReady", fmt.Sprintf("%d of %d pods are ready", status.ReadyReplicas, s.observation.Desired))
	}
	return condition(v1.ConditionReady, true, "AsSpecified", fmt.Sprintf("all %d members vote and are caught up", s.observation.Desired))
}

func reconciling(s *snapshot, d *plan.Decision) metav1.Condition {
	switch {
	case d.Stalled != nil, s.besides != nil && s.besides.Reason == plan.ReasonSpecRefused:
		// Also while something is waited for: tools read whatever reconciles as being on its way to the spec, which this never reaches.
		return condition(v1.ConditionReconciling, false, "Stalled", "a person has to decide: see the condition Stalled")
	case d.Waiting != nil:
		return condition(v1.ConditionReconciling, true, d.Waiting.Reason, d.Waiting.Message)
	case s.besides != nil:
		return condition(v1.ConditionReconciling, false, "Stalled", "a person has to decide: see the condition Stalled")
	case s.observation.Paused && (held(s) || unrolled(&s.observation)):
		return condition(v1.ConditionReconciling, false, "Paused", "updateStrategy.paused holds back a change of the pods")
	}
	return condition(v1.ConditionReconciling, false, "AsSpecified", "nothing is to be done")
}

// held tells that the StatefulSet's template is not what the spec asks for.
func held(s *snapshot) bool {
	_, outdated, err := s.workload.outdated()
	return err == nil && outdated
}

// unrolled tells that a pod does not have the template that the StatefulSet holds: a roll was paused in the middle.
func unrolled(o *plan.Observation) bool {
	return o.Workload != nil && o.Workload.Revision != "" &&
		slices.ContainsFunc(o.Pods, func(p plan.Pod) bool { return p.Revision != o.Workload.Revision })
}

func stalled(s *snapshot, d *plan.Decision) metav1.Condition {
	if stall := stallOf(s, d); stall != nil {
		return condition(v1.ConditionStalled, true, stall.Reason, stall.Message)
	}
	return condition(v1.ConditionStalled, false, "NotStalled", "no person has to decide anything")
}

func available(d *plan.Decision, status *v1.RaftClusterStatus) metav1.Condition {
	if status.Leader != nil {
		return condition(v1.ConditionAvailable, true, "LeaderElected", status.Leader.Name+" leads: writes and reads are served")
	}
	switch {
	case d.Hibernated:
		return condition(v1.ConditionAvailable, false, "Hibernated", "the cluster rests: it has no pods until spec.hibernate is taken away")
	case d.Stalled != nil:
		return condition(v1.ConditionAvailable, false, d.Stalled.Reason, d.Stalled.Message)
	case d.Waiting != nil && (status.ClusterID == "" || d.Waiting.Reason == plan.ReasonQuorumUnreachable):
		return condition(v1.ConditionAvailable, false, d.Waiting.Reason, d.Waiting.Message)
	}
	return condition(v1.ConditionAvailable, false, plan.ReasonNoLeader, "no leader is known: writes are refused until the members elect one")
}

// degraded speaks of members that the cluster counts on, not of those that it is still to get.
func degraded(o *plan.Observation, d *plan.Decision, status *v1.RaftClusterStatus) metav1.Condition {
	if status.ClusterID == "" {
		return condition(v1.ConditionDegraded, false, "NotBootstrapped", "the cluster has not been founded yet")
	}
	if d.Hibernated {
		return condition(v1.ConditionDegraded, false, "Hibernated", "the cluster rests: its members are kept on their volumes")
	}
	podReady := map[string]bool{}
	for _, p := range o.Pods {
		podReady[p.Name] = p.Ready && !p.Terminating
	}
	var ailing []string
	for _, m := range status.Members {
		ordinal, ours := resources.Ordinal(o.Cluster, m.Name)
		if m.Role == resources.RoleLearner || (ours && ordinal >= o.Desired) {
			continue
		}
		if !m.Healthy || (ours && !podReady[m.Name]) {
			ailing = append(ailing, m.Name)
		}
	}
	if differ := statesDiffer(o); differ != "" {
		return condition(v1.ConditionDegraded, true, "StatesDiffer", differ)
	}
	switch {
	case len(ailing) > 0:
		return condition(v1.ConditionDegraded, true, "MembersUnhealthy", "not healthy: "+strings.Join(ailing, ", "))
	case status.Leader == nil:
		return condition(v1.ConditionDegraded, true, plan.ReasonNoLeader, "there is no leader")
	}
	return condition(v1.ConditionDegraded, false, "MembersHealthy", "all members are healthy")
}

// statesDiffer says what the nodes know of members whose states differ from the others'; empty if nothing.
func statesDiffer(o *plan.Observation) string {
	names := map[raft.NodeID]string{}
	for i := range o.Pods {
		if n := o.Pods[i].Node; n != nil {
			for _, m := range n.Members {
				names[m.ID] = m.Name
			}
		}
	}
	told := map[string]bool{}
	for i := range o.Pods {
		n := o.Pods[i].Node
		if n == nil {
			continue
		}
		if n.Fenced != "" {
			told["pod "+o.Pods[i].Name+" was fenced and begins anew: "+n.Fenced] = true
		}
		for _, a := range n.Alarms {
			switch {
			case a.Type != alarmCorrupt:
			case a.Member == 0:
				told["the members' states differ, and nobody can tell which are right"] = true
			default:
				told["the state of member "+cmp.Or(names[a.Member], a.Member.String())+" differs from the others'"] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(told)), "; ")
}

// alarmCorrupt is the alarm that a member's state differs, in etcd's word.
const alarmCorrupt = "CORRUPT"
