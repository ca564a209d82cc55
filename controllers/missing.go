package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// Kubernetes' StatefulSet controller makes a missing pod when something happens to the StatefulSet or to a pod that it owns. After a failure it tries again when a pause is over that doubles with
// each one, up to 1,000 s, and whatever happens meanwhile is one more failure. So a pod whose predecessor belonged to a StatefulSet that was deleted with its pods, and ends late, may come a quarter of
// an hour after that one has gone; and so may one that a quota kept out. A write to the StatefulSet has its controller look at once.

// askedForAnnotation is on a StatefulSet whose controller was asked to look for missing pods again: when.
const askedForAnnotation = "raftkv.io/asked-for-pods"

const (
	// firstAsk is how long the same pods must have been missing before they are asked for: mostly they come within a second. From then on that doubles, but the next time is maxAsk later at most.
	firstAsk = 10 * time.Second
	maxAsk   = 5 * time.Minute
)

// absences are the pods that StatefulSets miss, by their RaftClusters' names. The zero value is ready for use.
type absences struct {
	mu sync.Mutex
	of map[types.NamespacedName]absence
}

// absence is that the same pods are missing.
type absence struct {
	// of names them, and their StatefulSet.
	of string
	// since is how long the operator had run when it first saw that; asked is for how long it had been so when they were last asked for, zero if they never were.
	since, asked time.Duration
}

// due takes note of what is missing, empty if nothing is, and tells whether it is time to ask for it.
func (a *absences) due(cluster types.NamespacedName, missing string, uptime time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if missing == "" {
		delete(a.of, cluster)
		return false
	}
	x := a.of[cluster]
	if x.of != missing {
		x = absence{of: missing, since: uptime}
	}
	gone := uptime - x.since
	due := gone >= max(firstAsk, min(2*x.asked, x.asked+maxAsk))
	if due {
		x.asked = gone
	}
	if a.of == nil {
		a.of = map[types.NamespacedName]absence{}
	}
	a.of[cluster] = x
	return due
}

// missing are the names of the pods that the StatefulSet should have made: its controller has seen it as it is.
func (s *snapshot) missing() []string {
	set := s.statefulSet
	if set == nil || set.DeletionTimestamp != nil || set.Spec.Replicas == nil || set.Status.ObservedGeneration < set.Generation {
		return nil
	}
	var out []string
	// A StatefulSet that somebody scaled to thousands must not be looked through: no member is there.
	for i := range min(int(*set.Spec.Replicas), raft.MaxMembers) {
		if name := resources.PodName(s.cluster.Name, i); s.pod(name) == nil {
			out = append(out, name)
		}
	}
	return out
}

// askForPods has the StatefulSet's controller look again for pods that have been missing for long.
func (r *Reconciler) askForPods(ctx context.Context, s *snapshot) error {
	set, pods, what := s.statefulSet, s.missing(), ""
	if len(pods) > 0 {
		what = fmt.Sprint(set.UID, pods)
	}
	if !r.watched.absent.due(client.ObjectKeyFromObject(s.cluster), what, r.Uptime()) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": set.UID, "annotations": map[string]any{askedForAnnotation: r.now().UTC().Format(time.RFC3339Nano)},
	}})
	if err != nil {
		return fmt.Errorf("encode a patch of StatefulSet %s: %w", set.Name, err)
	}
	if err := r.Client.Patch(ctx, set.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("ask for the missing pods of StatefulSet %s: %w", set.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("asked Kubernetes for pods that are missing", "pods", pods)
	return nil
}
