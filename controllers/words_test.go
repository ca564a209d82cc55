package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// The API server refuses events with more to say than it allows, and nobody would hear of what matters most.
func TestAnEventWithMuchToSayIsMade(t *testing.T) {
	c := apiServer(t)
	about := &v1.RaftCluster{}
	about.Namespace, about.Name, about.UID = namespace(t, c), "demo", "u"
	clients, err := kubernetes.NewForConfig(environment.operator)
	if err != nil {
		t.Fatal(err)
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: clients.EventsV1()})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	r := NewReconciler(c, c, broadcaster.NewRecorder(c.Scheme(), "raftkv-operator"), nil, "raftkv/node:default")
	r.Recorder.Eventf(about, nil, corev1.EventTypeWarning, "StalledSpecRefused", "observe", "%s", strings.Repeat("é", 2000))
	var list eventsv1.EventList
	for deadline := time.Now().Add(convergeWithin); len(list.Items) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there is no event")
		}
		if err := c.List(ctx, &list, client.InNamespace(about.Namespace)); err != nil {
			t.Fatal(err)
		}
	}
	if note := list.Items[0].Note; !strings.HasPrefix(note, "éé") || !strings.HasSuffix(note, "é...") {
		t.Errorf("got note %q", note)
	}
}

func TestAConditionSaysNoMoreThanTheAPIServerTakes(t *testing.T) {
	if n := len(condition(v1.ConditionReady, false, "X", strings.Repeat("é", 40_000)).Message); n > maxMessageBytes+len("...") || n < maxMessageBytes {
		t.Errorf("the message has %d bytes", n)
	}
	if m := condition(v1.ConditionReady, false, "X", "short").Message; m != "short" {
		t.Errorf("got message %q", m)
	}
}
