package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// maxDifferences bounds the fields that an event names.
const maxDifferences = 5

// Events about several objects of a cluster name the object as the related one, since two of the same reason within minutes that differ in nothing else are
// counted as one by the recorder, and the second one's words are lost.

// childEvent tells of a child that was applied, if it was for another reason than that the cluster is new: somebody had deleted or edited it, or the
// pods' template is another one, by the spec or by this version of the operator. mended are the fields that are as they are wanted since then.
func (r *Reconciler) childEvent(c *v1.RaftCluster, x child, wanted *unstructured.Unstructured, mended []string) {
	kind, name := x.wanted.GetObjectKind().GroupVersionKind().Kind, x.wanted.GetName()
	// A child may be missing because nothing asked for it until now.
	settled := c.Status.ClusterID != "" && c.Status.ObservedGeneration == c.Generation
	switch {
	case x.is == nil && settled && !x.first:
		r.Recorder.Eventf(c, x.wanted, corev1.EventTypeNormal, "ChildPutRight", "apply", "%s %s did not exist, and was made anew", kind, name)
	case x.is == nil || len(mended) == 0:
	case x.edited(wanted):
		r.Recorder.Eventf(c, x.wanted, corev1.EventTypeWarning, "ChildPutRight", "apply", "somebody else had changed %s of %s %s, which is put right", listed(mended), kind, name)
	case kind == kindStatefulSet && slices.ContainsFunc(mended, func(f string) bool { return strings.HasPrefix(f, "spec.template") }):
		why := "as the spec asks"
		if applied := r.lastReport(client.ObjectKeyFromObject(c)).applied; settled && (applied == 0 || applied == c.Generation) {
			why = "as this version of the operator makes it"
		}
		r.Recorder.Eventf(c, x.wanted, corev1.EventTypeNormal, "TemplateChanged", "apply", "the pods' template is another one, %s (%s): the pods are restarted one by one, the leader last", why, listed(mended))
	}
}

// madeEvent tells of a child that the API server has made into something else than what was applied.
func (r *Reconciler) madeEvent(c *v1.RaftCluster, is *unstructured.Unstructured, differs map[string]string) {
	fields := slices.Sorted(maps.Keys(differs))
	by := "an admission webhook or policy"
	if owners := ownersOf(is, fields); len(owners) > 0 {
		by = "field manager " + strings.Join(owners, ", ") + ", which owns them too"
	}
	r.Recorder.Eventf(c, is, corev1.EventTypeWarning, "ChildNotAsApplied", "apply", "%s of %s %s are not as they were applied, by %s: they are left so", listed(fields), is.GetKind(), is.GetName(), by)
}

// listed names the fields, but not more than an event should.
func listed(fields []string) string {
	out := strings.Join(fields[:min(len(fields), maxDifferences)], ", ")
	if len(fields) > maxDifferences {
		out += fmt.Sprintf(" and %d more", len(fields)-maxDifferences)
	}
	return out
}

// mended are the fields that are not any more what they were, sorted.
func mended(before, after map[string]string) []string {
	var out []string
	for _, field := range slices.Sorted(maps.Keys(before)) {
		if x, still := after[field]; !still || x != before[field] {
			out = append(out, field)
		}
	}
	return out
}

// edited tells that the child was as it is wanted, and that somebody else has changed it since.
func (c child) edited(wanted *unstructured.Unstructured) bool {
	return c.is != nil && c.is.GetAnnotations()[appliedAnnotation] == wanted.GetAnnotations()[appliedAnnotation]
}

// takeOver makes the operator the owner of what others have written into the fields of the child's spec that differ, such as one more port, so that to
// apply what is wanted takes it out. All else stays with those who wrote it: what a load balancer's controller adds to a Service is none of the operator's.
func (r *Reconciler) takeOver(ctx context.Context, o client.Object, differs map[string]string) error {
	var paths []string
	for field := range differs {
		if strings.HasPrefix(field, "spec.") {
			paths = append(paths, field)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	is := o.DeepCopyObject().(client.Object)
	// The watches' cache does not hold who owns what.
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(o), is); err != nil {
		return client.IgnoreNotFound(err)
	}
	entries, moved, err := moveFields(is.GetManagedFields(), paths)
	if err != nil || !moved {
		return err
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		// An object that has changed since is refused with a conflict.
		{"op": "replace", "path": "/metadata/resourceVersion", "value": is.GetResourceVersion()},
	})
	if err != nil {
		return err
	}
	err = r.Client.Patch(ctx, is, client.RawPatch(types.JSONPatchType, patch), fieldOwner)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("take over %s of %s: %w", strings.Join(paths, ", "), o.GetName(), err)
	}
	return nil
}
