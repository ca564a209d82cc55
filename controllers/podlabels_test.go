package controllers

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
)

// serving are the pods that the client Service selects, ready or not.
func (s *story) serving() string {
	s.t.Helper()
	var service corev1.Service
	var pods corev1.PodList
	s.get(resources.ClientServiceName("demo"), &service)
	if err := s.c.List(context.Background(), &pods, client.InNamespace(s.key.Namespace), client.MatchingLabels(service.Spec.Selector)); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, p := range pods.Items {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// A member that was removed refuses clients: its pod has been out of the client Service for long enough before that happens.
func TestNoClientIsSentToAMemberThatIsRemoved(t *testing.T) {
	s := newStory(t, 80)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	if got := s.serving(); got != "demo-0 demo-1 demo-2" {
		t.Fatalf("the client Service has %q", got)
	}
	s.change(`{"spec":{"replicas":1}}`)
	var at time.Time
	s.until("withdrawn", func(*v1.RaftCluster) bool {
		if n := len(s.g.membership.Members); n < 3 {
			t.Fatalf("%d members while clients are sent to demo-2", n)
		}
		var p corev1.Pod
		s.get("demo-2", &p)
		var ok bool
		at, ok = withdrawnAt(&p)
		return ok
	})
	if got := s.serving(); got != "demo-0 demo-1" {
		t.Errorf("the client Service has %q", got)
	}
	s.until("removed", func(*v1.RaftCluster) bool { return len(s.g.membership.Members) == 2 })
	if waited := time.Since(at); waited < resources.ServicesForget {
		t.Errorf("the member was removed %v after its pod was withdrawn, want at least %v", waited, resources.ServicesForget)
	}
	s.until("alone", func(c *v1.RaftCluster) bool { return asSpecified(c) && c.Status.Replicas == 1 })
	s.drain()
	if got := s.serving(); got != "demo-0" || s.told("PodWithdrawn") != 2 {
		t.Errorf("the client Service has %q: %v", got, s.history)
	}
	// A pod that is made anew serves, whatever became of its predecessor.
	s.change(`{"spec":{"replicas":3}}`)
	s.until("three again", asSpecified)
	if got := s.serving(); got != "demo-0 demo-1 demo-2" {
		t.Errorf("the client Service has %q", got)
	}
}

func TestAPodThatStaysAfterAllServesAgain(t *testing.T) {
	s := newStory(t, 81)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	pods := s.podUIDs()
	s.change(`{"spec":{"replicas":2}}`)
	s.until("withdrawn", func(*v1.RaftCluster) bool { return s.serving() == "demo-0 demo-1" })
	s.change(`{"spec":{"replicas":3}}`)
	s.until("back", func(c *v1.RaftCluster) bool { return asSpecified(c) && s.serving() == "demo-0 demo-1 demo-2" })
	s.drain()
	if s.told("PodReadmitted", "demo-2") != 1 || s.told("MemberRemoved") != 0 || s.podUIDs() != pods {
		t.Errorf("pods %s became %s: %v", pods, s.podUIDs(), s.history)
	}
	s.atRest()
}

// Labels that people change: one that keeps a pod from clients is put right, one that brings it back does not keep its member.
func TestPeoplesHandsOnTheLabelOfServingPods(t *testing.T) {
	s := newStory(t, 82)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	s.later(time.Hour) // the pods are not new
	relabel := func(name, value string) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: name}}
		text, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{resources.LabelManagedBy: value}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.c.Patch(context.Background(), p, client.RawPatch("application/merge-patch+json", text)); err != nil {
			t.Fatal(err)
		}
	}
	relabel("demo-1", "me")
	s.until("put right", func(*v1.RaftCluster) bool { return s.serving() == "demo-0 demo-1 demo-2" })
	s.drain()
	if s.told("ChildPutRight", resources.LabelManagedBy+" of pod demo-1") != 1 {
		t.Errorf("no event says so: %v", s.history)
	}
	s.change(`{"spec":{"replicas":2}}`)
	s.until("withdrawn", func(*v1.RaftCluster) bool { return s.serving() == "demo-0 demo-1" })
	s.until("removed all the same", func(c *v1.RaftCluster) bool {
		if len(s.g.membership.Members) == 3 {
			relabel("demo-2", resources.ManagedBy)
		}
		return asSpecified(c) && c.Status.Replicas == 2
	})
}

// Pods that an earlier version of the operator made are behind the client Service of this one, and the label that it takes off is none that the
// StatefulSet or the peers' Service needs.
func TestTheClientServiceFindsPodsOfEveryVersion(t *testing.T) {
	c := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}
	template := resources.StatefulSet(c, resources.StatefulSetOptions{}).Spec.Template.Labels
	selects := func(service *corev1.Service, pod map[string]string) bool {
		return k8slabels.SelectorFromSet(service.Spec.Selector).Matches(k8slabels.Set(pod))
	}
	// As of the first version.
	old := map[string]string{
		"app.kubernetes.io/name": "raftkv", "app.kubernetes.io/instance": "demo", "app.kubernetes.io/component": "node",
		"app.kubernetes.io/managed-by": "raftkv-operator",
	}
	for name, pod := range map[string]map[string]string{"of the template": template, "of an earlier version": old} {
		if !selects(resources.ClientService(c), pod) {
			t.Errorf("a pod %s is not behind the client Service", name)
		}
	}
	delete(old, resources.LabelManagedBy)
	set := k8slabels.SelectorFromSet(resources.StatefulSet(c, resources.StatefulSetOptions{}).Spec.Selector.MatchLabels)
	if selects(resources.ClientService(c), old) || !selects(resources.PeerService(c), old) || !set.Matches(k8slabels.Set(old)) {
		t.Error("a pod that is withdrawn has to be out of the client Service, and nothing else")
	}
}

func TestForgotten(t *testing.T) {
	now := time.Now()
	for name, x := range map[string]struct {
		at   time.Time
		want bool
	}{
		"just now":                      {now, false},
		"long enough ago":               {now.Add(-resources.ServicesForget), true},
		"by a clock that is ahead":      {now.Add(clockSkew / 2), false},
		"before the clock was set back": {now.Add(time.Hour), true},
	} {
		if got := forgotten(x.at, now); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}
