package resources

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
)

func demo() *v1.RaftCluster {
	c := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "ns", UID: "u"}}
	c.Spec.Raft = v1.RaftSpec{
		ElectionTimeout: metav1.Duration{Duration: 1500 * time.Millisecond}, HeartbeatInterval: metav1.Duration{Duration: 50 * time.Millisecond},
		SnapshotEntries: 100000,
	}
	return c
}

func TestNodeFlags(t *testing.T) {
	set := StatefulSet(demo(), StatefulSetOptions{Image: "i", Replicas: 3, ClaimSize: resource.MustParse("1Gi")})
	got := set.Spec.Template.Spec.Containers[0].Args
	want := []string{
		"--name=$(POD_NAME)",
		"--data-dir=/var/lib/raftkv",
		"--listen-client-urls=http://[::]:2379",
		"--listen-peer-urls=http://[::]:2380",
		"--listen-metrics-urls=http://[::]:8080",
		"--initial-advertise-peer-urls=http://$(POD_NAME).demo-peers.$(POD_NAMESPACE).svc:2380",
		"--advertise-client-urls=http://$(POD_NAME).demo-peers.$(POD_NAMESPACE).svc:2379",
		"--admin-token-file=/etc/raftkv/admin/token",
		"--heartbeat-interval=50",
		"--election-timeout=1500",
		"--snapshot-count=100000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got flags\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What is left out is left to the node, and so changes no template.
func TestFlagsThatFollowOnlyWhatIsAskedFor(t *testing.T) {
	args := func(c *v1.RaftCluster) []string {
		return StatefulSet(c, StatefulSetOptions{}).Spec.Template.Spec.Containers[0].Args
	}
	plain := args(demo())
	quota := resource.MustParse("1.5Gi")
	for name, x := range map[string]struct {
		ask  func(*v1.RaftClusterSpec)
		want []string
	}{
		"nothing": {func(*v1.RaftClusterSpec) {}, nil},
		"quota":   {func(s *v1.RaftClusterSpec) { s.Storage.Quota = &quota }, []string{"--quota-backend-bytes=1610612736"}},
		"history": {func(s *v1.RaftClusterSpec) {
			s.AutoCompaction = &v1.AutoCompactionSpec{Mode: v1.CompactByAge, Retention: "30m"}
		}, []string{"--auto-compaction-mode=periodic", "--auto-compaction-retention=30m"}},
		"all history": {func(s *v1.RaftClusterSpec) {
			s.AutoCompaction = &v1.AutoCompactionSpec{Mode: v1.CompactByRevision, Retention: "0"}
		}, []string{"--auto-compaction-mode=revision", "--auto-compaction-retention=0"}},
	} {
		c := demo()
		x.ask(&c.Spec)
		if got := args(c); !slices.Equal(got[:len(plain)], plain) || !slices.Equal(got[len(plain):], x.want) {
			t.Errorf("%s: got %q after %q, want %q", name, got[len(plain):], got[:len(plain)], x.want)
		}
	}
}

// Services forget a pod a moment after it was told to end. Who closes the doors at once refuses clients that were sent to them.
func TestAPodServesOnUntilServicesHaveForgottenIt(t *testing.T) {
	pod := StatefulSet(demo(), StatefulSetOptions{Image: "i", Replicas: 3, ClaimSize: resource.MustParse("1Gi")}).Spec.Template.Spec
	lifecycle := pod.Containers[0].Lifecycle
	if lifecycle == nil || lifecycle.PreStop == nil || lifecycle.PreStop.Sleep == nil {
		t.Fatalf("the container has the life cycle %+v", lifecycle)
	}
	if seconds := lifecycle.PreStop.Sleep.Seconds; seconds < 1 || 2*seconds > *pod.TerminationGracePeriodSeconds {
		t.Errorf("it serves on for %d s of %d s", seconds, *pod.TerminationGracePeriodSeconds)
	}
}

func TestUserCannotOverrideTheLabelsThatFindPods(t *testing.T) {
	c := demo()
	c.Spec.PodTemplate.Labels = map[string]string{LabelInstance: "other", "team": "storage"}
	set := StatefulSet(c, StatefulSetOptions{Image: "i", Replicas: 3})
	labels := set.Spec.Template.Labels
	if labels[LabelInstance] != "demo" || labels["team"] != "storage" {
		t.Errorf("got labels %v", labels)
	}
	if _, ok := labels[LabelRole]; ok {
		t.Error("the role is the operator's to set on pods, a template with it would restart them")
	}
	if c.Spec.PodTemplate.Labels[LabelInstance] != "other" {
		t.Error("the spec was changed")
	}
}

func TestScheduling(t *testing.T) {
	c := demo()
	spec := StatefulSet(c, StatefulSetOptions{}).Spec.Template.Spec
	if len(spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) != 1 || len(spec.TopologySpreadConstraints) != 1 {
		t.Errorf("got affinity %v and spread %v, want both by default", spec.Affinity, spec.TopologySpreadConstraints)
	}
	c.Spec.PodTemplate.Affinity = &corev1.Affinity{}
	c.Spec.PodTemplate.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 2, TopologyKey: "rack"}}
	spec = StatefulSet(c, StatefulSetOptions{}).Spec.Template.Spec
	if spec.Affinity.PodAntiAffinity != nil {
		t.Error("the user's affinity was added to")
	}
	if got := spec.TopologySpreadConstraints; len(got) != 1 || got[0].LabelSelector.MatchLabels[LabelInstance] != "demo" {
		t.Errorf("got spread %v, want the user's, counting this cluster's members", got)
	}
}

func TestWhatTheClusterAutoscalerAndThePreemptionGoByIsTheUsers(t *testing.T) {
	const safe = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	c := demo()
	c.Spec.PodTemplate.Annotations = map[string]string{safe: "false"}
	c.Spec.PodTemplate.PriorityClassName = "high"
	pod := StatefulSet(c, StatefulSetOptions{}).Spec.Template
	if pod.Annotations[safe] != "false" || pod.Spec.PriorityClassName != "high" {
		t.Errorf("got annotations %v and priority class %q", pod.Annotations, pod.Spec.PriorityClassName)
	}
	// Without a word the autoscaler may move a pod: it keeps nothing on its machine but its claim, and a budget guards the quorum.
	pod = StatefulSet(demo(), StatefulSetOptions{}).Spec.Template
	for _, v := range pod.Spec.Volumes {
		if v.EmptyDir != nil || v.HostPath != nil {
			t.Errorf("volume %s is local, which keeps the autoscaler from moving the pod", v.Name)
		}
	}
	if _, set := pod.Annotations[safe]; set {
		t.Error("the annotation is set for the user")
	}
	if grace := *pod.Spec.TerminationGracePeriodSeconds; grace < 30 {
		t.Errorf("%d s are not enough for a drained leader to hand over and close its store", grace)
	}
}

func TestRetentionOfARestingCluster(t *testing.T) {
	c := demo()
	c.Spec.Storage.RetentionPolicy = v1.RetentionPolicySpec{WhenScaled: v1.DeleteVolumes, WhenDeleted: v1.DeleteVolumes}
	for scalesIn, want := range map[bool]appsv1.PersistentVolumeClaimRetentionPolicyType{
		true: appsv1.DeletePersistentVolumeClaimRetentionPolicyType, false: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
	} {
		p := StatefulSet(c, StatefulSetOptions{ScalesIn: scalesIn}).Spec.PersistentVolumeClaimRetentionPolicy
		if p.WhenScaled != want || p.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
			t.Errorf("scales in %v: got %+v", scalesIn, p)
		}
	}
	c.Spec.Storage.RetentionPolicy.WhenScaled = v1.RetainVolumes
	if p := StatefulSet(c, StatefulSetOptions{ScalesIn: true}).Spec.PersistentVolumeClaimRetentionPolicy; p.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Errorf("got %+v", p)
	}
}

func TestClaimsGoWithTheRaftClusterOnlyIfAsked(t *testing.T) {
	c := demo()
	c.UID = "now"
	cluster := metav1.OwnerReference{APIVersion: "raftkv.io/v1", Kind: "RaftCluster", Name: "demo", UID: "now"}
	former := metav1.OwnerReference{APIVersion: "raftkv.io/v1", Kind: "RaftCluster", Name: "demo", UID: "before"}
	set := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "demo", UID: "set"}
	pod := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "demo-4", UID: "pod"}
	type refs = []metav1.OwnerReference
	for name, x := range map[string]struct {
		policy     v1.RetentionPolicy
		inUse      bool
		have, want refs
	}{
		"to be kept":                {v1.RetainVolumes, true, nil, nil},
		"to go":                     {v1.DeleteVolumes, true, nil, refs{cluster}},
		"already owned":             {v1.DeleteVolumes, true, refs{cluster}, refs{cluster}},
		"to be kept after all":      {v1.RetainVolumes, true, refs{cluster}, nil},
		"of an older operator":      {v1.DeleteVolumes, true, refs{set}, refs{cluster}},
		"of one, and to be kept":    {v1.RetainVolumes, false, refs{set}, nil},
		"scaled away":               {v1.DeleteVolumes, true, refs{pod}, refs{pod, cluster}},
		"kept before":               {v1.DeleteVolumes, false, nil, nil},
		"kept before, but owned":    {v1.DeleteVolumes, false, refs{cluster}, refs{cluster}},
		"goes with a former of it":  {v1.DeleteVolumes, true, refs{former}, refs{former}},
		"somebody else's dependent": {v1.RetainVolumes, true, refs{{Kind: "Backup", Name: "x", UID: "x"}}, refs{{Kind: "Backup", Name: "x", UID: "x"}}},
	} {
		c.Spec.Storage.RetentionPolicy.WhenDeleted = x.policy
		if got := ClaimOwners(c, x.have, x.inUse); !slices.Equal(got, x.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, x.want)
		}
	}
}

func TestNetworkPolicy(t *testing.T) {
	c := demo()
	if NetworkPolicy(c) != nil {
		t.Error("there is one that nobody asked for")
	}
	c.Spec.NetworkPolicy.Enabled = true
	rules := NetworkPolicy(c).Spec.Ingress
	byPort := map[int]networkingv1.NetworkPolicyIngressRule{}
	for _, r := range rules {
		byPort[r.Ports[0].Port.IntValue()] = r
	}
	peers := byPort[PeerPort].From
	if len(peers) != 2 || peers[0].PodSelector.MatchLabels[LabelInstance] != "demo" || peers[0].NamespaceSelector != nil ||
		peers[1].PodSelector.MatchLabels[LabelName] != OperatorName || peers[1].NamespaceSelector == nil {
		t.Errorf("the peer port is open to %+v, want members of this namespace and the operator of any", peers)
	}
	if len(byPort[ClientPort].From) != 0 || len(byPort[MetricsPort].From) != 0 || len(rules) != 3 {
		t.Errorf("got %+v, want the other ports open to all", rules)
	}
	c.Spec.NetworkPolicy.Clients = []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}}}
	clients := NetworkPolicy(c).Spec.Ingress[1].From
	if len(clients) != 2 || clients[0].PodSelector.MatchLabels["app"] != "shop" || clients[1].PodSelector.MatchLabels[LabelInstance] != "demo" {
		t.Errorf("the client port is open to %+v, want the named clients and the members", clients)
	}
}

func TestBudget(t *testing.T) {
	for voters, want := range map[int]int{1: 0, 2: 1, 3: 2, 7: 6} {
		b := PodDisruptionBudget(demo(), voters)
		switch {
		case want == 0 && b != nil:
			t.Errorf("%d voters: got a budget, want none", voters)
		case want > 0 && b.Spec.MinAvailable.IntValue() != want:
			t.Errorf("%d voters: got minAvailable %v, want %d", voters, b.Spec.MinAvailable, want)
		}
	}
}

func TestOrdinal(t *testing.T) {
	for name, want := range map[string]int{"demo-0": 0, "demo-12": 12, "demo-01": -1, "demo--1": -1, "demo-": -1, "demo": -1, "other-0": -1, "demo-a-0": -1} {
		got, ok := Ordinal("demo", name)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got ordinal %d, want %d", name, got, want)
		}
	}
}
