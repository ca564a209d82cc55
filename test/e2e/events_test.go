//go:build e2e

package e2e

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// eventsOf are the events about the cluster.
func eventsOf(t *testing.T, name string) []corev1.Event {
	t.Helper()
	var list corev1.EventList
	if err := kube.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(e corev1.Event) bool {
		return e.InvolvedObject.Kind != v1.RaftClusterKind || e.InvolvedObject.Name != name
	})
}

// reasons names each of the events' reasons once.
func reasons(events []corev1.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Reason)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// since tells that the event is of that time or later.
func since(e corev1.Event, at time.Time) bool {
	return e.EventTime.After(at) || e.Series != nil && e.Series.LastObservedTime.After(at)
}

// waitEvent waits for an event about the cluster that satisfies the condition: the operator does not wait until an event is written.
func waitEvent(t *testing.T, name, what string, is func(corev1.Event) bool) {
	t.Helper()
	eventually(t, "an event tells "+what, func(context.Context) error {
		events := eventsOf(t, name)
		if slices.ContainsFunc(events, is) {
			return nil
		}
		return errors.New("the events so far: " + reasons(events))
	})
}
