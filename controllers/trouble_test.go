package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
)

func TestPodTrouble(t *testing.T) {
	waiting := func(reason, message string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "demo-1"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}}}
	}
	crashing := waiting("CrashLoopBackOff", "back-off 5m0s")
	crashing.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}
	unschedulable := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available:\n3 Insufficient cpu.",
	}}}}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"nothing yet":   {&corev1.Pod{}, ""},
		"starting":      {waiting("ContainerCreating", ""), ""},
		"bad image":     {waiting("ImagePullBackOff", `Back-off pulling image "x"`), `ImagePullBackOff: Back-off pulling image "x"`},
		"no secret":     {waiting("CreateContainerConfigError", ""), "CreateContainerConfigError"},
		"crashing":      {crashing, "its container ends again and again, last with exit code 2 (Error); see kubectl logs --previous demo-1"},
		"unschedulable": {unschedulable, "it cannot be scheduled: 0/3 nodes are available: 3 Insufficient cpu."},
		"long":          {waiting("E", strings.Repeat("long ", 100)), "E: " + strings.Repeat("long ", 60) + "..."},
	} {
		if got := podTrouble(c.pod); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestWhatKeepsPodsFromRunningIsInTheStatus has a claim whose StorageClass is missing and pods that are refused, as the
// controllers of Kubernetes tell of them: by events.
func TestWhatKeepsPodsFromRunningIsInTheStatus(t *testing.T) {
	s := newStory(t, 20)
	s.apply("spec: {replicas: 3, storage: {size: 1Gi, storageClassName: nowhere}}")
	s.reconcile()
	s.reconcile()
	told := func(c *v1.RaftCluster) string {
		return meta.FindStatusCondition(c.Status.Conditions, v1.ConditionReady).Message
	}

	set := s.workload()
	s.later(2 * troubleAfter)
	s.warn("StatefulSet", set.Name, &set.ObjectMeta, "FailedCreate", "pods demo-0 is forbidden: exceeded quota")
	s.warn("StatefulSet", set.Name, &set.ObjectMeta, "FailedCreate", "create Pod demo-1 in StatefulSet demo failed error: pvc data-demo-1 is being deleted")
	s.reconcile()
	if got := told(s.cluster()); !strings.Contains(got, "pod demo-0 cannot be made: FailedCreate: pods demo-0 is forbidden: exceeded quota") {
		t.Errorf("got %q", got)
	}

	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data-demo-0", Namespace: s.key.Namespace, Labels: resources.SelectorLabels("demo")},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "demo-0", Namespace: s.key.Namespace, Labels: resources.SelectorLabels("demo")},
		Spec: *set.Spec.Template.Spec.DeepCopy()}
	pod.Spec.ServiceAccountName, pod.Spec.Volumes, pod.Spec.Containers[0].VolumeMounts = "", nil, nil
	for _, err := range []error{s.c.Create(context.Background(), claim), s.c.Create(context.Background(), pod)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.warn("PersistentVolumeClaim", claim.Name, &claim.ObjectMeta, "ProvisioningFailed", `storageclass.storage.k8s.io "nowhere" not found`)
	s.reconcile()
	s.later(maxSilenceBefore)
	s.reconcile()
	const want = `pod demo-0 does not run: its claim data-demo-0 gets no volume: ProvisioningFailed: storageclass.storage.k8s.io "nowhere" not found`
	if got := told(s.cluster()); !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func (s *story) workload() *appsv1.StatefulSet {
	s.t.Helper()
	set := &appsv1.StatefulSet{}
	s.get(s.key.Name, set)
	return set
}

func (s *story) warn(kind, name string, of *metav1.ObjectMeta, reason, message string) {
	s.t.Helper()
	now := metav1.Now()
	e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-", Namespace: s.key.Namespace},
		InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: s.key.Namespace, Name: name, UID: of.UID},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message, FirstTimestamp: now, LastTimestamp: now}
	if err := s.c.Create(context.Background(), e); err != nil {
		s.t.Fatal(err)
	}
}

func TestAMissingPodIsToldByWarningsAboutItsOwnAbsence(t *testing.T) {
	at := func(second int, kind, reason, message string) corev1.Event {
		return corev1.Event{Type: kind, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(time.Unix(int64(second), 0))}
	}
	warning := func(second int, message string) corev1.Event {
		return at(second, corev1.EventTypeWarning, "FailedCreate", message)
	}
	made := func(second int, pod string) corev1.Event {
		return at(second, corev1.EventTypeNormal, "SuccessfulCreate", "create Pod "+pod+" in StatefulSet demo successful")
	}
	const quota = `create Pod demo-1 in StatefulSet demo failed error: pods "demo-1" is forbidden: exceeded quota`
	for name, c := range map[string]struct {
		events []corev1.Event
		want   string
	}{
		"nothing":                {nil, ""},
		"its own":                {[]corev1.Event{warning(1, quota)}, "FailedCreate: " + quota},
		"the newest":             {[]corev1.Event{warning(2, quota), warning(1, "create Pod demo-1: older")}, "FailedCreate: " + quota},
		"of another":             {[]corev1.Event{warning(1, "create Pod demo-2 in StatefulSet demo failed error: pvc data-demo-1 is being deleted")}, ""},
		"of one with two digits": {[]corev1.Event{warning(1, "create Pod demo-10 in StatefulSet demo failed")}, ""},
		"of nobody":              {[]corev1.Event{warning(1, "something is wrong")}, ""},
		"made since":             {[]corev1.Event{warning(1, quota), made(2, "demo-1")}, ""},
		"made before":            {[]corev1.Event{warning(3, quota), made(2, "demo-1")}, "FailedCreate: " + quota},
		"another made since":     {[]corev1.Event{warning(1, quota), made(2, "demo-2")}, "FailedCreate: " + quota},
	} {
		if got := whyMissing(c.events, "demo-1"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// A volume that cannot grow is told beside what else is wrong, and does not hide it.
func TestStorageThatCannotGrowHidesNothing(t *testing.T) {
	storage := &plan.Reason{Reason: plan.ReasonStorageNotExpandable, Message: "claim x cannot grow"}
	waiting := &plan.Reason{Reason: plan.ReasonMemberNotReady, Message: "member demo-1 is away"}
	stall := &plan.Reason{Reason: plan.ReasonQuorumLost, Message: "data is gone"}
	led := &v1.RaftClusterStatus{Leader: &v1.LeaderStatus{Name: "demo-0"}}
	for name, c := range map[string]struct {
		d                                  plan.Decision
		status                             *v1.RaftClusterStatus
		degraded                           bool
		reason, message, stall, reconciles string
	}{
		"alone":          {plan.Decision{}, led, false, plan.ReasonStorageNotExpandable, "claim x cannot grow", "claim x cannot grow", "False"},
		"while waiting":  {plan.Decision{Waiting: waiting}, led, true, plan.ReasonMemberNotReady, "member demo-1 is away; besides, claim x cannot grow", "claim x cannot grow", "True"},
		"while degraded": {plan.Decision{}, led, true, "Degraded", "a member is missing or unhealthy", "claim x cannot grow", "False"},
		"with a stall":   {plan.Decision{Stalled: stall}, led, true, plan.ReasonQuorumLost, "data is gone; besides, claim x cannot grow", "data is gone; besides, claim x cannot grow", "False"},
	} {
		s := &snapshot{besides: storage}
		r := ready(s, &c.d, c.status, c.degraded)
		if r.Reason != c.reason || r.Message != c.message {
			t.Errorf("%s: Ready says %s: %s", name, r.Reason, r.Message)
		}
		if x := stalled(s, &c.d); x.Status != metav1.ConditionTrue || x.Message != c.stall {
			t.Errorf("%s: Stalled says %s: %s", name, x.Status, x.Message)
		}
		if x := reconciling(s, &c.d); string(x.Status) != c.reconciles {
			t.Errorf("%s: Reconciling is %s", name, x.Status)
		}
	}
}
