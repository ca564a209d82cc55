package controllers

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func cluster(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: "ns", Name: fmt.Sprintf("c-%d", i)}
}

// When the operator is cut off, and when it is back, all nodes have news in one moment. A cluster whose news are lost is looked at by nobody.
func TestNewsOfManyNodesAreNotLostAndComeFirst(t *testing.T) {
	const clusters = 10_000
	queue := priorityqueue.New[reconcile.Request]("news")
	defer queue.ShutDown()
	var w waker
	w.wake(cluster(0)) // nobody listens yet
	if err := w.attach(context.Background(), queue); err != nil {
		t.Fatal(err)
	}
	queue.Add(reconcile.Request{NamespacedName: cluster(clusters)})
	queue.AddWithOpts(priorityqueue.AddOpts{Priority: priority(done)}, reconcile.Request{NamespacedName: cluster(clusters + 1)})
	var nodes sync.WaitGroup
	for i := range clusters {
		nodes.Go(func() {
			for range 3 {
				w.wake(cluster(i))
			}
		})
	}
	nodes.Wait()
	for deadline := time.Now().Add(convergeWithin); queue.Len() != clusters+2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d clusters wait, want %d", queue.Len(), clusters+2)
		}
	}
	for i := range clusters + 2 {
		r, of, _ := queue.GetWithPriority()
		want := priorityNews
		switch i {
		case clusters:
			want = priorityUnderWay
		case clusters + 1:
			want = priorityOther
		}
		if of != want {
			t.Fatalf("%v has its turn after %d others, with priority %d, want %d", r, i, of, want)
		}
		queue.Done(r)
	}
}

// However long the API server refuses the operator, once it does no more the clusters are looked at soon.
func TestPausesAfterFailuresAreBounded(t *testing.T) {
	o := options()
	r := reconcile.Request{NamespacedName: cluster(0)}
	if first := o.RateLimiter.When(r); first != minRetry {
		t.Errorf("the first pause is %v, want %v", first, minRetry)
	}
	for range 100 {
		o.RateLimiter.When(r)
	}
	if last := o.RateLimiter.When(r); last != maxRetry {
		t.Errorf("after many failures the pause is %v, want %v", last, maxRetry)
	}
	if o.ReconciliationTimeout != reconcileTimeout {
		t.Errorf("a reconcile may take %v, want %v", o.ReconciliationTimeout, reconcileTimeout)
	}
}
