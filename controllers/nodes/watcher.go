package nodes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/raftkv/raftkv/server/admin"
)

const (
	// waitTimeout bounds one call of WaitStatus; a node that has nothing new answers shortly before.
	waitTimeout = 30 * time.Second
	// readTimeout bounds a live read, so that a node that hangs does not hold up a reconcile for long.
	readTimeout = 2 * time.Second
	// minRetry and maxRetry bound the pause after a failed call.
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second
)

// ErrNotFollowed is the answer for a pod whose node cannot be asked: it has no address yet, or is not of the cluster.
var ErrNotFollowed = errors.New("the pod has no address yet")

// Target is a pod whose node is to be followed.
type Target struct {
	UID types.UID
	// Name is the pod's and, if the answer is to count, the node's.
	Name string
	// Address is the host:port of the node's peer listener.
	Address string
	// Token is the admin token of the cluster.
	Token string
}

// Answer is what a node said last, or why it did not.
type Answer struct {
	Status *admin.Status
	Err    error
}

// Watcher follows nodes. It is safe for concurrent use.
type Watcher struct {
	dial   Dial
	notify func(cluster types.NamespacedName)

	mu       sync.Mutex
	closed   bool
	clusters map[types.NamespacedName]map[types.UID]*follower
	running  sync.WaitGroup
}

// NewWatcher makes a Watcher that calls notify, which must not block, after each change of a node's status.
func NewWatcher(dial Dial, notify func(cluster types.NamespacedName)) *Watcher {
	return &Watcher{dial: dial, notify: notify, clusters: map[types.NamespacedName]map[types.UID]*follower{}}
}

// Start ends all following once the context ends. It makes the Watcher a part of the manager.
func (w *Watcher) Start(ctx context.Context) error {
	<-ctx.Done()
	w.mu.Lock()
	w.closed = true
	for cluster := range w.clusters {
		w.followLocked(cluster, nil)
	}
	w.mu.Unlock()
	w.running.Wait()
	return nil
}

// Follow makes these pods the followed ones of the cluster; none forgets it.
func (w *Watcher) Follow(cluster types.NamespacedName, targets []Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.followLocked(cluster, targets)
}

func (w *Watcher) followLocked(cluster types.NamespacedName, targets []Target) {
	old := w.clusters[cluster]
	next := make(map[types.UID]*follower, len(targets))
	for _, t := range targets {
		if f := old[t.UID]; f != nil && f.target == t {
			next[t.UID] = f
			delete(old, t.UID)
			continue
		}
		next[t.UID] = w.startFollower(cluster, t)
	}
	for _, f := range old {
		f.cancel()
	}
	if len(next) == 0 {
		delete(w.clusters, cluster)
		return
	}
	w.clusters[cluster] = next
}

func (w *Watcher) startFollower(cluster types.NamespacedName, t Target) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{target: t, cancel: cancel, notify: func() { w.notify(cluster) }, asked: make(chan struct{}),
		answer: Answer{Err: errors.New("the node has not answered yet")}}
	service, closeConn, err := w.dial(t.Address, t.Token)
	if err != nil {
		f.answer = Answer{Err: err}
		close(f.asked)
		return f
	}
	f.service = &service
	w.running.Add(1)
	go func() {
		defer w.running.Done()
		defer closeConn()
		f.run(ctx)
	}()
	return f
}

func (w *Watcher) follower(cluster types.NamespacedName, pod types.UID) *follower {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clusters[cluster][pod]
}

// Last is what the pod's node said last.
func (w *Watcher) Last(cluster types.NamespacedName, pod types.UID) Answer {
	f := w.follower(cluster, pod)
	if f == nil {
		return Answer{Err: ErrNotFollowed}
	}
	return f.last()
}

// Read asks all followed nodes of the cluster anew, at the same time. A node that did not answer its last call is not
// asked: it is asked again and again by its follower, whose success wakes the reconcile loop.
func (w *Watcher) Read(ctx context.Context, cluster types.NamespacedName) map[types.UID]Answer {
	w.mu.Lock()
	followers := make(map[types.UID]*follower, len(w.clusters[cluster]))
	for uid, f := range w.clusters[cluster] {
		followers[uid] = f
	}
	w.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out := make(map[types.UID]Answer, len(followers))
	var mu sync.Mutex
	var reads sync.WaitGroup
	for uid, f := range followers {
		reads.Go(func() {
			a := f.read(ctx)
			mu.Lock()
			defer mu.Unlock()
			out[uid] = a
		})
	}
	reads.Wait()
	return out
}

// Service is the admin service of the pod's node.
func (w *Watcher) Service(cluster types.NamespacedName, pod types.UID) (*admin.Service, error) {
	f := w.follower(cluster, pod)
	if f == nil || f.service == nil {
		return nil, ErrNotFollowed
	}
	return f.service, nil
}

// follower is the stream of one pod's node.
type follower struct {
	target  Target
	service *admin.Service
	cancel  context.CancelFunc
	notify  func()
	// asked is closed when the first call has ended, well or not.
	asked chan struct{}

	mu     sync.Mutex
	answer Answer
}

func (f *follower) last() Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answer
}

// read waits for the first call if that is still under way: an operator that has just started must not take nodes that it
// never asked for silent ones.
func (f *follower) read(ctx context.Context) Answer {
	select {
	case <-f.asked:
	case <-ctx.Done():
	}
	if a := f.last(); a.Err != nil {
		return a
	}
	s, err := f.service.Status(ctx, &admin.StatusRequest{})
	return f.check(s, err)
}

// check keeps the answer of another pod, which got the address meanwhile, from counting.
func (f *follower) check(s *admin.Status, err error) Answer {
	switch {
	case err != nil:
		return Answer{Err: err}
	case s.Name != f.target.Name:
		return Answer{Err: fmt.Errorf("the node at %s is %q and not %q", f.target.Address, s.Name, f.target.Name)}
	}
	return Answer{Status: s}
}

func (f *follower) run(ctx context.Context) {
	var generation uint64
	pause := minRetry
	for first := true; ; first = false {
		s, err := f.wait(ctx, generation)
		if ctx.Err() != nil {
			return
		}
		next := f.check(s, err)
		f.mu.Lock()
		before := f.answer
		f.answer = next
		f.mu.Unlock()
		if first {
			close(f.asked)
		}

		if next.Err != nil {
			generation = 0
			if before.Err == nil {
				f.notify()
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, maxRetry)
			continue
		}
		pause = minRetry
		if before.Err != nil || s.Generation != generation {
			f.notify()
		}
		generation = s.Generation
	}
}

// wait is one round of the stream. An answer that missed the deadline says nothing about the node, so it is asked once more.
func (f *follower) wait(ctx context.Context, generation uint64) (*admin.Status, error) {
	callCtx, cancel := context.WithTimeout(ctx, waitTimeout)
	s, err := f.service.WaitStatus(callCtx, &admin.WaitStatusRequest{Generation: generation})
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) {
		return s, err
	}
	callCtx, cancel = context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return f.service.Status(callCtx, &admin.StatusRequest{})
}
