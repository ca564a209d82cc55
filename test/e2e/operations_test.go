//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// change edits the cluster's spec.
func change(t *testing.T, name string, edit func(*v1.RaftClusterSpec)) *v1.RaftCluster {
	t.Helper()
	c, err := getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	patch := client.MergeFrom(c.DeepCopy())
	edit(&c.Spec)
	if err := kube.Patch(t.Context(), c, patch); err != nil {
		t.Fatal(err)
	}
	return c
}

func waitCondition(t *testing.T, name, kind, reason string) {
	t.Helper()
	eventually(t, name+": "+kind+" is "+reason, func(ctx context.Context) error {
		c, err := getCluster(ctx, name)
		if err != nil {
			return err
		}
		x := meta.FindStatusCondition(c.Status.Conditions, kind)
		if x == nil || x.Status != metav1.ConditionTrue || x.Reason != reason {
			return fmt.Errorf("conditions: %s", describe(c.Status.Conditions))
		}
		return nil
	})
}

// TestARestingClusterComesBackWithEverything puts a cluster to rest whose claims its own retention policy would delete, and takes it up again.
func TestARestingClusterComesBackWithEverything(t *testing.T) {
	const name = "sleeper"
	spec := newCluster(name, 3)
	spec.Spec.Storage.RetentionPolicy.WhenScaled = v1.DeleteVolumes
	apply(t, spec)
	s := startStream(t, name, leader(t, name).Spec.NodeName)
	s.waitWrites(t, enoughWrites)
	id := change(t, name, func(s *v1.RaftClusterSpec) { s.Hibernate = true }).Status.ClusterID
	waitCondition(t, name, v1.ConditionHibernated, "Hibernated")
	s.end()
	eventually(t, "its pods are gone", func(ctx context.Context) error {
		left, err := pods(ctx, name)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d are left", len(left)) // their processes have ended, the kubelets clear away behind them
		}
		return err
	})
	if kept, err := claims(t.Context(), name); err != nil || len(kept) != 3 {
		t.Fatalf("claims %v, %v", kept, err)
	}
	change(t, name, func(s *v1.RaftClusterSpec) { s.Hibernate = false })
	waitReady(t, name)
	s.audit(t)
	if c, err := getCluster(t.Context(), name); err != nil || c.Status.ClusterID != id {
		t.Errorf("the cluster was %s and is %+v, %v", id, c.Status, err)
	}
	startStream(t, name, leader(t, name).Spec.NodeName).waitWrites(t, enoughWrites)
}

// TestALostQuorumIsRebuiltFromItsSurvivor throws two of three volumes away for good. The member that led has every acknowledged write.
func TestALostQuorumIsRebuiltFromItsSurvivor(t *testing.T) {
	const name = "orphan"
	apply(t, newCluster(name, 3))
	lead := leader(t, name)
	s := startStream(t, name, lead.Spec.NodeName)
	s.waitWrites(t, enoughWrites)
	s.end()
	for _, pod := range mustPods(t, name) {
		if pod.Name == lead.Name {
			continue
		}
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "data-" + pod.Name}}
		if err := errors.Join(kube.Delete(t.Context(), claim), kube.Delete(t.Context(), &pod)); err != nil {
			t.Fatal(err)
		}
	}
	waitCondition(t, name, v1.ConditionStalled, "QuorumLost")
	c, err := getCluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	old := c.Status.ClusterID
	change(t, name, func(s *v1.RaftClusterSpec) { s.Recovery = &v1.RecoverySpec{ClusterID: old, AcknowledgeDataLoss: true} })
	waitReady(t, name)
	s.audit(t)
	c = change(t, name, func(s *v1.RaftClusterSpec) { s.Recovery = nil })
	if c.Status.ClusterID == old || c.Status.Recovery == nil || c.Status.Recovery.From != old {
		t.Errorf("the cluster was %s; its status is %+v", old, c.Status)
	}
	startStream(t, name, leader(t, name).Spec.NodeName).waitWrites(t, enoughWrites)
}

// TestAStatefulSetIsMadeAnewUnderItsPods deletes the StatefulSet and leaves its pods, as the operator does when volumes grow: the next one takes
// them over as they are, and looks after them.
func TestAStatefulSetIsMadeAnewUnderItsPods(t *testing.T) {
	const name = "adopter"
	apply(t, newCluster(name, 3))
	s := startStream(t, name, leader(t, name).Spec.NodeName)
	before := mustPods(t, name)
	var set appsv1.StatefulSet
	key := client.ObjectKey{Namespace: namespace, Name: name}
	if err := kube.Get(t.Context(), key, &set); err != nil {
		t.Fatal(err)
	}
	old := set.UID
	s.mark()
	if err := kube.Delete(t.Context(), &set, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another StatefulSet has taken the pods over", func(ctx context.Context) error {
		if err := kube.Get(ctx, key, &set); err != nil {
			return err
		}
		if set.UID == old || set.Status.ReadyReplicas != 3 {
			return fmt.Errorf("UID %s, %d ready", set.UID, set.Status.ReadyReplicas)
		}
		now, err := pods(ctx, name)
		if err != nil {
			return err
		}
		for _, pod := range now {
			if owner := metav1.GetControllerOf(&pod); owner == nil || owner.UID != set.UID {
				return fmt.Errorf("%s has the owners %v", pod.Name, pod.OwnerReferences)
			}
		}
		return ready(ctx, name)
	})
	for podName, pod := range mustPods(t, name) {
		if pod.UID != before[podName].UID {
			t.Errorf("%s was restarted", podName)
		}
	}
	s.waitWrites(t, enoughWrites)
	s.report(t, "StatefulSet made anew")
	change(t, name, func(s *v1.RaftClusterSpec) {
		s.PodTemplate.Annotations = map[string]string{"example.com/rolled": "yes"}
	})
	eventually(t, "every pod has the new template", func(ctx context.Context) error {
		now, err := pods(ctx, name)
		if err != nil {
			return err
		}
		for _, pod := range now {
			if pod.Annotations["example.com/rolled"] != "yes" {
				return errors.New(pod.Name + " has the old one")
			}
		}
		return ready(ctx, name)
	})
	s.audit(t)
}
