//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

const (
	rollCount = 10
	// What hack/e2e.sh appends to the version of the images that it builds beside the usual one: the same source under another version,
	// and the source with a lower feature level.
	nextSuffix, olderSuffix = "-next", "-older"
)

// rolls changes the image of every member, again and again, and asks that no write fails.
func rolls(t *testing.T, name string, members int32) {
	o := operate(t, newCluster(name, members))
	c, err := getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	strained := watchMachine(t)
	images := []string{c.Status.Image + nextSuffix, c.Status.Image}
	gaps := make([]time.Duration, 0, rollCount)
	for n := range rollCount {
		order, lead := rollTo(t, o, images[n%2])
		if order[len(order)-1] != lead {
			t.Errorf("the pods were replaced in the order %v, but %s led and should have been last", order, lead)
		}
		o.mu.Lock()
		gap, slowest, failed := o.longest, o.slowest, len(o.refused)+o.unknown
		began, last := o.longestAt, o.lastSeen
		o.mu.Unlock()
		gaps = append(gaps, gap)
		t.Logf("roll %d over %v: the longest pause was %d ms, %.1f s after it began; the slowest write took %d ms; the machine itself in that pause: %s", n+1, order,
			gap.Milliseconds(), began.Sub(o.began).Seconds(), slowest.Milliseconds(), strained.during(began, gap))
		if failed > 0 {
			t.Errorf("%d writes have failed, the last with: %s", failed, last)
		}
		o.line(t, fmt.Sprintf("roll %d of %d members", n+1, members), time.Since(o.began))
		waitEvent(t, name, lead+"'s handing over", func(e corev1.Event) bool {
			return e.Reason == "LeadershipTransferred" && strings.Contains(e.Message, "hand leadership from "+lead+" to ") && since(e, o.began)
		})
	}
	o.settle(t)
	slices.Sort(gaps)
	reportLine(t, "| %d rolls of %d members: longest pause of each, sorted: %v; median **%d ms**, worst **%d ms** | | | | | | |", rollCount, members,
		milliseconds(gaps), (gaps[(len(gaps)-1)/2]+gaps[len(gaps)/2]).Milliseconds()/2, gaps[len(gaps)-1].Milliseconds())
}

func milliseconds(all []time.Duration) []int64 {
	out := make([]int64, len(all))
	for i, d := range all {
		out[i] = d.Milliseconds()
	}
	return out
}

// rollTo changes the image and waits until every pod has it. It returns the order in which pods were replaced and who led when it began.
func rollTo(t *testing.T, o *operated, image string) (order []string, lead string) {
	t.Helper()
	before := mustPods(t, o.cluster)
	lead = leader(t, o.cluster).Name
	o.begin()
	change(t, o.cluster, func(s *v1.RaftClusterSpec) { s.Image = image })
	eventually(t, "every pod runs "+image, func(ctx context.Context) error {
		now, err := pods(ctx, o.cluster)
		if err != nil {
			return err
		}
		away := len(before) - len(now)
		for name, pod := range now {
			if pod.UID != before[name].UID && !slices.Contains(order, name) {
				order = append(order, name)
				t.Logf("%s is another pod after %.1f s", name, time.Since(o.began).Seconds())
			}
			if podReady(pod) != nil {
				away++
			}
		}
		if away > 1 {
			t.Fatalf("%d of %d pods are away at once during a roll-out", away, len(before))
		}
		for name, pod := range now {
			if pod.Spec.Containers[0].Image != image {
				return fmt.Errorf("%s runs %s; replaced so far: %v", name, pod.Spec.Containers[0].Image, order)
			}
		}
		return ready(ctx, o.cluster)
	})
	return order, lead
}

// clusterVersion is the feature level that the cluster has committed, as one of its nodes tells it.
func clusterVersion(t *testing.T, cluster string) uint32 {
	t.Helper()
	status, err := nodeStatus(t.Context(), leader(t, cluster))
	if err != nil {
		t.Fatal(err)
	}
	return status.ClusterVersion
}

// featureLevels goes from an older build half of the way to a newer one and back, then all of the way, and then tries to go back.
func featureLevels(t *testing.T) {
	const name = "levels"
	spec := newCluster(name, 3)
	probe := newCluster("levels-probe", 1)
	apply(t, probe)
	c, err := getCluster(t.Context(), probe.Name)
	if err != nil {
		t.Fatal(err)
	}
	newer, older := c.Status.Image, c.Status.Image+olderSuffix
	high := clusterVersion(t, probe.Name)
	removeCluster(t, probe.Name)

	spec.Spec.Image = older
	o := operate(t, spec)
	low := clusterVersion(t, name)
	if low >= high {
		t.Fatalf("the older build runs at cluster version %d, the newer at %d", low, high)
	}

	// One pod of the newer build, then back: the cluster keeps its version as long as one member cannot read a higher one.
	before := mustPods(t, name)
	change(t, name, func(s *v1.RaftClusterSpec) { s.Image = newer })
	eventually(t, "one pod runs the newer build", func(ctx context.Context) error {
		now, err := pods(ctx, name)
		if err != nil {
			return err
		}
		for podName, pod := range now {
			if pod.UID != before[podName].UID && podReady(pod) == nil {
				return nil
			}
		}
		return errors.New("none yet")
	})
	if now := clusterVersion(t, name); now != low {
		t.Fatalf("the cluster's version was raised to %d while members of the older build are there", now)
	}
	change(t, name, func(s *v1.RaftClusterSpec) { s.Image = older })
	allRun(t, name, older)
	o.converged(t, "from the older build to the newer by one pod or two, and back")

	rollTo(t, o, newer)
	o.converged(t, "from the older build to the newer")
	eventually(t, fmt.Sprintf("the cluster's version is %d", high), func(context.Context) error {
		if now := clusterVersion(t, name); now != high {
			return fmt.Errorf("it is %d", now)
		}
		return nil
	})

	// Now the older build cannot read what members may write: the first pod that gets it says so, and the update ends there.
	change(t, name, func(s *v1.RaftClusterSpec) {
		s.Image = older
		s.UpdateStrategy.ProgressDeadline = metav1.Duration{Duration: 20 * time.Second}
	})
	waitCondition(t, name, v1.ConditionStalled, "UpdateFailed")
	says(t, name)
	change(t, name, func(s *v1.RaftClusterSpec) { s.Image = newer })
	allRun(t, name, newer)
	o.converged(t, "back to the older build: refused after one pod, then put back")
	if failed := len(o.refused) + o.unknown; failed > 0 {
		t.Errorf("%d writes have failed, the last with: %s", failed, o.lastSeen)
	}
	o.settle(t)
}

// allRun waits until all pods run the image and are ready.
func allRun(t *testing.T, name, image string) {
	t.Helper()
	eventually(t, "all pods run "+image, func(ctx context.Context) error {
		now, err := pods(ctx, name)
		if err != nil {
			return err
		}
		for podName, pod := range now {
			if pod.Spec.Containers[0].Image != image {
				return fmt.Errorf("%s runs %s", podName, pod.Spec.Containers[0].Image)
			}
			if err := podReady(pod); err != nil {
				return err
			}
		}
		return ready(ctx, name)
	})
}

// updateFails asks for an image that does not exist. One pod gets it; the StatefulSet holds the last good template again, so that a pod
// which dies comes back; and the spec put back heals all.
func updateFails(t *testing.T) {
	const name = "misled"
	spec := newCluster(name, 3)
	spec.Spec.UpdateStrategy.ProgressDeadline = metav1.Duration{Duration: 10 * time.Second}
	o := operate(t, spec)
	c, err := getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	good := c.Status.Image
	const bad = "example.com/raftkv/node:does-not-exist"
	change(t, name, func(s *v1.RaftClusterSpec) { s.Image = bad })
	waitCondition(t, name, v1.ConditionStalled, "UpdateFailed")
	says(t, name)
	var misled, dies corev1.Pod
	for _, pod := range mustPods(t, name) {
		if pod.Spec.Containers[0].Image == bad {
			if misled.Name != "" {
				t.Fatalf("%s and %s both got the image that does not exist", misled.Name, pod.Name)
			}
			misled = pod
		} else if leader(t, name).Name != pod.Name {
			dies = pod
		}
	}
	if misled.Name == "" {
		t.Fatal("no pod got the image that does not exist")
	}
	eventually(t, "the StatefulSet holds the last good template", func(ctx context.Context) error {
		set, err := statefulSet(ctx, name)
		if err == nil && set.Spec.Template.Spec.Containers[0].Image != good {
			err = errors.New("it holds " + set.Spec.Template.Spec.Containers[0].Image)
		}
		return err
	})
	// The one that is left beside the leader dies: with the failed template the quorum would be gone for good.
	if err := kube.Delete(t.Context(), &dies); err != nil {
		t.Fatal(err)
	}
	waitReplaced(t, dies)
	if pod := mustPods(t, name)[dies.Name]; pod.Spec.Containers[0].Image != good {
		t.Errorf("%s came back with %s", pod.Name, pod.Spec.Containers[0].Image)
	}
	o.waitWrites(t, enoughWrites)
	change(t, name, func(s *v1.RaftClusterSpec) { s.Image = good })
	allRun(t, name, good)
	o.converged(t, "an image that does not exist, a healthy pod deleted while stalled, the spec put back")
	c, err = getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if x := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled); x == nil || x.Status != metav1.ConditionFalse {
		t.Errorf("conditions: %s", describe(c.Status.Conditions))
	}
	o.settle(t)
}
