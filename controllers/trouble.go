package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/raftkv/raftkv/controllers/resources"
)

const (
	// maxTroubleBytes bounds what of a message of Kubernetes goes into a condition.
	maxTroubleBytes = 300
	// troubleAfter is how old a pod, or a StatefulSet without its pods, is before events are read of what keeps it: volumes take seconds to be made.
	troubleAfter = 10 * time.Second
	// maxTroubleEvents bounds the events that are read of one object.
	maxTroubleEvents = 200
	// To find an object's events the API server goes through all of its namespace. So those of one object are read once in eventsFresh, those of all objects
	// together eventReadsPerSecond times, with a burst of maxEventReads; and so many are remembered.
	eventsFresh         = time.Minute
	eventReadsPerSecond = 4
	maxEventReads       = 20
	maxEventsRemembered = 1000
)

// eventReads remembers what the events about objects said when they were read last.
type eventReads struct {
	mu    sync.Mutex
	of    map[types.UID]eventRead
	limit *rate.Limiter
}

type eventRead struct {
	at   time.Time
	list []corev1.Event
}

func newEventReads() *eventReads {
	return &eventReads{of: map[types.UID]eventRead{}, limit: rate.NewLimiter(eventReadsPerSecond, maxEventReads)}
}

// last is what was read last, and whether that is to do for now: it is fresh, or too much is being read.
func (r *eventReads) last(of types.UID, now time.Time) ([]corev1.Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.of[of]
	return known.list, ok && now.Sub(known.at) < eventsFresh || !r.limit.Allow()
}

// remember keeps of the events what trouble is made of.
func (r *eventReads) remember(of types.UID, now time.Time, list []corev1.Event) {
	kept := make([]corev1.Event, 0, len(list))
	for i := range list {
		if e := &list[i]; e.Type == corev1.EventTypeWarning || e.Reason == reasonPodMade {
			kept = append(kept, corev1.Event{Type: e.Type, Reason: e.Reason, Message: shortened(e.Message, 2*maxTroubleBytes), LastTimestamp: metav1.NewTime(eventTime(e))})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.of[of]; !known && len(r.of) >= maxEventsRemembered {
		for any := range r.of {
			delete(r.of, any)
			break
		}
	}
	r.of[of] = eventRead{now, kept}
}

// podTrouble says why the pod's container does not run, in the words of Kubernetes; empty if nothing is wrong or it is too
// early to tell.
func podTrouble(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return trouble("it cannot be scheduled", c.Message)
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		switch w, last := c.State.Waiting, c.LastTerminationState.Terminated; {
		case w == nil || w.Reason == "" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing":
		case w.Reason == "CrashLoopBackOff" && last != nil:
			return fmt.Sprintf("its container ends again and again, last with exit code %d (%s); see kubectl logs --previous %s", last.ExitCode, last.Reason, p.Name)
		default:
			return trouble(w.Reason, w.Message)
		}
	}
	return ""
}

// trouble is a word of what is wrong and what Kubernetes says of it, cut to a bounded length and to one line.
func trouble(what, message string) string {
	message = shortened(oneLine(message), maxTroubleBytes)
	if message == "" {
		return what
	}
	return what + ": " + message
}

// observeTrouble adds what only events tell: why a claim gets no volume, and why the StatefulSet gets no pod made. They are
// read only while something is amiss.
func (r *Reconciler) observeTrouble(ctx context.Context, s *snapshot) error {
	o := &s.observation
	if o.Workload != nil && len(s.pods) < o.Workload.Replicas && r.slow(s.statefulSet) {
		list, err := r.eventsOf(ctx, s.cluster.Namespace, s.statefulSet.UID)
		if err != nil {
			return err
		}
		o.Workload.Trouble = map[string]string{}
		for i := range o.Workload.Replicas {
			if name := resources.PodName(o.Cluster, i); s.pod(name) == nil {
				o.Workload.Trouble[name] = whyMissing(list, name)
			}
		}
	}
	for i := range o.Pods {
		p := &o.Pods[i]
		if p.Running || p.Terminating || !r.slow(s.pod(p.Name)) {
			continue
		}
		for k := range s.claims {
			c := &s.claims[k]
			if ordinal, _ := claimOrdinal(o.Cluster, c.Name); ordinal != p.Ordinal || c.Status.Phase == corev1.ClaimBound {
				continue
			}
			text, err := r.lastWarning(ctx, c.Namespace, c.UID)
			if err != nil {
				return err
			}
			if text != "" {
				p.Trouble = fmt.Sprintf("its claim %s gets no volume: %s", c.Name, text)
			}
		}
	}
	return nil
}

// slow tells that the object is old enough that what it waits for should have come.
func (r *Reconciler) slow(o client.Object) bool {
	return r.now().Sub(o.GetCreationTimestamp().Time) > troubleAfter
}

// lastWarning is the newest warning about an object; empty if there is none, or if the operator may not see events.
func (r *Reconciler) lastWarning(ctx context.Context, namespace string, of types.UID) (string, error) {
	list, err := r.eventsOf(ctx, namespace, of)
	return newestWarning(list), err
}

// eventsOf are the events about an object, as they were a minute ago at most, or when there was last time to read them; none if the operator may not see events.
func (r *Reconciler) eventsOf(ctx context.Context, namespace string, of types.UID) ([]corev1.Event, error) {
	if known, will := r.events.last(of, r.now()); will {
		return known, nil
	}
	var list corev1.EventList
	err := r.Live.List(ctx, &list, client.InNamespace(namespace), client.Limit(maxTroubleEvents),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("involvedObject.uid", string(of))})
	switch {
	case apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("list events: %w", err)
	}
	r.events.remember(of, r.now(), list.Items)
	return list.Items, nil
}

// whyMissing is the newest of a StatefulSet's warnings that names the pod; empty if the pod was made since, because then the warning is about
// an absence that is over.
func whyMissing(list []corev1.Event, pod string) string {
	var made time.Time
	var about []corev1.Event
	for i := range list {
		switch e := &list[i]; {
		case !names(e.Message, pod):
		case e.Type == corev1.EventTypeWarning:
			about = append(about, *e)
		case e.Reason == reasonPodMade && eventTime(e).After(made):
			made = eventTime(e)
		}
	}
	about = slices.DeleteFunc(about, func(e corev1.Event) bool { return eventTime(&e).Before(made) })
	return newestWarning(about)
}

// reasonPodMade is how the StatefulSet controller tells that it made a pod, or a claim for it.
const reasonPodMade = "SuccessfulCreate"

// names tells that the text has the object's name as a word: data-demo-1 does not name demo-1, nor does demo-10.
func names(text, object string) bool {
	return slices.Contains(strings.FieldsFunc(text, func(c rune) bool {
		return c != '-' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	}), object)
}

// newestWarning is what the newest of the warnings says; empty if there is none.
func newestWarning(list []corev1.Event) string {
	var last *corev1.Event
	for i := range list {
		if e := &list[i]; e.Type == corev1.EventTypeWarning && (last == nil || !eventTime(e).Before(eventTime(last))) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return trouble(last.Reason, last.Message)
}

// eventTime is when the event was seen last. Recorders differ in which of the fields they fill in.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
