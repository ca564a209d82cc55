package controllers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/server/config"
)

// fromYAML makes a RaftCluster as a user writes it.
func fromYAML(t *testing.T, namespace, name, spec string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	text := "apiVersion: raftkv.io/v1\nkind: RaftCluster\nmetadata: {name: " + name + ", namespace: " + namespace + "}\n" + spec
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestBadSpecsAreRefusedWithWhatIsAllowed(t *testing.T) {
	c := apiServer(t)
	ns := namespace(t, c)
	for name, r := range map[string]struct{ cluster, spec, want string }{
		"no replicas":          {"a", "spec: {replicas: 0}", "replicas must be from 1 to 7"},
		"too many replicas":    {"a", "spec: {replicas: 8}", "replicas must be from 1 to 7"},
		"blank in the image":   {"a", "spec: {image: ' x'}", "image must not have white space"},
		"name too long":        {strings.Repeat("a", 41), "spec: {}", "metadata.name must be at most 40 characters long"},
		"name with a dot":      {"a.b", "spec: {}", "metadata.name must be a DNS-1035 label"},
		"name with a digit":    {"1a", "spec: {}", "metadata.name must be a DNS-1035 label"},
		"heartbeat too slow":   {"a", "spec: {raft: {electionTimeout: 300ms, heartbeatInterval: 100ms}}", "electionTimeout must be at least 5 times raft.heartbeatInterval"},
		"heartbeat by default": {"a", "spec: {raft: {electionTimeout: 150ms}}", "electionTimeout must be at least 5 times raft.heartbeatInterval"},
		"election too fast":    {"a", "spec: {raft: {electionTimeout: 50ms, heartbeatInterval: 10ms}}", "electionTimeout must be a duration from 100ms to 60s"},
		"election too slow":    {"a", "spec: {raft: {electionTimeout: 2m}}", "electionTimeout must be a duration from 100ms to 60s"},
		"not a duration":       {"a", "spec: {raft: {electionTimeout: soon}}", "electionTimeout must be a duration from 100ms to 60s"},
		"half a millisecond":   {"a", "spec: {raft: {heartbeatInterval: 10500us}}", "heartbeatInterval must be a duration from 10ms to 10s"},
		"snapshots too often":  {"a", "spec: {raft: {snapshotEntries: 1}}", "snapshotEntries must be from 1000 to 10000000"},
		"storage too small":    {"a", "spec: {storage: {size: 1Mi}}", "storage.size must be at least 256Mi"},
		"no room at all":       {"a", "spec: {storage: {quota: 0}}", "storage.quota must be from 16Mi to 1Ti"},
		"room below zero":      {"a", "spec: {storage: {quota: -1Gi}}", "storage.quota must be from 16Mi to 1Ti"},
		"hardly any room":      {"a", "spec: {storage: {quota: 16383Ki}}", "storage.quota must be from 16Mi to 1Ti"},
		"too much room":        {"a", "spec: {storage: {size: 2Ti, quota: 1025Gi}}", "storage.quota must be from 16Mi to 1Ti"},
		"no room on the disk":  {"a", "spec: {storage: {size: 1Gi, quota: 1025Mi}}", "storage.quota must not be more than storage.size"},
		"past the default":     {"a", "spec: {storage: {quota: 9Gi}}", "storage.quota must not be more than storage.size"},
		"history by moon":      {"a", "spec: {autoCompaction: {mode: lunar, retention: '1'}}", `supported values: "periodic", "revision"`},
		"history of no mode":   {"a", "spec: {autoCompaction: {retention: '1'}}", "spec.autoCompaction.mode: Required value"},
		"history of no length": {"a", "spec: {autoCompaction: {mode: periodic}}", "spec.autoCompaction.retention: Required value"},
		"history of nothing":   {"a", "spec: {autoCompaction: {mode: periodic, retention: ''}}", "autoCompaction.retention must be a number of revisions"},
		"revisions in hours":   {"a", "spec: {autoCompaction: {mode: revision, retention: 1h}}", "autoCompaction.retention must be a number of revisions"},
		"history for long":     {"a", "spec: {autoCompaction: {mode: periodic, retention: '87601'}}", "autoCompaction.retention must be a number of revisions"},
		"history for longer":   {"a", "spec: {autoCompaction: {mode: periodic, retention: 87600h1s}}", "autoCompaction.retention must be a number of revisions"},
		"history of half a s":  {"a", "spec: {autoCompaction: {mode: periodic, retention: 500ms}}", "autoCompaction.retention must be a number of revisions"},
		"class in capitals":    {"a", "spec: {storage: {storageClassName: Fast}}", "storage.storageClassName must be the name of a StorageClass"},
		"class with a blank":   {"a", "spec: {storage: {storageClassName: 'fast ssd'}}", "storage.storageClassName must be the name of a StorageClass"},
		"class with two dots":  {"a", "spec: {storage: {storageClassName: fast..ssd}}", "storage.storageClassName must be the name of a StorageClass"},
		"class with a dash":    {"a", "spec: {storage: {storageClassName: fast-}}", "storage.storageClassName must be the name of a StorageClass"},
		"priority in capitals": {"a", "spec: {podTemplate: {priorityClassName: High}}", "podTemplate.priorityClassName must be the name of a PriorityClass"},
		"retention":            {"a", "spec: {storage: {retentionPolicy: {whenDeleted: Burn}}}", `supported values: "Retain", "Delete"`},
		"own labels":           {"a", "spec: {podTemplate: {labels: {raftkv.io/role: leader}}}", "podTemplate.labels must not set raftkv.io/*"},
		"selector labels":      {"a", "spec: {podTemplate: {labels: {app.kubernetes.io/instance: b}}}", "podTemplate.labels must not set raftkv.io/*"},
		"own annotations":      {"a", "spec: {podTemplate: {annotations: {raftkv.io/x: set}}}", "podTemplate.annotations must not set raftkv.io/*"},
		"deadline too short":   {"a", "spec: {updateStrategy: {progressDeadline: 5s}}", "updateStrategy.progressDeadline must be a duration from 10s to 24h"},
		"deadline of half a s": {"a", "spec: {updateStrategy: {progressDeadline: 10.5s}}", "updateStrategy.progressDeadline must be a duration from 10s to 24h"},
		"no deadline":          {"a", "spec: {updateStrategy: {progressDeadline: ''}}", "updateStrategy.progressDeadline must be a duration from 10s to 24h"},
		"impatient":            {"a", "spec: {replacement: {unreachableAfter: 10s}}", "replacement.unreachableAfter must be a duration from 1m to 168h"},
		"not acknowledged":     {"a", "spec: {recovery: {clusterID: abc, acknowledgeDataLoss: false}}", "recovery.acknowledgeDataLoss must be true"},
		"nothing acknowledged": {"a", "spec: {recovery: {clusterID: abc}}", "spec.recovery.acknowledgeDataLoss: Required value"},
		"no cluster named":     {"a", "spec: {recovery: {acknowledgeDataLoss: true}}", "spec.recovery.clusterID: Required value"},
		"not a cluster ID":     {"a", "spec: {recovery: {clusterID: demo, acknowledgeDataLoss: true}}", "recovery.clusterID must be a cluster ID as status.clusterID says it"},
		"ID too long":          {"a", "spec: {recovery: {clusterID: 00112233445566778, acknowledgeDataLoss: true}}", "recovery.clusterID"},
		"unknown field":        {"a", "spec: {replica: 3}", `unknown field "spec.replica"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.Create(context.Background(), fromYAML(t, ns, r.cluster, r.spec), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
			if err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("got error %v, want one that says %q", err, r.want)
			}
		})
	}
}

func TestGoodSpecsAreAccepted(t *testing.T) {
	c := apiServer(t)
	ns := namespace(t, c)
	for name, r := range map[string]struct{ cluster, spec string }{
		"nothing":          {"a", ""},
		"empty":            {"a", "spec: {}"},
		"seven":            {"a", "spec: {replicas: 7}"},
		"longest name":     {strings.Repeat("a", 40), "spec: {}"},
		"slow":             {"a", "spec: {raft: {electionTimeout: 60s, heartbeatInterval: 10s}}"},
		"as Go prints it":  {"a", "spec: {raft: {electionTimeout: 1m0s, heartbeatInterval: 1.5s}}"},
		"exactly 5 times":  {"a", "spec: {raft: {electionTimeout: 500ms, heartbeatInterval: 100ms}}"},
		"size as a number": {"a", "spec: {storage: {size: 1073741824}}"},
		"storage":          {"a", "spec: {storage: {size: 256Mi, storageClassName: fast, retentionPolicy: {whenScaled: Delete}}}"},
		"all of a volume":  {"a", "spec: {storage: {size: 256Mi, quota: 256Mi}}"},
		"room as a number": {"a", "spec: {storage: {quota: 2147483648}}"},
		"room in decimals": {"a", "spec: {storage: {size: 1500G, quota: 1.5Gi}}"},
		"history in hours": {"a", "spec: {autoCompaction: {mode: periodic, retention: '87600'}}"},
		"history by time":  {"a", "spec: {autoCompaction: {mode: periodic, retention: 1h30m0s}}"},
		"all history":      {"a", "spec: {autoCompaction: {mode: periodic, retention: '0'}}"},
		"many revisions":   {"a", "spec: {autoCompaction: {mode: revision, retention: '100000000000000000'}}"},
		"no class":         {"a", "spec: {storage: {storageClassName: ''}, podTemplate: {priorityClassName: ''}}"},
		"classes":          {"a", "spec: {storage: {storageClassName: a.fast-ssd.example.com}, podTemplate: {priorityClassName: system-cluster-critical}}"},
		"recovery":         {"a", "spec: {recovery: {clusterID: 1f2e3d4c5b6a7988, acknowledgeDataLoss: true, startEmpty: true}}"},
		"deadlines":        {"a", "spec: {updateStrategy: {progressDeadline: 24h}, replacement: {unreachableAfter: 1h30m0s}}"},
		"network policy":   {"a", "spec: {networkPolicy: {enabled: true, clients: [{namespaceSelector: {}, podSelector: {matchLabels: {app: shop}}}]}}"},
		"hibernate":        {"a", "spec: {hibernate: true}"},
		"labels":           {"a", "spec: {podTemplate: {labels: {team: storage, app.kubernetes.io/part-of: shop}}}"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.Create(context.Background(), fromYAML(t, ns, r.cluster, r.spec), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSamplesAreAccepted(t *testing.T) {
	c := apiServer(t)
	ns := namespace(t, c)
	samples, err := filepath.Glob(filepath.Join("..", "config", "samples", "raftcluster*.yaml"))
	if err != nil || len(samples) < 2 {
		t.Fatalf("%v, %v", samples, err)
	}
	for _, path := range samples {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetNamespace(ns)
		if err := c.Create(context.Background(), u, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := apiServer(t)
	got := &v1.RaftCluster{ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: namespace(t, c)}}
	if err := c.Create(context.Background(), got); err != nil {
		t.Fatal(err)
	}
	s := got.Spec
	if *s.Replicas != 3 || s.Storage.Size.String() != "8Gi" || s.Storage.RetentionPolicy.WhenDeleted != v1.RetainVolumes ||
		s.Storage.RetentionPolicy.WhenScaled != v1.RetainVolumes || s.Raft.ElectionTimeout.Duration != 500*time.Millisecond ||
		s.Raft.HeartbeatInterval.Duration != 50*time.Millisecond || s.Raft.SnapshotEntries != config.DefaultSnapshotCount ||
		s.UpdateStrategy.ProgressDeadline.Duration != 10*time.Minute || s.Replacement.UnreachableAfter != nil || s.Storage.Quota != nil || s.AutoCompaction != nil || s.NetworkPolicy.Enabled || s.Hibernate {
		t.Errorf("got spec %+v", s)
	}
}

func TestForbiddenChangesAreRefusedWithWhatIsAllowed(t *testing.T) {
	c := apiServer(t)
	ns := namespace(t, c)
	cluster := fromYAML(t, ns, "demo", "spec: {replicas: 3, storage: {size: 2Gi, quota: 1Gi, storageClassName: fast}}")
	if err := c.Create(context.Background(), cluster); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]struct {
		path  []string
		value any
		want  string
	}{
		"smaller":          {[]string{"spec", "storage", "size"}, "1Gi", "storage.size can only grow"},
		"larger":           {[]string{"spec", "storage", "size"}, "3Gi", ""},
		"the same":         {[]string{"spec", "storage", "size"}, "2048Mi", ""},
		"another class":    {[]string{"spec", "storage", "storageClassName"}, "slow", "storage.storageClassName cannot be changed"},
		"no class":         {[]string{"spec", "storage", "storageClassName"}, nil, "storage.storageClassName cannot be changed"},
		"less room":        {[]string{"spec", "storage", "quota"}, "512Mi", ""},
		"room no more":     {[]string{"spec", "storage", "quota"}, nil, ""},
		"too much room":    {[]string{"spec", "storage", "quota"}, "3Gi", "raise storage.size, or lower storage.quota"},
		"scaled to eight":  {[]string{"spec", "replicas"}, int64(8), "replicas must be from 1 to 7"},
		"scaled to five":   {[]string{"spec", "replicas"}, int64(5), ""},
		"storage left out": {[]string{"spec", "storage"}, nil, "cannot be changed"},
	} {
		t.Run(name, func(t *testing.T) {
			u := cluster.DeepCopy()
			if r.value == nil {
				unstructured.RemoveNestedField(u.Object, r.path...)
			} else if err := unstructured.SetNestedField(u.Object, r.value, r.path...); err != nil {
				t.Fatal(err)
			}
			err := c.Update(context.Background(), u, client.DryRunAll)
			switch {
			case r.want == "" && err != nil:
				t.Error(err)
			case r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)):
				t.Errorf("got error %v, want one that says %q", err, r.want)
			}
		})
	}
}

func TestScaleSubresource(t *testing.T) {
	c := apiServer(t)
	ns := namespace(t, c)
	if err := c.Create(context.Background(), fromYAML(t, ns, "demo", "spec: {}")); err != nil {
		t.Fatal(err)
	}
	cluster := fromYAML(t, ns, "demo", "")
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":5}}`))
	if err := c.SubResource("scale").Patch(context.Background(), cluster, patch); err != nil {
		t.Fatal(err)
	}
	var got v1.RaftCluster
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: "demo"}, &got); err != nil {
		t.Fatal(err)
	}
	if *got.Spec.Replicas != 5 {
		t.Errorf("got %d replicas, want 5", *got.Spec.Replicas)
	}
}
