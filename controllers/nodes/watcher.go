package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/raftkv/raftkv/server/admin"
)

const (
	// waitTimeout bounds one call of WaitStatus; a node that has nothing new answers shortly before. That it is there at all the connection's pings tell.
	waitTimeout = 4 * time.Minute
	// minRound is the least time from one call of the stream to the next, so that a node which has news without end keeps nobody else from being heard.
	minRound = 20 * time.Millisecond
	// readTimeout bounds a live read, so that a node that hangs does not hold up a reconcile for long.
	readTimeout = 2 * time.Second
	// minPatience is how long nodes have at least to answer a read that ends with news, so that those which answer at once are not quoted with what they said before.
	minPatience = 50 * time.Millisecond
	// minRetry and maxRetry bound the pause after a failed call.
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second
	// maxRenewal bounds the pause between two trials of a new token: a kubelet may take more than a minute to bring it to its pods.
	maxRenewal = 10 * time.Second
)

// ErrNotFollowed is the answer for a pod whose node cannot be asked: it has no address yet, or is not of the cluster.
var ErrNotFollowed = errors.New("the pod has no address yet")

// ErrNotAsked is the answer of a node to which no call has ended yet, which says nothing about it.
var ErrNotAsked = errors.New("the node has not answered yet")

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
	clusters map[types.NamespacedName]*followed
	running  sync.WaitGroup
}

// followed is a cluster whose nodes are followed.
type followed struct {
	followers map[types.UID]*follower
	// news is closed, and another one takes its place, when a node says something new.
	news chan struct{}
}

// NewWatcher makes a Watcher that calls notify, which must not block, after each change of a node's status.
func NewWatcher(dial Dial, notify func(cluster types.NamespacedName)) *Watcher {
	return &Watcher{dial: dial, notify: notify, clusters: map[types.NamespacedName]*followed{}}
}

// tell wakes who waits for the cluster. What a node says first ends no read: all are waited for that have just begun to be followed, as when an operator begins.
func (w *Watcher) tell(cluster types.NamespacedName, first bool) {
	if !first {
		w.mu.Lock()
		if c := w.clusters[cluster]; c != nil {
			close(c.news)
			c.news = make(chan struct{})
		}
		w.mu.Unlock()
	}
	w.notify(cluster)
}

// News is closed as soon as a node of the cluster says something new. It is nil for a cluster that is not followed.
func (w *Watcher) News(cluster types.NamespacedName) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clusters[cluster]; c != nil {
		return c.news
	}
	return nil
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
	c := w.clusters[cluster]
	if c == nil {
		c = &followed{news: make(chan struct{})}
	}
	old, next := c.followers, make(map[types.UID]*follower, len(targets))
	for _, t := range targets {
		if f := old[t.UID]; f != nil && f.target.Name == t.Name && f.target.Address == t.Address {
			w.renewLocked(f, t.Token)
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
	c.followers = next
	w.clusters[cluster] = c
}

func (w *Watcher) startFollower(cluster types.NamespacedName, t Target) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{target: t, token: t.Token, ctx: ctx, cancel: cancel, tell: func(first bool) { w.tell(cluster, first) }, asked: make(chan struct{}),
		answer: Answer{Err: ErrNotAsked}}
	line, err := w.connect(t.Address, t.Token)
	if err != nil {
		f.answer = Answer{Err: err}
		close(f.asked)
		return f
	}
	f.line = line
	w.running.Go(func() {
		f.run(ctx)
		f.current().close()
	})
	return f
}

// line is a connection to a node, with the token that it was made with.
type line struct {
	service *admin.Service
	token   string
	close   func()
}

func (w *Watcher) connect(address, token string) (*line, error) {
	service, closeConn, err := w.dial(address, token)
	if err != nil {
		return nil, err
	}
	return &line{service: &service, token: token, close: closeConn}, nil
}

// renewLocked has the follower go over to another token as soon as its node takes that. Until then the old connection serves: the kubelet brings a new token to
// a pod when it next looks at it, and nobody is to be called silent for that long.
func (w *Watcher) renewLocked(f *follower, token string) {
	if f.token == token || f.current() == nil {
		return
	}
	f.token = token
	if f.renewal != nil {
		f.renewal()
	}
	ctx, cancel := context.WithCancel(f.ctx)
	f.renewal = cancel
	w.running.Go(func() {
		defer cancel()
		for pause := minRetry; f.current().token != token; pause = min(2*pause, maxRenewal) {
			if w.tryToken(ctx, f, token) {
				return
			}
			if !rest(ctx, pause) {
				return
			}
		}
	})
}

// tryToken goes over to a connection with that token, if the node takes it.
func (w *Watcher) tryToken(ctx context.Context, f *follower, token string) bool {
	next, err := w.connect(f.target.Address, token)
	if err != nil {
		return false
	}
	callCtx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if _, err := next.service.Status(callCtx, &admin.StatusRequest{}); err != nil || !f.replace(ctx, next) {
		next.close()
		return false
	}
	return true
}

func (w *Watcher) follower(cluster types.NamespacedName, pod types.UID) *follower {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clusters[cluster]; c != nil {
		return c.followers[pod]
	}
	return nil
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
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return read(w.followers(cluster), func(f *follower) Answer { return f.read(ctx) })
}

// ReadUntilNews is Read, but for nodes that have not answered when that News is closed: these answer what they said last. A node that was cut off a moment ago keeps
// nobody from hearing of the others that way, also of what has come since the news were taken, before a look at what they said last. For what must be so at this moment it is not.
func (w *Watcher) ReadUntilNews(ctx context.Context, cluster types.NamespacedName, news <-chan struct{}) map[types.UID]Answer {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	patient, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-news:
			rest(patient, minPatience-time.Since(began))
			stop()
		case <-patient.Done():
		}
	})
	out := read(w.followers(cluster), func(f *follower) Answer {
		a := f.read(patient)
		if a.Err != nil && patient.Err() != nil && ctx.Err() == nil {
			return f.last()
		}
		return a
	})
	stop()
	watching.Wait()
	return out
}

func (w *Watcher) followers(cluster types.NamespacedName) map[types.UID]*follower {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clusters[cluster]; c != nil {
		return maps.Clone(c.followers)
	}
	return nil
}

// read asks all at the same time.
func read(followers map[types.UID]*follower, ask func(*follower) Answer) map[types.UID]Answer {
	out := make(map[types.UID]Answer, len(followers))
	var mu sync.Mutex
	var reads sync.WaitGroup
	for uid, f := range followers {
		reads.Go(func() {
			a := ask(f)
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
	if f == nil || f.current() == nil {
		return nil, ErrNotFollowed
	}
	return f.current().service, nil
}

// follower is the stream of one pod's node.
type follower struct {
	target Target
	ctx    context.Context
	cancel context.CancelFunc
	// tell says that there is something new, or that it is the first thing that is known.
	tell func(first bool)
	// asked is closed when the first call has ended, well or not.
	asked chan struct{}

	// token is the one that the node is to be asked with; renewal ends the trials of one before. The Watcher's mutex guards both.
	token   string
	renewal context.CancelFunc

	mu     sync.Mutex
	answer Answer
	// line is nil if no connection can be made at all.
	line *line
}

func (f *follower) current() *line {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.line
}

// replace goes over to another connection, unless the follower, or this renewal, has ended.
func (f *follower) replace(ctx context.Context, next *line) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	f.line.close()
	f.line = next
	return true
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
	before := f.last()
	if before.Err != nil {
		return before
	}
	for {
		line := f.current()
		s, err := line.service.Status(ctx, &admin.StatusRequest{})
		if err == nil || f.current() == line {
			now := f.check(s, err)
			f.keep(before, now)
			return now
		}
	}
}

// keep takes what a node that was asked says for what it said last, if that differs in nothing that is news: progress, which the stream does not tell of. Who has heard the node since it was
// asked knows as much; and what is news is the stream's to tell of, which wakes who is to hear it.
func (f *follower) keep(before, now Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Err == nil && f.answer == before && now.Status.Generation == before.Status.Generation {
		f.answer = now
	}
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
	for {
		line, began := f.current(), time.Now()
		s, err := wait(ctx, line.service, generation)
		if ctx.Err() != nil {
			return
		}
		if err != nil && f.current() != line {
			continue // it ended since another has taken its place
		}
		next := f.check(s, err)
		f.mu.Lock()
		before := f.answer
		f.answer = next
		f.mu.Unlock()
		first := errors.Is(before.Err, ErrNotAsked)
		if first {
			close(f.asked)
		}

		if next.Err != nil {
			generation = 0
			if before.Err == nil {
				f.tell(first)
			}
			if !rest(ctx, pause) {
				return
			}
			pause = min(2*pause, maxRetry)
			continue
		}
		pause = minRetry
		if before.Err != nil || s.Generation != generation {
			f.tell(first)
		}
		generation = s.Generation
		if !rest(ctx, minRound-time.Since(began)) {
			return
		}
	}
}

// rest waits for that long, if at all; false if the context ends before.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// wait is one round of the stream. An answer that missed the deadline says nothing about the node, so it is asked once more.
func wait(ctx context.Context, service *admin.Service, generation uint64) (*admin.Status, error) {
	callCtx, cancel := context.WithTimeout(ctx, waitTimeout)
	s, err := service.WaitStatus(callCtx, &admin.WaitStatusRequest{Generation: generation})
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) {
		return s, err
	}
	callCtx, cancel = context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return service.Status(callCtx, &admin.StatusRequest{})
}
