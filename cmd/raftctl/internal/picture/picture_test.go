package picture

import (
	"bytes"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// scene is a cluster of three: the first leads, the second lags, and the third is being replaced: its pod is a learner of a new ID.
func scene() *cluster.Observation {
	o := &cluster.Observation{Cluster: &v1.RaftCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "shop", Generation: 2},
		Spec:       v1.RaftClusterSpec{Replicas: ptr.To[int32](3)},
		Status: v1.RaftClusterStatus{ObservedGeneration: 2, ClusterID: "c1", Version: "1.0.0", Members: []v1.MemberStatus{{Name: "demo-0", ID: "1", Role: "leader"}, {Name: "demo-1", ID: "2", Role: "follower"}},
			Conditions: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "ChangingMembers", Message: "demo-2 is replaced", LastTransitionTime: metav1.NewTime(now.Add(-90 * time.Second))},
				{Type: "Reconciling", Status: "True", Reason: "ChangingMembers", Message: "demo-2 is replaced", LastTransitionTime: metav1.NewTime(now.Add(-5 * time.Minute))},
			}},
	}}
	members := []admin.MemberStatus{
		{Member: raft.Member{ID: 1, Name: "demo-0"}, Match: 100, Active: true, CaughtUp: true},
		{Member: raft.Member{ID: 2, Name: "demo-1"}, Match: 40, Active: true},
		{Member: raft.Member{ID: 3, Name: "demo-2"}, Match: 90},
		{Member: raft.Member{ID: 4, Name: "demo-2", Learner: true}, Match: 10, Active: true},
	}
	for i := range 3 {
		o.Pods = append(o.Pods, cluster.Pod{Ordinal: i, Pod: corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: resources.PodName("demo", i)},
			Spec:       corev1.PodSpec{NodeName: "machine-" + string(rune('a'+i))},
			Status: corev1.PodStatus{
				Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{{RestartCount: int32(i), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
			}},
			Node: &admin.Status{Name: resources.PodName("demo", i), State: admin.StateMember, MemberID: raft.NodeID(i + 1), Role: "follower", Ready: true, Applied: raft.Index(100 - i), Term: 7, Commit: 100, Members: members},
		})
	}
	o.Pods[0].Node.Role = "leader"
	o.Pods[2].Node.MemberID, o.Pods[2].Node.Role, o.Pods[2].Node.Ready, o.Pods[2].Node.NotReady = 4, "learner", false, "catching up"
	for i := range 2 {
		o.Claims = append(o.Claims, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: resources.ClaimName("demo", i)}, Status: corev1.PersistentVolumeClaimStatus{
			Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("8Gi")}}})
	}
	o.Events = []cluster.Event{
		{At: now.Add(-3 * time.Hour), Object: "RaftCluster demo", Type: "Normal", Reason: "Bootstrapped", Message: "founded", Count: 1},
		{At: now.Add(-30 * time.Second), Object: "RaftCluster demo", Type: "Normal", Reason: "LearnerAdded", Message: "demo-2\nlearns", Count: 2},
	}
	return o
}

func draw(t *testing.T, o *cluster.Observation) string {
	t.Helper()
	var b bytes.Buffer
	p := Of(o, now)
	if err := (output.Printer{Out: &b, Format: output.Table}).Print(p, p.Draw); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestThePictureOfAReplacement(t *testing.T) {
	want := `demo in namespace shop: 3 of 3 pods ready, version 1.0.0
demo-0 leads in term 7, committed up to 100; cluster ID c1

MEMBER  ID  ROLE      STATE                                   LAG  APPLIED  VOLUME     RESTARTS  MACHINE
demo-0  1   leader    ready                                   0    100      8Gi bound  0         machine-a
demo-1  2   follower  ready                                   60   99       8Gi bound  1         machine-b
demo-2  3   follower  its data is gone: the node is member 4  10   98       no claim   2         machine-c
demo-2  4   learner   not ready: catching up                  90   98       no claim   2         machine-c

CONDITION    STATUS  FOR  REASON           MESSAGE
Ready        False   90s  ChangingMembers  demo-2 is replaced
Reconciling  True    5m   ChangingMembers  demo-2 is replaced

The operator works or waits: demo-2 is replaced (ChangingMembers)

AGO  EVENT                   OBJECT            MESSAGE
3h   Bootstrapped            RaftCluster demo  founded
30s  LearnerAdded (2 times)  RaftCluster demo  demo-2 learns
`
	if got := draw(t, scene()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestThePictureWithoutALeader(t *testing.T) {
	o := scene()
	o.Pods[0].Node.Role = "follower"
	o.Pods[1].Node, o.Pods[1].NodeError = nil, "timeout"
	o.Pods[2].DeletionTimestamp = &metav1.Time{Time: now}
	o.Cluster.Status.Conditions, o.Events = nil, nil
	o.Unknown = []string{"the events: forbidden"}
	want := `demo in namespace shop: 2 of 3 pods ready, version 1.0.0
nobody leads; cluster ID c1

MEMBER  ID  ROLE        STATE      LAG  APPLIED  VOLUME     RESTARTS  MACHINE
demo-0  1   follower    ready      -    100      8Gi bound  0         machine-a
demo-1  2   (follower)  no answer  -    -        8Gi bound  1         machine-b
demo-2  -   -           ending     -    98       no claim   2         machine-c

CONDITION  STATUS  FOR  REASON  MESSAGE

The operator has not said anything of this cluster yet
Not found out: the events: forbidden
`
	if got := draw(t, o); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A directory that is being opened is not said to be gone.
func TestADirectoryThatIsOpenedIsNotCalledLost(t *testing.T) {
	o := scene()
	o.Pods[1].Node = &admin.Status{Name: "demo-1", State: admin.StateOpening, NotReady: "the node is opening its data directory"}
	for _, m := range Of(o, now).Members {
		if m.Name == "demo-1" && m.State != "not ready: the node is opening its data directory" {
			t.Errorf("it is shown as %q", m.State)
		}
	}
}
