package controllers

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is said of a pod counts as long as its machine reports.
func TestMachinesThatAreGoneAndThatDoNotReport(t *testing.T) {
	c := apiServer(t)
	operator := asOperator(t)
	r := &Reconciler{Live: operator}
	ctx := context.Background()
	machine := func(name string, ready corev1.ConditionStatus, taints ...corev1.Taint) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints}}
		if err := c.Create(ctx, n); err != nil {
			t.Fatal(err)
		}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		if err := c.Status().Update(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	machine("reports", corev1.ConditionTrue)
	machine("silent", corev1.ConditionUnknown)
	machine("out-of-service", corev1.ConditionUnknown, corev1.Taint{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute})
	for name, want := range map[string][2]bool{"reports": {false, true}, "silent": {false, false}, "out-of-service": {true, false}, "nowhere": {true, false}} {
		gone, reports, err := r.machine(ctx, name)
		if err != nil || gone != want[0] || reports != want[1] {
			t.Errorf("%s: gone %v, reports %v, %v; want %v", name, gone, reports, err, want)
		}
	}
}
