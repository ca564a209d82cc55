package doctor

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/controllers/plan"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// healthy is a cluster of n members on as many machines, led by the last, in which nothing is wrong.
func healthy(n int) *cluster.Observation {
	c := &v1.RaftCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "shop", Generation: 2, CreationTimestamp: ago(time.Hour)},
		Spec:       v1.RaftClusterSpec{Replicas: ptr.To(int32(n))},
		Status:     v1.RaftClusterStatus{ObservedGeneration: 2, ClusterID: "c1"},
	}
	for _, t := range []string{v1.ConditionReady, v1.ConditionAvailable} {
		setCondition(c, t, true, "AsSpecified", "")
	}
	for _, t := range []string{v1.ConditionReconciling, v1.ConditionStalled, v1.ConditionDegraded} {
		setCondition(c, t, false, "NotSo", "")
	}
	o := &cluster.Observation{Cluster: c}
	var members []admin.MemberStatus
	for i := range n {
		members = append(members, admin.MemberStatus{Member: raft.Member{ID: raft.NodeID(i + 1), Name: resources.PodName("demo", i)}, Match: 5000, Active: true, CaughtUp: true})
	}
	for i := range n {
		o.Pods = append(o.Pods, cluster.Pod{
			Ordinal: i,
			Pod: corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: resources.PodName("demo", i), CreationTimestamp: ago(time.Hour)},
				Spec:       corev1.PodSpec{NodeName: fmt.Sprintf("machine-%d", i)},
				Status: corev1.PodStatus{
					Phase:             corev1.PodRunning,
					Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
					ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
				},
			},
			Node: &admin.Status{
				Name: resources.PodName("demo", i), Version: "1.0.0", State: admin.StateMember, MemberID: raft.NodeID(i + 1), Leader: raft.NodeID(n), Role: "follower",
				Term: 4, Commit: 5000, Ready: true, ConfigCommitted: true, Members: members,
			},
		})
		o.Claims = append(o.Claims, corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: resources.ClaimName("demo", i), CreationTimestamp: ago(time.Hour)}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: fmt.Sprintf("volume-%d", i)}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		})
	}
	o.Pods[n-1].Node.Role = "leader"
	return o
}

func setCondition(c *v1.RaftCluster, kind string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: ago(5 * time.Minute)})
}

// silence takes the node's answer away.
func silence(p *cluster.Pod) {
	p.Node, p.NodeError = nil, "its node does not answer: timeout"
}

// noPod takes the pod away.
func noPod(o *cluster.Observation, i int) { o.Pods = append(o.Pods[:i], o.Pods[i+1:]...) }

// waitingFor puts the pod's container into that state.
func waitingFor(p *cluster.Pod, reason, message string) {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: "store:9", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	p.Status.Conditions = nil
	p.Node, p.NodeError = nil, "its container does not run"
}

// leaderSees changes a member in the leader's eyes.
func leaderSees(o *cluster.Observation, i int, change func(*admin.MemberStatus)) {
	l := o.Leader()
	l.Members = append([]admin.MemberStatus(nil), l.Members...)
	change(&l.Members[i])
}

func TestWhatIsWrongIsNamedWithAStepToTake(t *testing.T) {
	for what, x := range map[string]struct {
		members int
		change  func(*cluster.Observation)
		// want are severity, subject, and words of problem and advice.
		want [][4]string
	}{
		"nothing": {3, func(*cluster.Observation) {}, nil},
		"no operator": {3, func(o *cluster.Observation) { o.Cluster.Status = v1.RaftClusterStatus{} },
			[][4]string{{"critical", "demo", "has never said anything", "kubectl get pods --all-namespaces"}}},
		"an operator that lags": {3, func(o *cluster.Observation) { o.Cluster.Generation = 3 },
			[][4]string{{"warning", "demo", "generation 3, it speaks of 2", "operator runs"}}},
		"a deletion": {3, func(o *cluster.Observation) { o.Cluster.DeletionTimestamp = ptr.To(ago(time.Minute)) },
			[][4]string{{"remark", "demo", "is being deleted since 1m0s", ""}}},
		"a stall that keeps nothing from being served": {3, func(o *cluster.Observation) {
			setCondition(o.Cluster, v1.ConditionStalled, true, "StorageNotExpandable", "the class does not expand")
		}, [][4]string{{"warning", "demo", "waits for a person (StorageNotExpandable): the class does not expand", "allowVolumeExpansion"}}},
		"a lost quorum": {3, func(o *cluster.Observation) {
			setCondition(o.Cluster, v1.ConditionStalled, true, "QuorumLost", "two volumes are gone")
			setCondition(o.Cluster, v1.ConditionAvailable, false, "QuorumLost", "")
		}, [][4]string{{"critical", "demo", "two volumes are gone", `"recovery":{"clusterID":"c1","acknowledgeDataLoss":true}`}}},
		"a stall of an unknown kind": {3, func(o *cluster.Observation) { setCondition(o.Cluster, v1.ConditionStalled, true, "New", "m") },
			[][4]string{{"warning", "demo", "(New): m", "docs/reference/conditions.md"}}},
		"work": {3, func(o *cluster.Observation) {
			setCondition(o.Cluster, v1.ConditionReconciling, true, "Updating", "restarting pod demo-1")
		},
			[][4]string{{"remark", "demo", "at work (Updating, for 5 minutes): restarting pod demo-1", ""}}},
		"a pause": {3, func(o *cluster.Observation) { setCondition(o.Cluster, v1.ConditionReconciling, false, "Paused", "") },
			[][4]string{{"remark", "demo", "updateStrategy.paused", `"paused":false`}}},
		"hibernation": {3, func(o *cluster.Observation) {
			o.Cluster.Spec.Hibernate, o.Pods = true, nil
			setCondition(o.Cluster, v1.ConditionHibernated, true, "Hibernated", "")
		}, [][4]string{{"remark", "demo", "spec.hibernate", "raftctl -n shop resume demo"}}},
		"no quorum": {3, func(o *cluster.Observation) {
			silence(&o.Pods[1])
			o.Pods[2].Node.Role = "follower"
			noPod(o, 2)
		}, [][4]string{
			{"critical", "demo", "1 of 3 voters answer, 2 are needed", "--serializable --cluster demo"},
			{"warning", "demo-1", "does not answer", "kubectl -n shop logs demo-1"},
			{"warning", "demo-2", "there is no such pod", "describe statefulset demo"},
		}},
		"no quorum, since data is gone": {3, func(o *cluster.Observation) {
			for i := range 2 {
				o.Pods[i].Node = &admin.Status{State: admin.StateEmpty, NotReady: "waits to be added"}
			}
			o.Pods[2].Node.Role = "follower"
		}, [][4]string{
			{"critical", "demo", "demo-0 (its data is gone: the node is empty)", "bring back volumes"},
			{"warning", "demo-0", "not ready (empty): waits to be added", "logs demo-0"},
			{"warning", "demo-1", "not ready (empty)", ""},
		}},
		"data is gone, and one that may know of fewer voters is silent": {3, func(o *cluster.Observation) {
			o.Pods[0].Node = &admin.Status{State: admin.StateEmpty, NotReady: "waits to be added"}
			o.Claims[1].Status.Phase = corev1.ClaimLost
			waitingFor(&o.Pods[1], "CrashLoopBackOff", "")
			silence(&o.Pods[2])
			kept := o.Claims[2].DeepCopy()
			kept.Name = resources.ClaimName("demo", raft.MaxVoters)
			o.Claims = append(o.Claims, *kept)
			o.Cluster.Status.Members = []v1.MemberStatus{{Name: "demo-0", ID: "1", Role: "follower"}, {Name: "demo-1", ID: "2", Role: "follower"}, {Name: "demo-2", ID: "3", Role: "follower"}}
		}, [][4]string{
			{"critical", "demo", "0 of 3 voters answer", "elect a leader; demo-2 may know of later members"},
			{"warning", "demo-0", "not ready (empty)", ""}, {"warning", "demo-1", "ends again and again", ""}, {"warning", "demo-2", "does not answer", ""},
			{"warning", "claim data-demo-1", "its volume is gone", ""},
		}},
		"no quorum, while directories are opened": {3, func(o *cluster.Observation) {
			for i := range 2 {
				o.Pods[i].Node = &admin.Status{State: admin.StateOpening, NotReady: "the node is opening its data directory"}
			}
			o.Pods[2].Node.Role = "follower"
		}, [][4]string{
			{"critical", "demo", "demo-0 (the node is opening)", "goes on by itself"},
			{"warning", "demo-0", "not ready (opening)", "logs demo-0"}, {"warning", "demo-1", "not ready (opening)", ""},
		}},
		"no leader": {3, func(o *cluster.Observation) { o.Pods[2].Node.Role = "follower" },
			[][4]string{{"critical", "demo", "no leader, although 3 of 3 voters answer", "demo-peers"}}},
		"no member answers": {3, func(o *cluster.Observation) {
			for i := range o.Pods {
				silence(&o.Pods[i])
			}
		}, [][4]string{
			{"critical", "demo", "no member answers", ""}, {"warning", "demo-0", "does not answer", ""}, {"warning", "demo-1", "does not answer", ""}, {"warning", "demo-2", "does not answer", ""},
		}},
		"a missing pod": {3, func(o *cluster.Observation) {
			noPod(o, 0)
			o.Events = []cluster.Event{
				{Object: "StatefulSet demo", Type: "Warning", Reason: "Older", Message: "x"}, {Object: "StatefulSet demo", Type: "Warning", Reason: "FailedCreate", Message: "Create Pod demo-0 failed: quota"},
				{Object: "StatefulSet demo", Type: "Normal", Reason: "Other", Message: "x"}, {Object: "StatefulSet demo", Type: "Warning", Reason: "Other", Message: "Create Pod demo-01 failed"},
			}
		}, [][4]string{{"warning", "demo-0", "FailedCreate: Create Pod demo-0 failed: quota", "describe statefulset"}}},
		"no room": {3, func(o *cluster.Observation) {
			waitingFor(&o.Pods[0], "", "")
			o.Pods[0].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are\navailable"}}
		}, [][4]string{{"warning", "demo-0", "no machine takes it: 0/3 nodes are available", "data-demo-0"}}},
		"no image": {3, func(o *cluster.Observation) { waitingFor(&o.Pods[0], "ImagePullBackOff", "denied") },
			[][4]string{{"warning", "demo-0", "its image store:9 cannot be had (ImagePullBackOff): denied", "spec.image"}}},
		"a crash loop": {3, func(o *cluster.Observation) {
			waitingFor(&o.Pods[0], "CrashLoopBackOff", "")
			o.Pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}
		}, [][4]string{{"warning", "demo-0", "exit code 3 (Error)", "logs --previous demo-0"}}},
		"no secret": {3, func(o *cluster.Observation) { waitingFor(&o.Pods[0], "CreateContainerConfigError", "no secret") },
			[][4]string{{"warning", "demo-0", "does not start (CreateContainerConfigError): no secret", "describe pod demo-0"}}},
		"a slow start": {3, func(o *cluster.Observation) {
			waitingFor(&o.Pods[0], "ContainerCreating", "")
			o.Events = []cluster.Event{{Object: "Pod demo-0", Type: "Warning", Reason: "FailedMount", Message: "timed out"}}
		}, [][4]string{{"warning", "demo-0", "FailedMount: timed out", "describe pod demo-0"}}},
		"a pod that just began": {3, func(o *cluster.Observation) {
			waitingFor(&o.Pods[0], "ContainerCreating", "")
			o.Pods[0].CreationTimestamp = ago(time.Second)
		}, nil},
		"a pod that ends": {3, func(o *cluster.Observation) {
			o.Pods[0].DeletionTimestamp, o.Pods[0].DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(now.Add(50*time.Second))), ptr.To[int64](60)
		}, [][4]string{{"remark", "demo-0", "is ending since 10s", ""}}},
		"a pod that cannot end": {3, func(o *cluster.Observation) {
			o.Pods[0].DeletionTimestamp, o.Pods[0].DeletionGracePeriodSeconds = ptr.To(ago(9*time.Minute)), ptr.To[int64](60)
		}, [][4]string{{"warning", "demo-0", "10 minutes ago and has not: the machine machine-0", "kubectl taint node machine-0"}}},
		"too little memory": {3, func(o *cluster.Observation) {
			o.Pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", FinishedAt: ago(time.Minute)}
		}, [][4]string{{"warning", "demo-0", "more memory", "limits.memory"}}},
		"an end that was": {3, func(o *cluster.Observation) {
			o.Pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", FinishedAt: ago(time.Minute)}
		}, [][4]string{{"warning", "demo-0", "ended 1m0s ago with exit code 1", "logs --previous"}}},
		"an end long ago": {3, func(o *cluster.Observation) {
			o.Pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: ago(2 * time.Hour)}
		}, nil},
		"a fenced member": {3, func(o *cluster.Observation) { o.Pods[0].Node.Fenced = "its state differs" },
			[][4]string{{"warning", "demo-0", "fenced, since its state differed from the others': its state differs", "rebuilt"}}},
		"a kubelet that lags": {3, func(o *cluster.Observation) { o.Pods[0].Status.Conditions = nil },
			[][4]string{{"remark", "demo-0", "the kubelet has not said so", ""}}},
		"a member that is cut off": {3, func(o *cluster.Observation) {
			leaderSees(o, 0, func(m *admin.MemberStatus) { m.Active = false })
		}, [][4]string{{"warning", "member demo-0 (1)", "the leader demo-2 does not hear from it", "replace demo-0 --delete-volume"}}},
		"a learner": {3, func(o *cluster.Observation) {
			leaderSees(o, 0, func(m *admin.MemberStatus) { m.Learner, m.CaughtUp, m.Match = true, false, 100 })
		}, [][4]string{{"remark", "member demo-0 (1)", "is a learner, 4900 entries behind", ""}}},
		"a member that lags": {3, func(o *cluster.Observation) {
			leaderSees(o, 0, func(m *admin.MemberStatus) { m.CaughtUp, m.Match = false, 100 })
		}, [][4]string{{"warning", "member demo-0 (1)", "4900 entries behind", "wal_sync"}}},
		"two versions": {3, func(o *cluster.Observation) { o.Pods[1].Node.Version = "2.0.0" },
			[][4]string{{"remark", "demo", "1.0.0 (demo-0, demo-2); 2.0.0 (demo-1)", ""}}},
		"a full store": {3, func(o *cluster.Observation) { o.Leader().Alarms = []admin.Alarm{{Member: 1, Type: "NOSPACE"}} },
			[][4]string{{"critical", "member demo-0 (1)", "as large as it may be", "compact REVISION --cluster demo"}}},
		"a damaged store": {3, func(o *cluster.Observation) { o.Leader().Alarms = []admin.Alarm{{Type: "CORRUPT"}} },
			[][4]string{{"critical", "demo", "differs from the others'", "hash --cluster demo"}}},
		"leaders that change": {3, func(o *cluster.Observation) {
			o.Events = []cluster.Event{{At: ago(time.Hour).Time, Reason: "LeaderElected", Count: 9}, {At: ago(time.Minute).Time, Reason: "LeaderElected", Count: 4}}
		}, [][4]string{{"warning", "demo", "4 changes of leader within 10 minutes", "slow disk"}}},
		"leaders that were asked to hand over": {3, func(o *cluster.Observation) {
			o.Events = []cluster.Event{
				{At: ago(time.Minute).Time, Reason: "Bootstrapped", Count: 1}, {At: ago(time.Minute).Time, Reason: "LeaderElected", Count: 5}, {At: ago(time.Minute).Time, Reason: "LeadershipTransferred", Count: 1},
			}
		}, nil},
		"one machine for two": {3, func(o *cluster.Observation) { o.Pods[1].Spec.NodeName = "machine-0" },
			[][4]string{{"warning", "demo", "demo-0, demo-1 are on one machine, machine-0", "delete pod demo-1"}}},
		"one machine for two of five": {5, func(o *cluster.Observation) { o.Pods[1].Spec.NodeName = "machine-0" }, nil},
		"one member":                  {1, func(*cluster.Observation) {}, [][4]string{{"remark", "demo", "the only copy", "--replicas 3"}}},
		"four members":                {4, func(*cluster.Observation) {}, [][4]string{{"remark", "demo", "no more than 3 do", "--replicas 3"}}},
		"a lost volume": {3, func(o *cluster.Observation) { o.Claims[0].Status.Phase = corev1.ClaimLost },
			[][4]string{{"warning", "claim data-demo-0", "its volume is gone", "replace demo-0 --delete-volume"}}},
		"a claim that goes": {3, func(o *cluster.Observation) { o.Claims[0].DeletionTimestamp = ptr.To(ago(0)) },
			[][4]string{{"warning", "claim data-demo-0", "as soon as its pod ends", "by itself"}}},
		"a claim that goes and cannot be done without": {1, func(o *cluster.Observation) {
			o.Claims[0].DeletionTimestamp = ptr.To(ago(0))
			setCondition(o.Cluster, v1.ConditionStalled, true, plan.ReasonClaimDeleted, "claim data-demo-0 was deleted")
		}, [][4]string{
			{"warning", "demo", "ClaimDeleted", "scale raftcluster demo --replicas 3"}, {"warning", "claim data-demo-0", "as soon as its pod ends", "do not end pod demo-0"},
			{"remark", "demo", "the only copy", "--replicas 3"},
		}},
		"no volume": {3, func(o *cluster.Observation) {
			o.Claims[0].Status.Phase = corev1.ClaimPending
			o.Events = []cluster.Event{{Object: "PersistentVolumeClaim data-demo-0", Type: "Warning", Reason: "ProvisioningFailed", Message: "no class"}}
		}, [][4]string{{"warning", "claim data-demo-0", "ProvisioningFailed: no class", "kubectl get storageclass"}}},
		"something unknown": {3, func(o *cluster.Observation) { o.Unknown = []string{"the events: forbidden"} },
			[][4]string{{"remark", "demo", "could not be found out: the events: forbidden", ""}}},
	} {
		o := healthy(x.members)
		x.change(o)
		got := Diagnose(o, Context{Program: "raftctl", Now: now})
		if len(got) != len(x.want) {
			t.Errorf("%s: %d findings, want %d: %+v", what, len(got), len(x.want), got)
			continue
		}
		for i, want := range x.want {
			f := got[i]
			if string(f.Severity) != want[0] || f.Subject != want[1] || !strings.Contains(f.Problem, want[2]) || !strings.Contains(strings.Join(f.Advice, "\n"), want[3]) {
				t.Errorf("%s: %+v, want %q", what, f, want)
			}
		}
		wrong := false
		for _, want := range x.want {
			wrong = wrong || want[0] != "remark"
		}
		if Healthy(got) == wrong {
			t.Errorf("%s: healthy is %v", what, Healthy(got))
		}
	}
}

// What only a person can decide is never named without what to do about it.
func TestEachReasonThatTheOperatorStallsForHasAdvice(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "..", "..", "controllers", "plan", "decision.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{Observation: healthy(1), Context: Context{Program: "raftctl", Now: now}, name: "demo", namespace: "shop"}
	reasons := 0
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Doc == nil || g.Doc.Text() != "Reasons of Stalled.\n" {
			continue
		}
		for _, s := range g.Specs {
			reason, err := strconv.Unquote(s.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			reasons++
			if len(p.decision(reason)) == 0 {
				t.Errorf("%s has no advice", reason)
			}
		}
	}
	if reasons < 10 {
		t.Errorf("%d reasons were found", reasons)
	}
}

// A cluster of which nothing is left begins anew only with a consent that says so: the other one would be set in vain.
func TestTheConsentToARecoveryIsTheOneThatIsNeeded(t *testing.T) {
	p := &patient{Observation: healthy(1), Context: Context{Program: "raftctl", Now: now}, name: "demo", namespace: "shop"}
	p.Cluster.Status.ClusterID = "c1"
	for reason, want := range map[string]string{
		"QuorumLost":   `{"spec":{"recovery":{"clusterID":"c1","acknowledgeDataLoss":true}}}`,
		"NoMemberLeft": `{"spec":{"recovery":{"clusterID":"c1","acknowledgeDataLoss":true,"startEmpty":true}}}`,
	} {
		if got := strings.Join(p.decision(reason), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", reason, got)
		}
	}
}

func TestTheWorstComesFirst(t *testing.T) {
	o := healthy(3)
	o.Unknown = []string{"x"}
	o.Claims[0].Status.Phase = corev1.ClaimLost
	o.Leader().Alarms = []admin.Alarm{{Type: "CORRUPT"}}
	got := Diagnose(o, Context{Program: "kubectl raftkv", Now: now})
	if len(got) != 3 || got[0].Severity != Critical || got[1].Severity != Warning || got[2].Severity != Remark {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got[0].Advice[0], "kubectl raftkv -n shop snapshot save") {
		t.Errorf("the advice does not name the program as it was called: %q", got[0].Advice)
	}
}

// The flags are those of a member that can be asked: without a leader nobody knows what was acknowledged.
func TestTheSnapshotThatIsAdvisedCanBeTaken(t *testing.T) {
	goes := func(o *cluster.Observation) {
		o.Claims[0].DeletionTimestamp = ptr.To(ago(0))
		setCondition(o.Cluster, v1.ConditionStalled, true, plan.ReasonClaimDeleted, "claim data-demo-0 was deleted")
	}
	for what, x := range map[string]struct {
		change func(*cluster.Observation)
		want   string
	}{
		"with a leader":    {func(*cluster.Observation) {}, "raftctl -n shop snapshot save --cluster demo --timeout 10m --from demo-0 FILE"},
		"without a quorum": {func(o *cluster.Observation) { silence(&o.Pods[1]) }, "raftctl -n shop snapshot save --cluster demo --timeout 10m --serializable --from demo-0 FILE"},
	} {
		o := healthy(2)
		goes(o)
		x.change(o)
		advised := 0
		for _, f := range Diagnose(o, Context{Program: "raftctl", Now: now}) {
			for _, a := range f.Advice {
				if _, command, found := strings.Cut(a, "raftctl -n shop snapshot save"); found {
					advised++
					if !strings.HasSuffix(x.want, command) {
						t.Errorf("%s: %s", what, a)
					}
				}
			}
		}
		if advised < 2 {
			t.Errorf("%s: a snapshot is advised %d times", what, advised)
		}
	}
}

// Advice is typed where the cluster is: another Kubernetes may have one of the same name, in a namespace of the same name.
func TestAdviceNamesTheKubernetesThatWasLookedAt(t *testing.T) {
	const where = " --kubeconfig /k --context other"
	o := healthy(3)
	o.Cluster.Generation = 3
	o.Claims[0].Status.Phase = corev1.ClaimLost
	o.Claims[1].Status.Phase = corev1.ClaimPending
	o.Pods[0].DeletionTimestamp = ptr.To(ago(time.Hour))
	o.Pods[1].Spec.NodeName = "machine-0"
	leaderSees(o, 1, func(m *admin.MemberStatus) { m.Active = false })
	waitingFor(&o.Pods[1], "CrashLoopBackOff", "")
	setCondition(o.Cluster, v1.ConditionStalled, true, "QuorumLost", "m")
	commands := 0
	for _, f := range Diagnose(o, Context{Program: "kubectl raftkv", Where: where, Now: now}) {
		for _, advice := range f.Advice {
			rest := strings.ReplaceAll(strings.ReplaceAll(advice, "kubectl raftkv"+where, ""), "kubectl"+where, "")
			commands += strings.Count(advice, where)
			if strings.Contains(rest, "kubectl") {
				t.Errorf("a command that goes elsewhere: %s", advice)
			}
		}
	}
	if commands < 8 {
		t.Errorf("%d commands were proposed", commands)
	}
}

// What is given up is named in full, since it is for ever.
func TestWhoMayKnowBetterIsNamedWithItsClaim(t *testing.T) {
	o := healthy(3)
	for i := range 2 {
		o.Pods[i].Node = &admin.Status{State: admin.StateEmpty, NotReady: "waits to be added"}
	}
	silence(&o.Pods[2])
	o.Cluster.Status.Members = []v1.MemberStatus{{Name: "demo-0", ID: "1", Role: "follower"}, {Name: "demo-1", ID: "2", Role: "follower"}, {Name: "demo-2", ID: "3", Role: "leader"}}
	got := Diagnose(o, Context{Program: "raftctl", Now: now})
	if text := strings.Join(got[0].Advice, "\n"); !strings.Contains(text, "kubectl -n shop delete pvc data-demo-2 --wait=false and kubectl -n shop delete pod demo-2") {
		t.Errorf("%+v", got[0])
	}
}
