package controllers

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
)

var updateStates = flag.Bool("update-states", false, "write testdata/kstatus anew")

// shows compares what decides how tools read the RaftCluster with a file of testdata/kstatus, whose name begins with how kstatus has to read it. The module
// test/rules holds these files against the library that Helm and Flux use, which stays out of the product's dependencies.
func (s *story) shows(state string) {
	s.t.Helper()
	c := s.cluster()
	var conditions []any
	for _, x := range c.Status.Conditions {
		conditions = append(conditions, map[string]any{"type": x.Type, "status": string(x.Status), "reason": x.Reason, "observedGeneration": x.ObservedGeneration})
	}
	metadata := map[string]any{"name": "demo", "namespace": "shop", "generation": c.Generation}
	if c.DeletionTimestamp != nil {
		metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	}
	text, err := yaml.Marshal(map[string]any{"apiVersion": v1.GroupVersion.String(), "kind": v1.RaftClusterKind, "metadata": metadata,
		"status": map[string]any{"observedGeneration": c.Status.ObservedGeneration, "conditions": conditions}})
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join("testdata", "kstatus", state+".yaml")
	if *updateStates {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		s.t.Errorf("%s: the status is now\n%swhich is not %s; if that is right, run the test with -update-states and the tests of test/rules", state, text, path)
	}
}

func TestToolsReadTheTruthFromTheConditions(t *testing.T) {
	s := newStory(t, 43)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi}}")
	s.reconcile()
	s.shows("InProgress-created")
	s.until("ready", asSpecified)
	s.shows("Current-ready")
	s.change(`{"spec":{"replicas":4}}`)
	s.shows("InProgress-changed-and-not-looked-at")
	s.reconcile()
	s.shows("InProgress-growing")
	s.until("grown", asSpecified)
	s.change(`{"spec":{"hibernate":true}}`)
	s.until("at rest", func(c *v1.RaftCluster) bool { return is(c, v1.ConditionHibernated) })
	s.shows("Current-hibernated")
	s.change(`{"spec":{"hibernate":false}}`)
	s.until("back", asSpecified)
	s.change(`{"spec":{"podTemplate":{"nodeSelector":{"disk":"not a label!"}}}}`)
	s.until("refused", s.stalled(plan.ReasonSpecRefused))
	s.shows("Failed-spec-refused")
	s.change(`{"spec":{"podTemplate":null}}`)
	s.until("corrected", asSpecified)
	s.shows("Current-corrected")
	s.wipe("demo-0", "demo-1", "demo-2")
	s.until("lost", s.stalled(plan.ReasonQuorumLost))
	s.shows("Failed-quorum-lost")
	s.change(`{"metadata":{"finalizers":["example.com/test"]}}`)
	if err := s.c.Delete(context.Background(), s.cluster()); err != nil {
		t.Fatal(err)
	}
	s.shows("Terminating-deleted")
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.RaftClusterKind))
	u.SetNamespace(s.key.Namespace)
	u.SetName(s.key.Name)
	if err := s.c.Patch(context.Background(), u, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
}
