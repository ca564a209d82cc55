package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
)

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

// eventsOf are the events about an object; none if the operator may not see events.
func (r *Reconciler) eventsOf(ctx context.Context, namespace string, of types.UID) ([]corev1.Event, error) {
	var list corev1.EventList
	err := r.Live.List(ctx, &list, client.InNamespace(namespace), client.Limit(maxTroubleEvents),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("involvedObject.uid", string(of))})
	switch {
	case apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("list events: %w", err)
	}
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
