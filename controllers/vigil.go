package controllers

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/nodes"
	"github.com/raftkv/raftkv/raft"
)

// What is given up for good because it was away for long must have been away before the operator's own eyes. The times that Kubernetes writes are those of
// other machines' clocks: one that is behind, or an operator's own that leaps, makes a pod that began again a second ago look as if it had been gone for
// hours. So the operator measures by the time that it has run, which nobody can set. Another operator begins to count anew.

// watched is what the operator has watched of its clusters: pods that are gone, pods that do not answer, clusters that nobody leads, and pods that are not made. The zero
// value is ready for use.
type watched struct {
	gone, silent, unled vigils
	absent              absences
}

// forget is the end of a cluster.
func (w *watched) forget(cluster types.NamespacedName) {
	for _, v := range []*vigils{&w.gone, &w.silent, &w.unled} {
		v.keep(cluster, nil, 0)
	}
	w.absent.due(cluster, "", 0)
}

// vigils are the pods, or clusters, of which something is so, by their RaftClusters' names, and since when. The zero value is ready for use.
type vigils struct {
	mu sync.Mutex
	of map[types.NamespacedName]map[types.UID]vigil
}

// vigil is one of them.
type vigil struct {
	// since is how long the operator had run when it first saw that.
	since time.Duration
	// unready is when the pod stopped being ready, in the words of Kubernetes: another time says that it was ready meanwhile. It is zero of what is no pod.
	unready time.Time
}

// keep takes note of the pods of which it is so now, with the times since which Kubernetes says that they are not ready, and gives for how long it has been so of
// each, without a break that showed. The others are not watched any more.
func (v *vigils) keep(cluster types.NamespacedName, gone map[types.UID]time.Time, uptime time.Duration) map[types.UID]time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(gone) == 0 {
		delete(v.of, cluster)
		return nil
	}
	before, now, out := v.of[cluster], make(map[types.UID]vigil, len(gone)), make(map[types.UID]time.Duration, len(gone))
	for uid, unready := range gone {
		known, watched := before[uid]
		if !watched || !known.unready.Equal(unready) {
			known = vigil{since: uptime, unready: unready}
		}
		now[uid], out[uid] = known, uptime-known.since
	}
	if v.of == nil {
		v.of = map[types.NamespacedName]map[types.UID]vigil{}
	}
	v.of[cluster] = now
	return out
}

// gonePods are those that are not ready, whose nodes do not answer, and which no leader hears, with the times since which they are not ready. Without a leader
// of the cluster that answers there are none: where most or all are away, say all machines for a day, who comes back last must not be late.
func gonePods(c *v1.RaftCluster, pods []corev1.Pod, answers map[types.UID]nodes.Answer) map[types.UID]time.Time {
	heard, led := map[string]bool{}, false
	for _, a := range answers {
		if a.Err != nil || a.Status.Role != raft.RoleLeader.String() || a.Status.ClusterID == 0 || a.Status.ClusterID.String() != c.Status.ClusterID {
			continue
		}
		led = true
		for _, m := range a.Status.Members {
			// A leader that has just been elected calls all active; one that has answered it has a match index.
			heard[m.Name] = heard[m.Name] || m.Active && m.Match > 0
		}
	}
	out := map[types.UID]time.Time{}
	for i := range pods {
		p := &pods[i]
		a, followed := answers[p.UID]
		if led && !podReady(p) && !heard[p.Name] && (!followed || a.Err != nil) {
			out[p.UID] = unreadySince(p)
		}
	}
	return out
}

// silentPods are those that are not ready and whose nodes were asked and do not answer, with the times since which they are not ready.
func silentPods(pods []corev1.Pod, answers map[types.UID]nodes.Answer) map[types.UID]time.Time {
	out := map[types.UID]time.Time{}
	for i := range pods {
		p := &pods[i]
		if a, followed := answers[p.UID]; followed && a.Err != nil && !podReady(p) {
			out[p.UID] = unreadySince(p)
		}
	}
	return out
}

// unled is the cluster itself, if it was founded and no member that answers leads or knows who does.
func unled(c *v1.RaftCluster, answers map[types.UID]nodes.Answer) map[types.UID]time.Time {
	if c.Status.ClusterID == "" {
		return nil
	}
	for _, a := range answers {
		if a.Err == nil && a.Status.ClusterID.String() == c.Status.ClusterID && (a.Status.Leader != 0 || a.Status.Role == raft.RoleLeader.String()) {
			return nil
		}
	}
	return map[types.UID]time.Time{c.UID: {}}
}

// unreachable tells that the pod has been gone for longer than the spec waits, that a new volume may cure it, and that its claim is old enough to be given
// up.
func unreachable(c *v1.RaftCluster, p *corev1.Pod, claim *corev1.PersistentVolumeClaim, gone time.Duration, now time.Time) bool {
	after := c.Spec.Replacement.UnreachableAfter
	return after != nil && claim != nil && gone > after.Duration &&
		now.Sub(claim.CreationTimestamp.Time) > replacementDamping*after.Duration && (curable(p) || claim.Status.Phase == corev1.ClaimLost)
}
