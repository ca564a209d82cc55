package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

func TestWhenMissingPodsAreAskedFor(t *testing.T) {
	const second, minute = time.Second, time.Minute
	cluster, other := types.NamespacedName{Name: "demo"}, types.NamespacedName{Name: "other"}
	for name, x := range map[string]struct {
		missing []string
		at      []time.Duration
		want    string
	}{
		"at once":                   {[]string{"a"}, []time.Duration{5 * second}, "-"},
		"for long":                  {[]string{"a", "a", "a"}, []time.Duration{5 * second, 14 * second, 15 * second}, "--x"},
		"again, after twice that":   {[]string{"a", "a", "a", "a", "a"}, []time.Duration{0, 10 * second, 19 * second, 20 * second, 39 * second}, "-x-x-"},
		"not more than ...":         {[]string{"a", "a", "a", "a", "a"}, []time.Duration{0, 20 * minute, 24 * minute, 25 * minute, 30 * minute}, "-x-xx"},
		"another one":               {[]string{"a", "a", "b", "b", "b"}, []time.Duration{0, 10 * second, 60 * second, 69 * second, 70 * second}, "-x--x"},
		"it came, and went again":   {[]string{"a", "", "a", "a"}, []time.Duration{0, 10 * second, 11 * second, 20 * second}, "----"},
		"asked for late, seen late": {[]string{"a", "a", "a"}, []time.Duration{0, 100 * second, 101 * second}, "-x-"},
	} {
		var a absences
		got := ""
		for i := range x.missing {
			a.due(other, "elsewhere", x.at[i])
			if a.due(cluster, x.missing[i], x.at[i]) {
				got += "x"
			} else {
				got += "-"
			}
		}
		if got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
		a.due(cluster, "", 0)
		if a.due(other, "", 0); len(a.of) != 0 {
			t.Errorf("%s: %v is remembered of clusters that miss nothing", name, a.of)
		}
	}
}

// What is asked is that something happens to the StatefulSet: its controller then looks at it at once, however long its pause after failures is.
func TestAPodThatIsNotMadeIsAskedFor(t *testing.T) {
	s := newStory(t, 131)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	writes := func() string {
		var set appsv1.StatefulSet
		s.get("demo", &set)
		return fmt.Sprint(set.ResourceVersion, set.Generation, set.Annotations[askedForAnnotation])
	}
	whole := writes()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: "demo-1"}}
	if err := s.c.Delete(context.Background(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	// looked reconciles as often as it takes until nothing but waiting is left, and gives how often the StatefulSet was written.
	looked := func() int {
		n, last := 0, writes()
		for range 5 {
			s.reconcile()
			if now := writes(); now != last {
				n, last = n+1, now
			}
		}
		return n
	}
	if n := looked(); n != 0 || writes() != whole {
		t.Fatalf("a pod that has just gone was asked for: %d writes, %s then %s", n, whole, writes())
	}
	for i, x := range []struct {
		later time.Duration
		want  int
	}{{firstAsk, 1}, {firstAsk / 2, 0}, {firstAsk / 2, 1}, {firstAsk, 0}} {
		s.later(x.later)
		if n := looked(); n != x.want {
			t.Fatalf("step %d: %d writes, want %d", i, n, x.want)
		}
	}
	s.until("whole again", asSpecified)
	whole = writes()
	s.later(time.Hour)
	if n := looked(); n != 0 {
		t.Errorf("pods that are all there were asked for: %s then %s", whole, writes())
	}
	if s.sawEvent("ChildPutRight") {
		t.Error("an event says that somebody changed the StatefulSet")
	}

	// A StatefulSet that its controller has not seen yet is no reason.
	s.change(`{"spec":{"replicas":5}}`)
	for range 20 {
		s.reconcile()
	}
	s.later(time.Hour)
	if n := looked(); n != 0 {
		t.Errorf("%d writes before Kubernetes has seen the StatefulSet", n)
	}
	s.until("five", func(c *v1.RaftCluster) bool { return asSpecified(c) && c.Status.ReadyReplicas == 5 })
}
