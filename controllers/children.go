package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

const (
	// fieldOwner owns the fields that the operator applies.
	fieldOwner = client.FieldOwner("raftkv-operator")
	// appliedAnnotation is a digest of what was last applied, so that a field that is no longer wanted is noticed.
	appliedAnnotation = "raftkv.io/applied"
)

// child is one object of the cluster: as wanted and, if it exists, as it is.
type child struct {
	wanted client.Object
	is     client.Object
	// first says that nothing is amiss if it does not exist yet.
	first bool
	// made is what the API server made of it when it was last applied.
	made madeAs
}

// observeChildren reads the children whose fields the operator owns, and says which belong to something else.
func (r *Reconciler) observeChildren(ctx context.Context, reader client.Reader, s *snapshot) error {
	c := s.cluster
	set := &appsv1.StatefulSet{}
	found, err := r.readChild(ctx, c, resources.StatefulSetName(c.Name), kindStatefulSet, set, s)
	if err != nil {
		return err
	}
	if found {
		s.statefulSet = set
	}
	s.image = r.resolveImage(s)
	for _, wanted := range []client.Object{
		resources.ServiceAccount(c), resources.PeerService(c), resources.ClientService(c), resources.LeaderService(c),
	} {
		is := reflect.New(reflect.TypeOf(wanted).Elem()).Interface().(client.Object)
		kind := wanted.GetObjectKind().GroupVersionKind().Kind
		found, err := r.readChild(ctx, c, wanted.GetName(), kind, is, s)
		if err != nil {
			return err
		}
		if !found {
			is = nil
		}
		s.children = append(s.children, child{wanted: wanted, is: is})
	}
	if err := errors.Join(r.observeBudget(ctx, reader, s), r.observePolicy(ctx, s)); err != nil {
		return err
	}
	if err := r.observeWorkload(s); err != nil {
		return err
	}
	return r.observeHeld(ctx, s)
}

func (r *Reconciler) observePolicy(ctx context.Context, s *snapshot) error {
	wanted := resources.NetworkPolicy(s.cluster)
	is := &networkingv1.NetworkPolicy{}
	if wanted == nil {
		// Not wanted: one of somebody else's by that name is none of the operator's business.
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.cluster.Namespace, Name: resources.NetworkPolicyName(s.cluster.Name)}, is)
		if err == nil && metav1.IsControlledBy(is, s.cluster) {
			s.policy = is
		}
		return client.IgnoreNotFound(err)
	}
	found, err := r.readChild(ctx, s.cluster, wanted.Name, "NetworkPolicy", is, s)
	if err != nil {
		return err
	}
	c := child{wanted: wanted}
	if found {
		c.is = is
	}
	s.children = append(s.children, c)
	return nil
}

// observeBudget reads the disruption budget. For as long as a cluster has none, one that the watches do not show is looked for only while the cluster's
// objects are made, which somebody else's of that name keeps from happening, and by findBudget.
func (r *Reconciler) observeBudget(ctx context.Context, reader client.Reader, s *snapshot) error {
	is := &policyv1.PodDisruptionBudget{}
	err := reader.Get(ctx, budgetKey(s), is)
	if apierrors.IsNotFound(err) && s.statefulSet == nil && s.depth != live {
		err = r.Live.Get(ctx, budgetKey(s), is)
	}
	return s.takeBudget(is, err)
}

func budgetKey(s *snapshot) client.ObjectKey {
	return client.ObjectKey{Namespace: s.cluster.Namespace, Name: resources.PodDisruptionBudgetName(s.cluster.Name)}
}

// takeBudget takes what a read gave.
func (s *snapshot) takeBudget(is *policyv1.PodDisruptionBudget, err error) error {
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if s.foreignChild("PodDisruptionBudget", is) {
		return nil
	}
	s.budget = is
	return nil
}

// findBudget looks for a disruption budget that is about to be made, and plans again if there is one of somebody else's.
func (r *Reconciler) findBudget(ctx context.Context, s *snapshot, d plan.Decision) (plan.Decision, error) {
	if wantedBudget(s, &d) == nil || s.budget != nil || s.depth == live || s.blocked() {
		return d, nil
	}
	is := &policyv1.PodDisruptionBudget{}
	if err := s.takeBudget(is, r.Live.Get(ctx, budgetKey(s), is)); err != nil || !s.blocked() {
		return d, err
	}
	return plan.Plan(&s.observation), nil
}

// wantedBudget follows the number of voters; nil while no leader tells it, and for a cluster that needs none.
func wantedBudget(s *snapshot, d *plan.Decision) *policyv1.PodDisruptionBudget {
	if d.View == nil || !d.View.Settled() {
		return nil
	}
	return resources.PodDisruptionBudget(s.cluster, d.View.Voters())
}

// kindStatefulSet is the one child that risky steps hang on.
const kindStatefulSet = "StatefulSet"

// readChild reads one child that belongs to the cluster: live before a risky step if that hangs on it, else as the watches have it. These show labelled
// objects only, so an object that they do not show is looked for once more before it counts as absent.
func (r *Reconciler) readChild(ctx context.Context, c *v1.RaftCluster, name, kind string, into client.Object, s *snapshot) (bool, error) {
	key := client.ObjectKey{Namespace: c.Namespace, Name: name}
	reader, watched := client.Reader(r.Client), s.depth != live || kind != kindStatefulSet
	if !watched {
		reader = r.Live
	}
	err := reader.Get(ctx, key, into)
	if watched && apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, key, into)
	}
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	return !s.foreignChild(kind, into), nil
}

// foreignChild tells that the object is not the cluster's, and notes what it is.
func (s *snapshot) foreignChild(kind string, o client.Object) bool {
	foreign := foreignTo(s.cluster, kind, o)
	owner := metav1.GetControllerOf(o)
	switch {
	case foreign == "":
		return false
	case owner != nil && ofEarlier(s.cluster, *owner):
		// This one has another UID, so that it is no more: the garbage collector comes for what it owned.
		s.observation.Earlier = append(s.observation.Earlier, fmt.Sprintf("%s %s goes with an earlier RaftCluster of this name", kind, o.GetName()))
	default:
		s.observation.Foreign = append(s.observation.Foreign, foreign)
	}
	return true
}

// ofEarlier tells that an owner is a RaftCluster that had the cluster's name before it.
func ofEarlier(c *v1.RaftCluster, owner metav1.OwnerReference) bool {
	of, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && of.Group == v1.GroupVersion.Group && owner.Kind == v1.RaftClusterKind && owner.Name == c.Name && owner.UID != c.UID
}

// blocked tells that objects are in the way which are not the cluster's: none of its own are made or changed.
func (s *snapshot) blocked() bool { return len(s.observation.Foreign)+len(s.observation.Earlier) > 0 }

// foreignTo says why the object is not the cluster's; empty if it is. An object without an owner is the cluster's only if
// it carries all of its labels, as one does whose RaftCluster was deleted without its dependents.
func foreignTo(c *v1.RaftCluster, kind string, o client.Object) string {
	if metav1.IsControlledBy(o, c) {
		return ""
	}
	if owner := metav1.GetControllerOf(o); owner != nil {
		return fmt.Sprintf("%s %s exists and belongs to %s %s", kind, o.GetName(), owner.Kind, owner.Name)
	}
	if labelled(o, resources.Labels(c.Name)) {
		return ""
	}
	return fmt.Sprintf("%s %s exists and does not belong to this RaftCluster", kind, o.GetName())
}

// observeWorkload adds the StatefulSet as it is wanted, and tells the plan about the one that exists.
func (r *Reconciler) observeWorkload(s *snapshot) error {
	size := s.cluster.Spec.Storage.Size
	replicas := replicasAnew(s)
	if s.statefulSet != nil {
		if t := s.statefulSet.Spec.VolumeClaimTemplates; len(t) > 0 {
			size = t[0].Spec.Resources.Requests[corev1.ResourceStorage]
		}
		if n := s.statefulSet.Spec.Replicas; n != nil {
			replicas = *n
		}
	}
	wanted := resources.StatefulSet(s.cluster, resources.StatefulSetOptions{
		Image: s.image, Replicas: replicas, ClaimSize: size, ScalesIn: scalesIn(s, replicas),
	})
	if s.statefulSet == nil {
		s.workload = child{wanted: wanted}
		return nil
	}
	if s.statefulSet.DeletionTimestamp != nil {
		// It is made anew once it is gone; its pods run meanwhile, if they were left.
		s.workload = child{wanted: wanted, is: s.statefulSet}
		return nil
	}
	// The StatefulSet may have been scaled after it was read: the precondition keeps this from undoing that.
	wanted.ResourceVersion = s.statefulSet.ResourceVersion
	s.workload = child{wanted: wanted, is: s.statefulSet, made: r.made.get(wanted)}
	_, stale, err := s.workload.outdated()
	if err != nil {
		return err
	}
	w := &plan.Workload{Replicas: int(replicas), Stale: stale, SmallClaims: size.Cmp(s.cluster.Spec.Storage.Size) < 0}
	if w.Failed, err = failedRevision(s.statefulSet, wanted); err != nil {
		return err
	}
	if s.statefulSet.Status.ObservedGeneration >= s.statefulSet.Generation {
		if !stale {
			w.Revision = s.statefulSet.Status.UpdateRevision
		}
		retention := s.statefulSet.Spec.PersistentVolumeClaimRetentionPolicy
		w.KeepsClaims = retention == nil || retention.WhenScaled == appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	s.observation.Workload = w
	return nil
}

// replicasAnew is the number of pods of a StatefulSet that is made: what the spec asks for, and never so few that a pod which exists, or a member that is known, would be
// scaled away by it. A cluster that hibernates keeps the pods that were left to it and are not ending: the plan stops them, in the order of rest, if it may.
func replicasAnew(s *snapshot) int32 {
	o := &s.observation
	if o.Asleep > 0 && o.Hibernate {
		left := 0
		for i := range s.pods {
			if p := &s.pods[i]; p.DeletionTimestamp == nil {
				left = max(left, podOrdinal(s, p)+1)
			}
		}
		return int32(left)
	}
	n := int(desiredReplicas(s.cluster))
	for i := range s.pods {
		n = max(n, podOrdinal(s, &s.pods[i])+1)
	}
	for _, m := range s.cluster.Status.Members {
		// A status that somebody wrote must not ask for hundreds of pods.
		if ordinal, ours := resources.Ordinal(s.cluster.Name, m.Name); ours && ordinal < raft.MaxMembers {
			n = max(n, ordinal+1)
		}
	}
	return int32(max(n, o.Asleep))
}

// outdated tells whether the child has to be applied, and gives what to apply: the fields of the wanted object, nothing more.
func (c child) outdated() (*unstructured.Unstructured, bool, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c.wanted)
	if err != nil {
		return nil, false, fmt.Errorf("convert %s: %w", c.wanted.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: content}
	delete(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "metadata", "resourceVersion")
	unstructured.RemoveNestedField(content, "spec", "template", "metadata", "creationTimestamp")
	pruneClaimTemplates(content)
	text, err := json.Marshal(content)
	if err != nil {
		return nil, false, fmt.Errorf("encode %s: %w", c.wanted.GetName(), err)
	}
	sum := sha256.Sum256(text)
	digest := hex.EncodeToString(sum[:8])
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appliedAnnotation] = digest
	u.SetAnnotations(annotations)
	if c.is == nil {
		return u, true, nil
	}
	have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c.is)
	if err != nil {
		return nil, false, fmt.Errorf("convert %s: %w", c.is.GetName(), err)
	}
	differs, err := differences(have, content)
	if err != nil {
		return nil, false, err
	}
	same := c.is.GetAnnotations()[appliedAnnotation] == digest && (len(differs) == 0 || c.made.tolerates(digest, differs))
	u.SetResourceVersion(c.wanted.GetResourceVersion())
	return u, !same, nil
}

// pruneClaimTemplates takes out what only a claim, and no template, has.
func pruneClaimTemplates(content map[string]any) {
	templates, _, _ := unstructured.NestedSlice(content, "spec", "volumeClaimTemplates")
	for _, t := range templates {
		if m, ok := t.(map[string]any); ok {
			delete(m, "status")
			unstructured.RemoveNestedField(m, "metadata", "creationTimestamp")
		}
	}
	if len(templates) > 0 {
		_ = unstructured.SetNestedSlice(content, templates, "spec", "volumeClaimTemplates")
	}
}

// applyChildren brings the children to what is wanted. Every apply can be repeated.
func (r *Reconciler) applyChildren(ctx context.Context, s *snapshot, d *plan.Decision) error {
	if s.blocked() {
		return nil
	}
	if s.noToken {
		if err := r.createToken(ctx, s); err != nil {
			return err
		}
	}
	if err := r.relabel(ctx, s); err != nil {
		return err
	}
	for _, c := range s.children {
		if err := s.refusal(r.applyChild(ctx, s, c)); err != nil {
			return err
		}
	}
	if err := r.holdTemplate(ctx, s, d); err != nil {
		return err
	}
	if s.statefulSet == nil || (!d.Hold && s.statefulSet.DeletionTimestamp == nil) {
		err := r.applyChild(ctx, s, s.workload)
		s.applied = err == nil
		if err := s.refusal(err); err != nil {
			return err
		}
	}
	if d.Hold && s.statefulSet != nil {
		if err := r.keepPolicy(ctx, s); err != nil {
			return err
		}
	}
	if err := r.askForPods(ctx, s); err != nil {
		return err
	}
	if err := errors.Join(r.ownClaims(ctx, s), r.markForeign(ctx, s)); err != nil {
		return err
	}
	if s.policy != nil {
		if err := r.Client.Delete(ctx, s.policy, client.Preconditions{UID: &s.policy.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete the NetworkPolicy: %w", err)
		}
	}
	return r.applyBudget(ctx, s, d)
}

func (r *Reconciler) applyChild(ctx context.Context, s *snapshot, c child) error {
	c.made = r.made.get(c.wanted)
	u, outdated, err := c.outdated()
	if err != nil || !outdated {
		return err
	}
	if c.is != nil && !metav1.IsControlledBy(c.is, s.cluster) {
		if err := r.mayOwn(ctx, s); err != nil {
			return err
		}
	}
	before, err := c.differsNow(u)
	if err != nil {
		return err
	}
	if c.edited(u) {
		if err := r.takeOver(ctx, c.is, before); err != nil {
			return err
		}
	}
	is := u.DeepCopy()
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(is), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	after, err := c.differs(is, u)
	if err != nil {
		return err
	}
	r.childEvent(s.cluster, c, u, mended(before, after))
	if r.made.learn(c.wanted, madeAs{applied: u.GetAnnotations()[appliedAnnotation], as: after}) {
		r.madeEvent(s.cluster, is, after)
	}
	return nil
}

// applyBudget follows the number of voters; while no leader tells it, the budget stays as it is.
func (r *Reconciler) applyBudget(ctx context.Context, s *snapshot, d *plan.Decision) error {
	if d.View == nil || !d.View.Settled() {
		return nil
	}
	wanted := wantedBudget(s, d)
	switch {
	case wanted != nil && s.budget != nil:
		return r.applyChild(ctx, s, child{wanted: wanted, is: s.budget})
	case wanted != nil:
		voters := slices.DeleteFunc(slices.Clone(s.cluster.Status.Members), func(m v1.MemberStatus) bool { return m.Role == resources.RoleLearner })
		return r.applyChild(ctx, s, child{wanted: wanted, first: len(voters) < 2})
	case s.budget != nil:
		err := r.Client.Delete(ctx, s.budget, client.Preconditions{UID: &s.budget.UID})
		return client.IgnoreNotFound(err)
	}
	return nil
}
