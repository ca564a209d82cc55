package controllers

import (
	"context"
	"encoding"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/raft"
)

// unreadable is that the status of a RaftCluster has something on record that the operator never writes. Who the cluster is hangs on it, so nothing is done
// before a person has put it right.
type unreadable struct {
	cluster *v1.RaftCluster
	why     error
}

func (u *unreadable) Error() string { return u.why.Error() }

// tellUnreadable says so in the conditions, and leaves all else of the status as it is.
func (r *Reconciler) tellUnreadable(ctx context.Context, u *unreadable) (reconcile.Result, error) {
	s, before := &snapshot{cluster: u.cluster}, u.cluster.Status.DeepCopy()
	d := &plan.Decision{Stalled: &plan.Reason{Reason: plan.ReasonInvalidStatus,
		Message: oneLine(u.Error()) + "; the operator did not write that: put it back (kubectl edit --subresource=status)"}}
	for _, c := range []metav1.Condition{ready(s, d, before, true), reconciling(s, d), stalled(s, d)} {
		c.ObservedGeneration = u.cluster.Generation
		meta.SetStatusCondition(&u.cluster.Status.Conditions, c)
	}
	if equality.Semantic.DeepEqual(before, &u.cluster.Status) {
		measure(u.cluster, before, &u.cluster.Status) // another operator may have said so
		return reconcile.Result{RequeueAfter: whileStalled}, nil
	}
	switch err := r.writeStatus(ctx, u.cluster, before); {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: afterStep}, nil
	case err != nil:
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: whileStalled}, nil
}

// recordedIdentity reads what the status has on record of the cluster's identity.
func recordedIdentity(c *v1.RaftCluster, o *plan.Observation) error {
	if err := o.ClusterID.UnmarshalText([]byte(c.Status.ClusterID)); err != nil {
		return fmt.Errorf("status.clusterID: %w", err)
	}
	b := c.Status.Bootstrap
	if b == nil {
		return nil
	}
	o.Bootstrap = &plan.Bootstrap{Pod: b.Pod}
	if err := o.Bootstrap.ClusterID.UnmarshalText([]byte(b.ClusterID)); err != nil {
		return fmt.Errorf("status.bootstrap.clusterID: %w", err)
	}
	if err := o.Bootstrap.Incarnation.UnmarshalText([]byte(b.Incarnation)); err != nil {
		return fmt.Errorf("status.bootstrap.incarnation: %w", err)
	}
	return nil
}

// recordedRecovery reads what the spec allows for a lost quorum, and what the status has on record of that and of a hibernation.
func recordedRecovery(c *v1.RaftCluster, o *plan.Observation) error {
	if h := c.Status.Hibernation; h != nil {
		if o.Asleep = int(h.Pods); o.Asleep < 0 || o.Asleep > raft.MaxMembers {
			return fmt.Errorf("status.hibernation.pods is %d, and a cluster has at most %d", o.Asleep, raft.MaxMembers)
		}
	}
	if s := c.Spec.Recovery; s != nil && s.AcknowledgeDataLoss {
		o.Rebuild = &plan.Rebuild{StartEmpty: s.StartEmpty}
		if err := o.Rebuild.ClusterID.UnmarshalText([]byte(s.ClusterID)); err != nil {
			return fmt.Errorf("spec.recovery.clusterID: %w", err)
		}
	}
	r := c.Status.Recovery
	if r == nil {
		return nil
	}
	o.Recovery = &plan.Recovery{Pod: r.Pod, Empty: r.Empty}
	for name, x := range map[string]struct {
		into encoding.TextUnmarshaler
		text string
	}{
		"from": {&o.Recovery.From, r.From}, "clusterID": {&o.Recovery.ClusterID, r.ClusterID}, "incarnation": {&o.Recovery.Incarnation, r.Incarnation},
	} {
		if err := x.into.UnmarshalText([]byte(x.text)); err != nil {
			return fmt.Errorf("status.recovery.%s: %w", name, err)
		}
	}
	return nil
}
