package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

// callTimeout bounds a call that changes something at a node. Such calls take milliseconds; one that is cut off is seen to
// have worked, or not, by the next reconcile.
const callTimeout = 5 * time.Second

// outcome is what became of a step.
type outcome int

const (
	// idle: there was nothing to do.
	idle outcome = iota
	// done: the step was taken.
	done
	// deferred: the step cannot be taken just now, for a reason that passes by itself.
	deferred
)

// act takes the decision's step.
func (r *Reconciler) act(ctx context.Context, s *snapshot, d *plan.Decision) (outcome, error) {
	if d.Step == nil {
		return idle, nil
	}
	log := ctrl.LoggerFrom(ctx).WithValues("step", d.Step.String())
	err := r.take(ctx, s, d.Step)
	switch {
	case err == nil:
		log.Info("took a step", "why", message(cmp.Or(d.Waiting, d.Stalled)))
		countStep(s.cluster, d.Step, stepTaken)
		r.stepEvent(s.cluster, d)
		return done, nil
	case passes(err):
		log.V(1).Info("a step has to wait", "reason", err.Error())
		countStep(s.cluster, d.Step, stepDeferred)
		r.tellRefusal(s, d, err)
		return deferred, nil
	}
	countStep(s.cluster, d.Step, stepFailed)
	r.Recorder.Eventf(s.cluster, nil, corev1.EventTypeWarning, "StepFailed", stepName(d.Step), "could not %s: %v; it is tried again", d.Step, err)
	return deferred, fmt.Errorf("%s: %w", d.Step, err)
}

func countStep(c *v1.RaftCluster, step plan.Step, result string) {
	stepsTotal.WithLabelValues(stepName(step), result, c.Namespace, c.Name).Inc()
}

func message(r *plan.Reason) string {
	if r == nil {
		return ""
	}
	return r.Message
}

// passes tells errors that another observation answers from those that people should hear of.
func passes(err error) bool {
	switch rpc.ReasonOf(err) {
	case admin.ReasonNotLeader, admin.ReasonConfigMoved, admin.ReasonChangePending, admin.ReasonNotCaughtUp, admin.ReasonJointVersion,
		admin.ReasonIncarnation, admin.ReasonHasLeader, admin.ReasonOtherCluster:
		return true
	}
	// Too many requests is how the Eviction API says that a disruption budget forbids it now.
	return apierrors.IsTooManyRequests(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err)
}

func (r *Reconciler) take(ctx context.Context, s *snapshot, step plan.Step) error {
	switch t := step.(type) {
	case plan.RecordBootstrap:
		// It is written with the status, by the one who writes it, under the resource version that was planned on.
		s.cluster.Status.Bootstrap = &v1.BootstrapStatus{
			ClusterID: t.Bootstrap.ClusterID.String(), Pod: t.Bootstrap.Pod, Incarnation: t.Bootstrap.Incarnation.String(),
		}
		return nil
	case plan.RecordRecovery:
		x := t.Recovery
		s.cluster.Status.Recovery = &v1.RecoveryStatus{
			From: x.From.String(), ClusterID: x.ClusterID.String(), Pod: x.Pod, Incarnation: x.Incarnation.String(), Empty: x.Empty,
		}
		return nil
	case plan.RecordHibernation:
		s.cluster.Status.Hibernation = &v1.HibernationStatus{Pods: int32(t.Pods)}
		return nil
	case plan.RunRecovery:
		return r.call(ctx, s, t.Recovery.Pod, func(ctx context.Context, n *admin.Service) error { return runRecovery(ctx, n, t) })
	case plan.Abandon:
		return r.call(ctx, s, t.Pod, func(ctx context.Context, n *admin.Service) error {
			_, err := n.Abandon(ctx, &admin.AbandonRequest{ClusterID: t.ClusterID, Incarnation: t.Incarnation})
			return err
		})
	case plan.ReplaceVolume:
		return r.replaceVolume(ctx, s, t)
	case plan.RecreateWorkload:
		return r.recreateWorkload(ctx, s)
	case plan.PutBack:
		return r.putBack(ctx, s, t)
	case plan.RunBootstrap:
		return r.call(ctx, s, t.Bootstrap.Pod, func(ctx context.Context, n *admin.Service) error {
			_, err := n.Bootstrap(ctx, &admin.BootstrapRequest{
				ClusterID: t.Bootstrap.ClusterID, Incarnation: t.Bootstrap.Incarnation, Member: t.Member,
			})
			return err
		})
	case plan.ChangeMembers:
		return r.call(ctx, s, t.Leader, func(ctx context.Context, n *admin.Service) error {
			_, err := n.ChangeMembership(ctx, &admin.ChangeRequest{
				ConfigIndex: t.ConfigIndex, Changes: t.Changes,
			})
			return err
		})
	case plan.Transfer:
		return r.call(ctx, s, t.Leader, func(ctx context.Context, n *admin.Service) error {
			_, err := n.TransferLeadership(ctx, &admin.TransferRequest{To: t.To})
			return err
		})
	case plan.Withdraw:
		return r.withdraw(ctx, s, t)
	case plan.Scale:
		return r.scale(ctx, s, t.To)
	case plan.Restart:
		return r.restart(ctx, s, t)
	case plan.ForceDelete:
		return r.remove(ctx, s, t.Pod, client.GracePeriodSeconds(0), uidPrecondition(t.UID))
	}
	return fmt.Errorf("step %T is unknown", step)
}

// runRecovery has the survivor found the new cluster; where nothing is left, an empty node founds it.
func runRecovery(ctx context.Context, n *admin.Service, t plan.RunRecovery) error {
	x := t.Recovery
	if x.Empty {
		_, err := n.Bootstrap(ctx, &admin.BootstrapRequest{ClusterID: x.ClusterID, Incarnation: x.Incarnation, Member: t.Member})
		return err
	}
	_, err := n.Refound(ctx, &admin.RefoundRequest{ClusterID: x.From, Incarnation: x.Incarnation, NewClusterID: x.ClusterID, Member: t.Member})
	return err
}

// replaceVolume deletes the claim, which stays as long as its pod is there, and then the pod.
func (r *Reconciler) replaceVolume(ctx context.Context, s *snapshot, t plan.ReplaceVolume) error {
	for i := range s.claims {
		c := &s.claims[i]
		if c.Name != t.Claim || string(c.UID) != t.ClaimUID || c.DeletionTimestamp != nil {
			continue
		}
		if err := r.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete claim %s: %w", c.Name, err)
		}
	}
	return r.remove(ctx, s, t.Pod, uidPrecondition(t.UID))
}

// recreateWorkload deletes the StatefulSet as it was seen, and leaves its pods and claims, which the next one takes over by their labels.
func (r *Reconciler) recreateWorkload(ctx context.Context, s *snapshot) error {
	set := s.statefulSet
	return client.IgnoreNotFound(r.Client.Delete(ctx, set, client.PropagationPolicy(metav1.DeletePropagationOrphan),
		client.Preconditions{UID: &set.UID, ResourceVersion: &set.ResourceVersion}))
}

// call asks one node to do something.
func (r *Reconciler) call(ctx context.Context, s *snapshot, pod string, f func(context.Context, *admin.Service) error) error {
	p := s.pod(pod)
	if p == nil {
		return fmt.Errorf("pod %s is gone", pod)
	}
	n, err := r.Nodes.Service(client.ObjectKeyFromObject(s.cluster), p.UID)
	if err != nil {
		return fmt.Errorf("pod %s: %w", pod, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx, n)
}

// scale sets the number of pods, unless the StatefulSet has changed since it was read.
func (r *Reconciler) scale(ctx context.Context, s *snapshot, replicas int) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": s.statefulSet.ResourceVersion},
		"spec":     map[string]any{"replicas": replicas},
	})
	if err != nil {
		return err
	}
	set := s.statefulSet.DeepCopy()
	return r.Client.Patch(ctx, set, client.RawPatch(types.MergePatchType, patch), fieldOwner)
}

func (r *Reconciler) restart(ctx context.Context, s *snapshot, t plan.Restart) error {
	p := s.pod(t.Pod)
	if p == nil || string(p.UID) != t.UID {
		return nil
	}
	if !t.Evict {
		// It is deleted because its container does not run: if that has changed since, its status has, and so its version.
		return r.remove(ctx, s, t.Pod, client.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion})
	}
	return r.Client.SubResource("eviction").Create(ctx, p, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}},
	})
}

func (r *Reconciler) remove(ctx context.Context, s *snapshot, pod string, opts ...client.DeleteOption) error {
	p := s.pod(pod)
	if p == nil {
		return nil
	}
	return client.IgnoreNotFound(r.Client.Delete(ctx, p, opts...))
}

func uidPrecondition(uid string) client.Preconditions {
	u := types.UID(uid)
	return client.Preconditions{UID: &u}
}

// growClaims asks for larger volumes where the spec does. Once all have been asked for, the plan makes the StatefulSet anew, whose claim
// template cannot be changed. What was asked for just now is waited for: the cluster is not as the spec asks before the next look shows that it grew.
func (r *Reconciler) growClaims(ctx context.Context, s *snapshot, d *plan.Decision) (*plan.Reason, error) {
	want := s.cluster.Spec.Storage.Size
	for i := range s.claims {
		c := &s.claims[i]
		have := c.Spec.Resources.Requests[corev1.ResourceStorage]
		if want.Cmp(have) <= 0 || c.Spec.VolumeName == "" || c.DeletionTimestamp != nil || goesWithAnother(s.cluster, c) {
			continue
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{
			"requests": map[string]any{string(corev1.ResourceStorage): want.String()}}}})
		if err != nil {
			return nil, err
		}
		err = r.Client.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, patch), fieldOwner)
		switch {
		case apierrors.IsNotFound(err):
		case err == nil:
			if d.Waiting == nil && d.Stalled == nil && !d.Hibernated {
				d.Waiting = &plan.Reason{Reason: plan.ReasonGrowing, Message: fmt.Sprintf("claim %s is asked to grow from %s to %s", c.Name, have.String(), want.String())}
			}
		case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
			return &plan.Reason{Reason: plan.ReasonStorageNotExpandable, Message: fmt.Sprintf(
				"claim %s cannot grow from %s to %s: %v; let its storage class expand volumes (allowVolumeExpansion: true) if its driver can; else %s",
				c.Name, have.String(), want.String(), err, oldSize(s.cluster))}, nil
		default:
			return nil, fmt.Errorf("grow claim %s: %w", c.Name, err)
		}
	}
	return nil, nil
}

// oldSize is how a size is asked for that is smaller, which a RaftCluster takes only when it is made. To make it anew must not cost the data.
func oldSize(c *v1.RaftCluster) string {
	const anew = "delete this RaftCluster, which keeps the claims, and apply it again with the old size"
	if c.Spec.Storage.RetentionPolicy.WhenDeleted == v1.DeleteVolumes {
		return "set storage.retentionPolicy.whenDeleted to Retain, wait until no claim has an owner any more, only then " + anew
	}
	return anew
}

// stepName is the step's name in metrics.
func stepName(step plan.Step) string {
	switch t := step.(type) {
	case plan.RecordBootstrap:
		return "record-bootstrap"
	case plan.RunBootstrap:
		return "bootstrap"
	case plan.ChangeMembers:
		return t.Kind()
	case plan.Withdraw:
		return "withdraw"
	case plan.Transfer:
		return "transfer-leadership"
	case plan.Scale:
		return "scale"
	case plan.Restart:
		return "restart"
	case plan.ForceDelete:
		return "force-delete"
	case plan.RecordRecovery:
		return "record-recovery"
	case plan.RunRecovery:
		return "recover"
	case plan.Abandon:
		return "abandon"
	case plan.RecordHibernation:
		return "record-hibernation"
	case plan.ReplaceVolume:
		return "replace-volume"
	case plan.RecreateWorkload:
		return "recreate-statefulset"
	case plan.PutBack:
		return "put-template-back"
	}
	return "unknown"
}

// stepEvent tells the user of a step. What RecordBootstrap begins, RunBootstrap ends and tells.
func (r *Reconciler) stepEvent(c *v1.RaftCluster, d *plan.Decision) {
	reason := ""
	switch t := d.Step.(type) {
	case plan.RunBootstrap:
		reason = "Bootstrapped"
	case plan.ChangeMembers:
		reason = map[string]string{
			raft.ChangeAddLearner.String(): "LearnerAdded", raft.ChangePromote.String(): "MemberPromoted",
			raft.ChangeRemove.String(): "MemberRemoved", "replace": "MemberReplaced",
		}[t.Kind()]
	case plan.Withdraw:
		reason = "PodWithdrawn"
	case plan.Transfer:
		reason = "LeadershipTransferred"
	case plan.Scale:
		reason = "Scaled"
	case plan.Restart:
		reason = "PodRestarted"
	case plan.ForceDelete:
		reason = "PodForcedOut"
	case plan.RunRecovery:
		reason = "RecoveryBegun"
	case plan.Abandon:
		reason = "DirectorySetAside"
	case plan.ReplaceVolume:
		reason = "VolumeReplaced"
	case plan.RecreateWorkload:
		reason = "StatefulSetRecreated"
	case plan.PutBack:
		reason = "TemplatePutBack"
	}
	if reason != "" {
		r.Recorder.Eventf(c, nil, corev1.EventTypeNormal, reason, stepName(d.Step), "%s: %s", d.Step, message(cmp.Or(d.Waiting, d.Stalled)))
	}
}
