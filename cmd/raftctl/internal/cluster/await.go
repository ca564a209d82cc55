package cluster

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// pollInterval is how often a cluster is read that is waited for.
const pollInterval = 500 * time.Millisecond

// Await reads the cluster until the condition speaks of this generation of the spec and is True. tell hears what the operator waits for, each
// time that it says something else. It ends with the context's error, or at once when the operator says that a person must decide.
func (k *Kubernetes) Await(ctx context.Context, name, condition string, generation int64, tell func(string)) error {
	last := ""
	for {
		c, err := k.Get(ctx, name)
		if err == nil {
			done, waits, err := settled(c, condition, generation)
			if done || err != nil {
				return err
			}
			if waits != last {
				tell(waits)
				last = waits
			}
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("%s: %s", name, last)
			}
			return fmt.Errorf("the time is over, and the operator goes on by itself (follow it with: %s status %s -n %s): %w (%w)", k.program, name, k.Namespace, err, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// settled decides whether the cluster is where it was to be, and says what it waits for if not.
func settled(c *v1.RaftCluster, condition string, generation int64) (done bool, waits string, err error) {
	if c.Status.ObservedGeneration < generation {
		return false, "the operator has yet to see the change", nil
	}
	if s := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionStalled); s != nil && s.Status == metav1.ConditionTrue && s.ObservedGeneration >= generation {
		return false, "", fmt.Errorf("the operator cannot go on without a person: %s (%s)", s.Message, s.Reason)
	}
	if is := meta.FindStatusCondition(c.Status.Conditions, condition); is != nil && is.Status == metav1.ConditionTrue && is.ObservedGeneration >= generation {
		return true, "", nil
	}
	if r := meta.FindStatusCondition(c.Status.Conditions, v1.ConditionReconciling); r != nil && r.Status == metav1.ConditionTrue {
		return false, r.Reason + ": " + r.Message, nil
	}
	return false, "the operator has yet to say what it does", nil
}
