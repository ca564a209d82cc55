package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Who comes first when many clusters wait for their turn. What the nodes say may be a change of leaders, which clients wait for. A cluster in the middle of
// its steps is finished before the next is begun, so that of a thousand that are created at once the first are ready when the last are made, and none
// stands still in the middle of an update since others came along. All else is in order of its coming; what has not changed since the operator began comes
// last, by controller-runtime's own priority.
const (
	priorityNews     = 2
	priorityUnderWay = 1
	priorityOther    = 0
)

// priority is that of a cluster's next turn, after this one.
func priority(result outcome) *int {
	if result == done {
		return new(priorityUnderWay)
	}
	return new(priorityOther)
}

// waker brings clusters whose nodes have news into the work queue, once there is one. The queue holds each of them once, so that it has no other bound, and
// no news are lost: at a cluster at rest nobody else would ever look.
type waker struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// attach is a source's start: from now on the queue gets the clusters.
func (w *waker) attach(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = queue
	return nil
}

// wake does not block. Before there is a queue it does nothing: nodes are followed by reconciles only.
func (w *waker) wake(cluster types.NamespacedName) {
	w.mu.Lock()
	queue := w.queue
	w.mu.Unlock()
	r := reconcile.Request{NamespacedName: cluster}
	switch q := queue.(type) {
	case nil:
	case priorityqueue.PriorityQueue[reconcile.Request]:
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(priorityNews)}, r)
	default:
		q.Add(r)
	}
}
