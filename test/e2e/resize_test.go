//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// spread gives each member a node of its own.
func spread(c *v1.RaftCluster) *v1.RaftCluster {
	c.Spec.PodTemplate.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{
		{MaxSkew: 1, TopologyKey: "kubernetes.io/hostname", WhenUnsatisfiable: corev1.DoNotSchedule},
	}
	return c
}

func oneToFiveAndBack(t *testing.T) {
	const name = "stretched"
	spec := spread(newCluster(name, 1))
	spec.Spec.Storage.RetentionPolicy.WhenScaled = v1.DeleteVolumes
	o := operate(t, spec)
	at := int32(1)
	for _, next := range []int32{3, 5, 3, 1, 3} {
		o.begin()
		scaleCluster(t, name, next)
		o.converged(t, fmt.Sprintf("%d to %d members", at, next))
		eventually(t, fmt.Sprintf("the volumes of %d members are left", next), func(ctx context.Context) error {
			left, err := claims(ctx, name)
			if err == nil && len(left) != int(next) {
				err = fmt.Errorf("claims: %v", left)
			}
			return err
		})
		at = next
	}
	o.settle(t)
}

// scaleInWhileDown shrinks from five to three while the node of a low member is cut off, and then joins it again.
func scaleInWhileDown(t *testing.T) {
	const name = "thinned"
	o := operate(t, spread(newCluster(name, 5)))
	victim := o.follower(t, 0, 1, 2)
	o.away(t, victim, func() {
		scaleCluster(t, name, 3)
		waitCondition(t, name, v1.ConditionReconciling, "QuorumAtRisk")
	}, func() {
		c, err := getCluster(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		x := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionReconciling)
		if x == nil || x.Reason != "QuorumAtRisk" || !strings.Contains(x.Message, victim.Name) {
			t.Errorf("it does not say that it waits for %s: %s", victim.Name, describe(c.Status.Conditions))
		}
		if left := mustPods(t, name); len(c.Status.Members) != 5 || len(left) != 5 {
			t.Errorf("%d members and %d pods are left, although %s is away", len(c.Status.Members), len(left), victim.Name)
		}
	})
	o.converged(t, fmt.Sprintf("5 to 3 members while the node of %s is cut off for %.0f s", victim.Name, disturbedFor.Seconds()))
	o.settle(t)
}

// scaleOutWhileCutOff grows from three to five while the node of a follower is cut off, and then joins it again.
func scaleOutWhileCutOff(t *testing.T) {
	const name = "thickened"
	o := operate(t, spread(newCluster(name, 3)))
	victim := o.follower(t, 0, 1, 2)
	o.away(t, victim, func() { scaleCluster(t, name, 5) }, func() {})
	o.converged(t, fmt.Sprintf("3 to 5 members while the node of %s is cut off for %.0f s", victim.Name, disturbedFor.Seconds()))
	o.settle(t)
}

// follower is a member that does not lead, on a node without the operator and without the clients.
func (o *operated) follower(t *testing.T, ordinals ...int) corev1.Pod {
	t.Helper()
	operator, err := workingOperator(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	lead, members := leader(t, o.cluster), mustPods(t, o.cluster)
	for _, n := range ordinals {
		pod := members[fmt.Sprintf("%s-%d", o.cluster, n)]
		if pod.Name != "" && pod.Name != lead.Name && pod.Spec.NodeName != operator.Spec.NodeName {
			o.via(lead.Spec.NodeName)
			return pod
		}
	}
	t.Fatalf("none of the members %v is a follower away from the operator's node %s", ordinals, operator.Spec.NodeName)
	return corev1.Pod{}
}

// away cuts the pod's node off, does what there is to do while Kubernetes knows of it, looks after a while what has become of that, and joins the node again.
func (o *operated) away(t *testing.T, victim corev1.Pod, do, look func()) {
	t.Helper()
	machine.cut(t, victim.Spec.NodeName)
	waitNode(t, victim.Spec.NodeName, false)
	o.begin()
	do()
	o.pass(t, disturbedFor)
	says(t, o.cluster)
	look()
	o.waitWrites(t, enoughWrites)
	machine.heal(t, victim.Spec.NodeName)
	waitNode(t, victim.Spec.NodeName, true)
}
