package controllers

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
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

// sink keeps the notes of the events that reach the API server as events of their own.
type sink struct {
	events.EventSink
	mu    sync.Mutex
	notes []string
	more  int
}

func (s *sink) Create(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, e.Note)
	return e, nil
}

func (s *sink) Patch(_ context.Context, e *eventsv1.Event, _ []byte) (*eventsv1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more++
	return e, nil
}

// Two children that are put right within one look are two events, not one that came twice: else nobody would read of the second.
func TestEachChildThatIsPutRightIsTold(t *testing.T) {
	to := &sink{}
	broadcaster := events.NewBroadcaster(to)
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Recorder: conciseRecorder{broadcaster.NewRecorder(apiServer(t).Scheme(), "raftkv-operator")}}
	c := &v1.RaftCluster{}
	c.Namespace, c.Name, c.UID, c.ResourceVersion, c.Generation = "ns", "demo", "u", "7", 1
	c.Status.ClusterID, c.Status.ObservedGeneration = "c1", 1
	for _, wanted := range []client.Object{resources.ClientService(c), resources.LeaderService(c), resources.PeerService(c)} {
		r.childEvent(c, child{wanted: wanted}, nil, nil)
	}
	var got []string
	for deadline := time.Now().Add(convergeWithin); len(got)+to.more < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %q", got)
		}
		to.mu.Lock()
		got = slices.Clone(to.notes)
		to.mu.Unlock()
	}
	for _, name := range []string{"Service demo did", "Service demo-leader did", "Service demo-peers did"} {
		if !slices.ContainsFunc(got, func(note string) bool { return strings.HasPrefix(note, name) }) {
			t.Errorf("nobody is told that %s not exist: %q", name, got)
		}
	}
}

// What a condition says of a node must not change with each attempt to reach it.
func TestErrorsOfTheNetworkAreTheSameAtEachAttempt(t *testing.T) {
	for text, want := range map[string]string{
		"connection lost: read tcp 10.0.0.5:43210->10.0.0.3:2380: read: connection reset by peer": "connection lost: read tcp 10.0.0.3:2380: read: connection reset by peer",
		"write tcp [fd00::5]:43210->[fd00::3]:2380: broken pipe":                                  "write tcp [fd00::3]:2380: broken pipe",
		"dial tcp 10.0.0.3:2380: connect: connection refused":                                     "dial tcp 10.0.0.3:2380: connect: connection refused",
	} {
		if got := steady(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A condition whose words change again and again, such as with what an ill node says of itself, is told once.
func TestAStalledClusterIsToldOncePerReason(t *testing.T) {
	recorder := events.NewFakeRecorder(10)
	r := &Reconciler{Recorder: recorder}
	stalled := func(reason, message string) *v1.RaftClusterStatus {
		return &v1.RaftClusterStatus{Conditions: []metav1.Condition{condition(v1.ConditionStalled, true, reason, message)}}
	}
	c := &v1.RaftCluster{}
	r.changeEvents(c, &v1.RaftClusterStatus{Replicas: 3}, stalled("UpdateFailed", "refused"))
	r.changeEvents(c, stalled("UpdateFailed", "refused"), stalled("UpdateFailed", "timed out"))
	r.changeEvents(c, stalled("UpdateFailed", "timed out"), stalled("QuorumLost", "two of three"))
	close(recorder.Events)
	var got []string
	for e := range recorder.Events {
		got = append(got, e)
	}
	if len(got) != 2 || !strings.Contains(got[0], "StalledUpdateFailed") || !strings.Contains(got[1], "StalledQuorumLost") {
		t.Errorf("got %q", got)
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
