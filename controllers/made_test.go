package controllers

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// admit has the API server send the StatefulSets of the story's namespace through a webhook, and stops that at the test's end.
func (s *story) admit(change func(*appsv1.StatefulSet)) {
	s.t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		var set appsv1.StatefulSet
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := json.Unmarshal(review.Request.Object.Raw, &set); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		change(&set)
		patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec/template", "value": set.Spec.Template}})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true, Patch: patch, PatchType: ptr.To(admissionv1.PatchTypeJSONPatch),
		}
		review.Request = nil
		if err := json.NewEncoder(w).Encode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	s.t.Cleanup(server.Close)
	hook := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: s.key.Namespace},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mirror.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: ptr.To(server.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"statefulsets"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.key.Namespace}},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: ptr.To[int32](30),
		}},
	}
	if err := s.c.Create(context.Background(), hook); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.c.Delete(context.Background(), hook); err != nil {
			s.t.Error(err)
		}
	})
}

// told is how many events since the last drain say all of that.
func (s *story) told(words ...string) (n int) {
	for _, e := range s.history {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e, w) }) {
			n++
		}
	}
	return n
}

// What webhooks make of a StatefulSet is neither stale nor somebody's edit: a new spec rolls, and nothing is applied again and again.
func TestWhatWebhooksMakeOfAChildIsLeftSo(t *testing.T) {
	s := newStory(t, 70)
	// A webhook takes effect a moment after it is made: the first StatefulSet shows when.
	s.admit(func(set *appsv1.StatefulSet) {
		spec := &set.Spec.Template.Spec
		if !strings.HasPrefix(spec.Containers[0].Image, "mirror.example/") {
			spec.Containers[0].Image = "mirror.example/" + spec.Containers[0].Image
		}
		if len(spec.Containers) == 1 {
			spec.Containers = append(spec.Containers, corev1.Container{Name: "mesh", Image: "mesh:1"})
		}
		spec.NodeSelector = map[string]string{"disk": "ssd", "added": "yes"}
	})
	n := s.counting()
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}, podTemplate: {nodeSelector: {disk: ssd}}}")
	s.until("ready, with what the webhook adds", func(c *v1.RaftCluster) bool {
		if set := s.workloadImage(); set != "" && !strings.HasPrefix(set, "mirror.example/") {
			s.touch()
		}
		return asSpecified(c) && strings.HasPrefix(s.workloadImage(), "mirror.example/")
	})
	s.drain()
	s.history = nil
	for _, restart := range []bool{false, true} {
		if restart {
			s.r.made.of = nil // another operator has yet to learn it
		}
		before := n.of("write StatefulSet")
		for range 4 {
			s.reconcile()
		}
		want := map[bool]int{false: 0, true: 1}[restart]
		if got := n.of("write StatefulSet") - before; got != want {
			t.Errorf("after a restart: %v: %d writes of the StatefulSet, want %d: %s", restart, got, want, n)
		}
		s.drain()
		if got := s.told("ChildNotAsApplied", "StatefulSet demo"); got != want || s.told("ChildPutRight") > 0 {
			t.Errorf("after a restart: %v: told %d times, want %d: %v", restart, got, want, s.history)
		}
	}
	s.change(`{"spec":{"image":"raftkv/node:another"}}`)
	s.until("rolled", func(c *v1.RaftCluster) bool {
		const image = "mirror.example/raftkv/node:another"
		return asSpecified(c) && s.images() == image+" "+image+" "+image
	})
	// What people do to it is put right still, and nothing but that is told.
	s.drain()
	s.history = nil
	s.touch()
	s.until("put right", func(c *v1.RaftCluster) bool {
		return asSpecified(c) && len(s.workload().Spec.Template.Spec.Containers) == 2 && s.workload().Spec.Template.Spec.TerminationGracePeriodSeconds != nil &&
			*s.workload().Spec.Template.Spec.TerminationGracePeriodSeconds != 7
	})
	s.drain()
	if s.told("ChildPutRight", "changed spec.template.spec.terminationGracePeriodSeconds of StatefulSet demo") != 1 {
		t.Errorf("want one event: %v", s.history)
	}
}

// touch is a person's edit of the StatefulSet.
func (s *story) touch() {
	s.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}`))
	if err := s.c.Patch(context.Background(), s.workload(), patch); err != nil {
		s.t.Fatal(err)
	}
}

// A list's item that another manager applies is left and said once, with the manager's name.
func TestWhatAnotherManagerAppliesIsSaidOnce(t *testing.T) {
	s := newStory(t, 71)
	n := s.counting()
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	s.drain()
	s.history = nil
	before := n.of("write Service")
	more := applycorev1.Service("demo", s.key.Namespace).
		WithSpec(applycorev1.ServiceSpec().WithPorts(applycorev1.ServicePort().WithName("mine").WithPort(1)))
	if err := s.c.Apply(context.Background(), more, client.FieldOwner("someone")); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		s.reconcile()
	}
	s.drain()
	if got := n.of("write Service") - before; got != 1 {
		t.Errorf("%d writes of Services, want 1: %s", got, n)
	}
	if s.told("ChildNotAsApplied", "spec.ports of Service demo", "someone") != 1 || s.told("ChildPutRight") > 0 {
		t.Errorf("want one event that names the manager: %v", s.history)
	}
}

// What others add to a child beside the fields that the operator sets stays theirs when an edit is put right.
func TestWhatIsPutRightTakesNothingElse(t *testing.T) {
	s := newStory(t, 72)
	s.apply("spec: {replicas: 1, storage: {size: 1Gi}}")
	s.until("ready", asSpecified)
	ctx := context.Background()
	var service corev1.Service
	var account corev1.ServiceAccount
	s.get("demo", &service)
	service.Annotations["external-dns/name"] = "kv.example.com"
	service.Labels["theirs"] = "yes"
	service.Finalizers = append(service.Finalizers, "example.com/load-balancer")
	service.OwnerReferences = append(service.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "theirs", UID: "theirs"})
	service.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	service.Spec.Ports[0].Port = 1
	service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: "mine", Port: 2})
	if err := s.c.Update(ctx, &service, client.FieldOwner("controller")); err != nil {
		t.Fatal(err)
	}
	s.get("demo", &account)
	account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	account.Annotations["role"] = "theirs"
	account.Labels["app.kubernetes.io/managed-by"] = "me"
	if err := s.c.Update(ctx, &account, client.FieldOwner("controller")); err != nil {
		t.Fatal(err)
	}
	s.until("put right", func(c *v1.RaftCluster) bool {
		s.get("demo", &service)
		s.get("demo", &account)
		return asSpecified(c) && len(service.Spec.Ports) == 1 && service.Spec.Ports[0].Port != 1 && account.Labels["app.kubernetes.io/managed-by"] != "me"
	})
	if service.Annotations["external-dns/name"] == "" || service.Labels["theirs"] == "" || len(service.Finalizers) != 1 ||
		len(service.OwnerReferences) != 2 || service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		t.Errorf("the Service lost what is others': %+v, %s", service.ObjectMeta, service.Spec.SessionAffinity)
	}
	if len(account.ImagePullSecrets) != 1 || account.Annotations["role"] == "" {
		t.Errorf("the ServiceAccount lost what is others': %+v", account)
	}
	service.Finalizers = nil
	if err := s.c.Update(ctx, &service); err != nil {
		t.Fatal(err)
	}
}
