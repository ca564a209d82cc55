package controllers

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// maxDifferences bounds the fields that an event names.
const maxDifferences = 5

// childEvent gives what tells of a child once it was applied, for another reason than that the cluster is new: somebody had deleted or edited it, or the
// pods' template is another one, by the spec or by this version of the operator.
func (r *Reconciler) childEvent(c *v1.RaftCluster, x child, wanted *unstructured.Unstructured) (tell func(), err error) {
	kind, name := x.wanted.GetObjectKind().GroupVersionKind().Kind, x.wanted.GetName()
	// A child may be missing because nothing asked for it until now.
	settled := c.Status.ClusterID != "" && c.Status.ObservedGeneration == c.Generation
	switch {
	case x.is == nil && settled && !x.first:
		return func() {
			r.Recorder.Eventf(c, nil, corev1.EventTypeNormal, "ChildPutRight", "apply", "%s %s did not exist, and was made anew", kind, name)
		}, nil
	case x.is == nil:
		return func() {}, nil
	}
	have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(x.is)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", name, err)
	}
	changed := differences(have, wanted.Object, "")
	fields := strings.Join(changed[:min(len(changed), maxDifferences)], ", ")
	if len(changed) > maxDifferences {
		fields += fmt.Sprintf(" and %d more", len(changed)-maxDifferences)
	}
	if x.edited(wanted) {
		return func() {
			r.Recorder.Eventf(c, nil, corev1.EventTypeWarning, "ChildPutRight", "apply", "somebody else had changed %s of %s %s, which is put right", fields, kind, name)
		}, nil
	}
	if kind != "StatefulSet" || !strings.Contains(fields, "spec.template") {
		return func() {}, nil
	}
	why := "as the spec asks"
	if settled {
		why = "as this version of the operator makes it"
	}
	return func() {
		r.Recorder.Eventf(c, nil, corev1.EventTypeNormal, "TemplateChanged", "apply", "the pods' template is another one, %s (%s): the pods are restarted one by one, the leader last", why, fields)
	}, nil
}

// edited tells that the child was as it is wanted, and that somebody else has changed it since.
func (c child) edited(wanted *unstructured.Unstructured) bool {
	return c.is != nil && c.is.GetAnnotations()[appliedAnnotation] == wanted.GetAnnotations()[appliedAnnotation]
}

// takeOver makes the operator the owner of what others have written into the child, such as one more port, so that to apply what is wanted takes it out.
func (r *Reconciler) takeOver(ctx context.Context, o client.Object) error {
	is := o.DeepCopyObject().(client.Object)
	// The watches' cache does not hold who owns what.
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(o), is); err != nil {
		return client.IgnoreNotFound(err)
	}
	others := sets.New[string]()
	for _, m := range is.GetManagedFields() {
		if m.Operation == metav1.ManagedFieldsOperationUpdate && m.Subresource == "" {
			others.Insert(m.Manager)
		}
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(is, others, string(fieldOwner))
	if err != nil || len(patch) == 0 {
		return err
	}
	err = r.Client.Patch(ctx, is, client.RawPatch(types.JSONPatchType, patch), fieldOwner)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("take over %s: %w", o.GetName(), err)
	}
	return nil
}

// differences are the fields in which have is not what want says, sorted.
func differences(have, want any, path string) []string {
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		var out []string
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if path == "metadata.annotations" && k == appliedAnnotation || path == "" && (k == "apiVersion" || k == "kind") {
				continue
			}
			field := strings.TrimPrefix(path+"."+k, ".")
			if exact(k, h[k], w[k]) {
				out = append(out, field)
				continue
			}
			out = append(out, differences(h[k], w[k], field)...)
		}
		return out
	case []any:
		h, _ := have.([]any)
		if len(h) != len(w) {
			return []string{path}
		}
		var out []string
		for i := range w {
			out = append(out, differences(h[i], w[i], fmt.Sprintf("%s[%d]", path, i))...)
		}
		return out
	}
	if reflect.DeepEqual(have, want) {
		return nil
	}
	return []string{path}
}
