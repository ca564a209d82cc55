//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

const nodeProgram = "/raftkv-node"

// enoughWrites are more than were on the way when a fault struck: they show that the store takes new ones.
const enoughWrites = 10 * writerCount

// TestAcknowledgedWritesSurvive does to one store, one after the other, what may happen to it.
func TestAcknowledgedWritesSurvive(t *testing.T) {
	const name = "survivor"
	apply(t, newCluster(name, 3))
	shared := &survivor{cluster: name, stream: startStream(t, name, leader(t, name).Spec.NodeName)}

	for _, scenario := range []struct {
		name string
		run  func(*survivor, *testing.T)
	}{
		{"the leader's process is killed", (*survivor).leaderKilled},
		{"the leader's pod is deleted", (*survivor).leaderDeleted},
		{"the leader's node is cut off", (*survivor).leaderCutOff},
		{"pods are deleted together with their claims", (*survivor).volumeLost},
		{"all three are killed at once", (*survivor).allKilled},
		{"the template changes", (*survivor).templateChanged},
		{"the operator is absent", (*survivor).operatorAbsent},
		{"the RaftCluster is deleted and applied again", (*survivor).appliedAgain},
	} {
		if !t.Run(scenario.name, func(t *testing.T) { scenario.run(shared, t) }) {
			t.Fatal("what follows would say nothing new: it needs the store whole")
		}
	}
}

type survivor struct {
	cluster string
	stream  *stream
}

// goesOn shows that writes go on after a fault, and logs how long they paused.
func (s *survivor) goesOn(t *testing.T, what string) {
	t.Helper()
	s.stream.waitWrites(t, enoughWrites)
	s.stream.report(t, what)
}

// whole shows that the store came back to what the spec asks for, and that each member holds every acknowledged write.
func (s *survivor) whole(t *testing.T) {
	t.Helper()
	waitReady(t, s.cluster)
	s.stream.shares(t)
	s.stream.audit(t)
}

func (s *survivor) leaderKilled(t *testing.T) {
	p := pursue(t, s.cluster)
	old, term := p.leader(t)
	s.stream.mark()
	machine.kill(t, old, nodeProgram)
	s.goesOn(t, "leader "+old.Name+" killed")
	p.delays(t, term, old.Name)
	s.leaderServiceFollows(t)
	waitRestarted(t, old)
	s.whole(t)
}

// leaderServiceFollows shows that the leader Service reaches the pod that leads, and no other one.
func (s *survivor) leaderServiceFollows(t *testing.T) {
	t.Helper()
	eventually(t, "the leader Service reaches the leader", func(ctx context.Context) error {
		var slices discoveryv1.EndpointSliceList
		if err := kube.List(ctx, &slices, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: s.cluster + "-leader"}); err != nil {
			return err
		}
		var behind []string
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				behind = append(behind, endpoint.Addresses...)
			}
		}
		all, err := pods(ctx, s.cluster)
		if err != nil {
			return err
		}
		for _, pod := range all {
			status, err := nodeStatus(ctx, pod)
			if err != nil {
				return err
			}
			if status.Role == "leader" && len(behind) == 1 && behind[0] == pod.Status.PodIP {
				return nil
			}
		}
		return fmt.Errorf("behind it: %v", behind)
	})
}

func (s *survivor) leaderDeleted(t *testing.T) {
	old := leader(t, s.cluster)
	s.stream.mark()
	if err := kube.Delete(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	s.goesOn(t, "leader "+old.Name+" deleted")
	waitReplaced(t, old)
	s.leaderServiceFollows(t)
	s.whole(t)
}

func (s *survivor) leaderCutOff(t *testing.T) {
	p := pursue(t, s.cluster)
	old, term := p.leader(t)
	for _, pod := range mustPods(t, s.cluster) {
		if pod.Spec.NodeName != old.Spec.NodeName {
			s.stream.via(pod.Spec.NodeName)
		}
	}
	operator, err := workingOperator(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s.stream.waitWrites(t, enoughWrites)
	s.stream.mark()
	machine.cut(t, old.Spec.NodeName)
	s.goesOn(t, old.Spec.NodeName+" with leader "+old.Name+" cut off")
	if operator.Spec.NodeName != old.Spec.NodeName { // else nobody tells who leads until the node is back
		p.delays(t, term, old.Name)
	}
	waitNode(t, old.Spec.NodeName, false)
	s.goesOn(t, old.Spec.NodeName+" is NotReady")
	machine.heal(t, old.Spec.NodeName)
	waitNode(t, old.Spec.NodeName, true)
	s.whole(t)
}

// waitNode waits until Kubernetes calls the node ready or not ready.
func waitNode(t *testing.T, name string, wantReady bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s: ready is %t", name, wantReady), func(ctx context.Context) error {
		var node corev1.Node
		if err := kube.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && (c.Status == corev1.ConditionTrue) == wantReady {
				return nil
			}
		}
		return errors.New("not yet")
	})
}

// volumeLost throws a follower's disk away, and then the leader's.
func (s *survivor) volumeLost(t *testing.T) {
	lead := leader(t, s.cluster)
	for _, pod := range mustPods(t, s.cluster) {
		if pod.Name != lead.Name {
			s.loseVolume(t, pod)
			break
		}
	}
	s.loseVolume(t, leader(t, s.cluster))
}

func (s *survivor) loseVolume(t *testing.T, victim corev1.Pod) {
	t.Helper()
	before := memberIDs(t, s.cluster)
	s.stream.mark()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "data-" + victim.Name}}
	if err := kube.Delete(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if err := kube.Delete(t.Context(), &victim); err != nil {
		t.Fatal(err)
	}
	s.goesOn(t, victim.Name+" deleted with its claim")
	waitReplaced(t, victim)
	eventually(t, victim.Name+" is a member under a new ID", func(ctx context.Context) error {
		c, err := getCluster(ctx, s.cluster)
		if err != nil {
			return err
		}
		for _, m := range c.Status.Members {
			if m.ID == before[victim.Name] {
				return fmt.Errorf("the old ID %s is still a member", m.ID)
			}
		}
		return ready(ctx, s.cluster)
	})
	s.whole(t)
}

func (s *survivor) allKilled(t *testing.T) {
	all := mustPods(t, s.cluster)
	s.stream.mark()
	for _, pod := range all {
		machine.kill(t, pod, nodeProgram)
	}
	s.goesOn(t, "all three killed")
	for _, pod := range all {
		waitRestarted(t, pod)
	}
	s.whole(t)
}

// templateChanged rolls a change out: followers first, the leader last, one at a time.
func (s *survivor) templateChanged(t *testing.T) {
	const annotation = "example.com/rolled"
	before, lead := mustPods(t, s.cluster), leader(t, s.cluster)
	c, err := getCluster(t.Context(), s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	patch := client.MergeFrom(c.DeepCopy())
	c.Spec.PodTemplate.Annotations = map[string]string{annotation: "yes"}
	s.stream.mark()
	if err := kube.Patch(t.Context(), c, patch); err != nil {
		t.Fatal(err)
	}
	var order []string
	eventually(t, "every pod has the new template", func(ctx context.Context) error {
		now, err := pods(ctx, s.cluster)
		if err != nil {
			return err
		}
		away := len(before) - len(now)
		for name, pod := range now {
			if pod.UID != before[name].UID && !slices.Contains(order, name) {
				order = append(order, name)
			}
			if podReady(pod) != nil {
				away++
			}
		}
		if away > 1 {
			t.Fatalf("%d of %d pods are away at once during a roll-out", away, len(before))
		}
		for name, pod := range now {
			if pod.Annotations[annotation] != "yes" {
				return fmt.Errorf("%s has the old template; replaced so far: %v", name, order)
			}
		}
		return ready(ctx, s.cluster)
	})
	if order[len(order)-1] != lead.Name {
		t.Errorf("the pods were replaced in the order %v, but %s led and should have been last", order, lead.Name)
	}
	s.goesOn(t, fmt.Sprintf("rolled out over %v", order))
	s.whole(t)
}

// operatorAbsent shows that the store needs its operator for changes only.
func (s *survivor) operatorAbsent(t *testing.T) {
	scaleOperator(t, 0)
	// The next test needs an operator, also when this one fails.
	t.Cleanup(func() { _ = setOperatorReplicas(context.Background(), 1) })
	old := leader(t, s.cluster)
	s.stream.mark()
	machine.kill(t, old, nodeProgram)
	s.goesOn(t, "leader "+old.Name+" killed with no operator")
	waitRestarted(t, old)

	victim := leader(t, s.cluster)
	s.stream.mark()
	if err := kube.Delete(t.Context(), &victim); err != nil {
		t.Fatal(err)
	}
	s.goesOn(t, "leader "+victim.Name+" deleted with no operator")
	waitReplaced(t, victim)
	s.stream.audit(t)
	scaleOperator(t, 1)
	s.whole(t)
}

// appliedAgain deletes the RaftCluster, finds the claims kept, and applies it again over them.
func (s *survivor) appliedAgain(t *testing.T) {
	c, err := getCluster(t.Context(), s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	s.stream.end()
	clusterID := c.Status.ClusterID
	kept, err := claims(t.Context(), s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	removeCluster(t, s.cluster)
	left, err := claims(t.Context(), s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(kept, left) || len(left) == 0 {
		t.Fatalf("claims before the deletion: %v, after it: %v", kept, left)
	}
	again := newCluster(s.cluster, 3)
	again.Spec.PodTemplate = c.Spec.PodTemplate
	if err := kube.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	waitReady(t, s.cluster)
	s.stream.audit(t)
	if c, err = getCluster(t.Context(), s.cluster); err != nil {
		t.Fatal(err)
	}
	if c.Status.ClusterID != clusterID {
		t.Errorf("the cluster ID was %s and is %s: this is another store", clusterID, c.Status.ClusterID)
	}
	if condition := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionAvailable); condition == nil || condition.Status != metav1.ConditionTrue {
		t.Errorf("conditions: %s", describe(c.Status.Conditions))
	}
	startStream(t, s.cluster, leader(t, s.cluster).Spec.NodeName).waitWrites(t, enoughWrites)
}

// TestGrowAndShrinkUnderWrites goes from 3 to 5 to 3 and to 5 again over the claims that were kept, and kills the operator's
// process in the middle of each.
func TestGrowAndShrinkUnderWrites(t *testing.T) {
	const name = "grower"
	apply(t, newCluster(name, 3))
	s := startStream(t, name, leader(t, name).Spec.NodeName)
	for _, replicas := range []int32{5, 3, 5} {
		before := memberIDs(t, name)
		s.mark()
		scaleCluster(t, name, replicas)
		eventually(t, "the membership changes", func(ctx context.Context) error {
			c, err := getCluster(ctx, name)
			if err == nil && len(c.Status.Members) == len(before) {
				err = errors.New("the members are as before")
			}
			return err
		})
		killOperator(t)
		waitReady(t, name)
		s.waitWrites(t, enoughWrites)
		s.report(t, fmt.Sprintf("from %d to %d members", len(before), replicas))
		eventually(t, fmt.Sprintf("%d pods", replicas), func(ctx context.Context) error {
			all, err := pods(ctx, name)
			if err == nil && len(all) != int(replicas) {
				err = fmt.Errorf("%d pods", len(all))
			}
			return err
		})
		s.audit(t)
	}
	kept, err := claims(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if len(kept) != 5 {
		t.Errorf("claims: %v", kept)
	}
}

// killOperator ends the operator's process in the middle of whatever it does.
func killOperator(t *testing.T) {
	t.Helper()
	found, err := operatorPods(t.Context())
	if err != nil || len(found) == 0 {
		t.Fatalf("operator pods: %d, %v", len(found), err)
	}
	started := time.Now()
	machine.kill(t, found[0], "/raftkv-operator")
	t.Logf("killed the operator's process in %s (%v)", found[0].Name, time.Since(started).Round(time.Millisecond))
}
