package controllers

import (
	"encoding"
	"fmt"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/raft"
)

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
			return fmt.Errorf("status.hibernation.pods is %d, and a cluster has at most %d: somebody wrote that; put it right", o.Asleep, raft.MaxMembers)
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
