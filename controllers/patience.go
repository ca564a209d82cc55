package controllers

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

const (
	// defaultProgressDeadline is the CRD's default; it matters for objects that were stored before the field was there.
	defaultProgressDeadline = 10 * time.Minute
	// electionPatience is how long a cluster must have been without a leader, before this operator's eyes, before a pod of it is touched that is said not to run: a
	// quorum elects one within a few election timeouts, and that pod may be part of it.
	electionPatience = 10 * time.Second
	// silencePatience is how long a node must not have answered this operator, again and again, before its pod, which runs, is touched for that: it may be busy, or a
	// connection that hangs has to be made anew first (nodes gives one up after half of this).
	silencePatience = time.Minute
	// replacementDamping is how many times the time that a member may be unreachable a claim must be old before it is given up: a
	// machine that breaks one volume after the other does not use them up.
	replacementDamping = 6
)

// unreadySince is when the pod, which is not ready, was made or last was ready, as Kubernetes says it.
func unreadySince(p *corev1.Pod) time.Time {
	since := p.CreationTimestamp.Time
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.LastTransitionTime.After(since) {
			since = c.LastTransitionTime.Time
		}
	}
	return since
}

// late tells that the pod takes longer to become ready than an update may.
func late(c *v1.RaftCluster, p *corev1.Pod, now time.Time) bool {
	deadline := c.Spec.UpdateStrategy.ProgressDeadline.Duration
	if deadline == 0 {
		deadline = defaultProgressDeadline
	}
	return !podReady(p) && now.Sub(unreadySince(p)) > deadline
}

// curable tells that the pod's trouble may be its volume or its machine: it runs, or ends again and again, or cannot be scheduled to where its
// volume is. An image that cannot be pulled, or a lack of room, is not cured by losing data.
func curable(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return strings.Contains(c.Message, "volume node affinity conflict") || strings.Contains(c.Message, "PersistentVolume's node affinity")
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil || (c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff") {
			return true
		}
	}
	return false
}
