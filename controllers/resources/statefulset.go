package resources

import (
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	v1 "github.com/raftkv/raftkv/api/v1"
)

// DataVolume is the name of the claim template and of the pods' data volume.
const DataVolume = "data"

const (
	containerName   = "node"
	dataDir         = "/var/lib/raftkv"
	adminTokenDir   = "/etc/raftkv/admin"
	adminTokenMount = "admin-token"

	// nonRootID is the user and group of the node's process, as in the image.
	nonRootID = 65532
	// terminationGraceSeconds is time for the leader to hand over and for the store to close cleanly.
	terminationGraceSeconds = 60
	// preStopSeconds are part of the termination grace.
	preStopSeconds = int64(ServicesForget / time.Second)
)

// StatefulSetOptions is what the StatefulSet depends on besides the spec.
type StatefulSetOptions struct {
	// Image of the node, resolved.
	Image string
	// Replicas is the number of pods, which follows the membership and not at once the spec.
	Replicas int32
	// ClaimSize is the size in the claim template. It cannot be changed once the StatefulSet exists.
	ClaimSize resource.Quantity
	// ScalesIn says that pods are to go for good, so that the spec's whenScaled counts. At all other times the claims of pods that are scaled away are
	// kept: either the pods are to come back, or it is not the operator who scales.
	ScalesIn bool
}

// StatefulSet runs the nodes. Its pods start in parallel, since a new cluster needs all of them to begin, and are
// restarted by nobody but the operator, which knows who leads.
func StatefulSet(c *v1.RaftCluster, o StatefulSetOptions) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: meta(c, StatefulSetName(c.Name)),
		Spec: appsv1.StatefulSetSpec{
			Replicas:            ptr.To(o.Replicas),
			ServiceName:         PeerServiceName(c.Name),
			PodManagementPolicy: appsv1.ParallelPodManagement,
			UpdateStrategy:      appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			Selector:            &metav1.LabelSelector{MatchLabels: SelectorLabels(c.Name)},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				// Who deletes the StatefulSet has not asked to lose the data: the claims go with the RaftCluster, see ClaimOwners.
				WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
				WhenScaled:  whenScaled(c, o),
			},
			Template:             podTemplate(c, o.Image),
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claimTemplate(c, o.ClaimSize)},
		},
	}
}

func whenScaled(c *v1.RaftCluster, o StatefulSetOptions) appsv1.PersistentVolumeClaimRetentionPolicyType {
	if o.ScalesIn && c.Spec.Storage.RetentionPolicy.WhenScaled == v1.DeleteVolumes {
		return appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	return appsv1.RetainPersistentVolumeClaimRetentionPolicyType
}

func claimTemplate(c *v1.RaftCluster, size resource.Quantity) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: DataVolume},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: c.Spec.Storage.StorageClassName,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: size},
			},
		},
	}
}

func podTemplate(c *v1.RaftCluster, image string) corev1.PodTemplateSpec {
	t := c.Spec.PodTemplate
	labels := maps.Clone(t.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, Labels(c.Name))
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: maps.Clone(t.Annotations)},
		Spec: corev1.PodSpec{
			ServiceAccountName:            ServiceAccountName(c.Name),
			AutomountServiceAccountToken:  ptr.To(false),
			EnableServiceLinks:            ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To[int64](terminationGraceSeconds),
			NodeSelector:                  t.NodeSelector,
			Tolerations:                   t.Tolerations,
			Affinity:                      affinity(c),
			TopologySpreadConstraints:     topologySpread(c),
			PriorityClassName:             t.PriorityClassName,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:        ptr.To(true),
				RunAsUser:           ptr.To[int64](nonRootID),
				RunAsGroup:          ptr.To[int64](nonRootID),
				FSGroup:             ptr.To[int64](nonRootID),
				FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
				SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{nodeContainer(c, image)},
			Volumes: []corev1.Volume{{
				Name: adminTokenMount,
				VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
					SecretName: AdminTokenSecretName(c.Name), DefaultMode: ptr.To[int32](0o440),
				}},
			}},
		},
	}
}

func nodeContainer(c *v1.RaftCluster, image string) corev1.Container {
	return corev1.Container{
		Name:    containerName,
		Image:   image,
		Command: []string{"/raftkv-node"},
		Args:    nodeArgs(c),
		Env: []corev1.EnvVar{
			fieldEnv("POD_NAME", "metadata.name"),
			fieldEnv("POD_NAMESPACE", "metadata.namespace"),
		},
		Ports: []corev1.ContainerPort{
			{Name: ClientPortName, ContainerPort: ClientPort, Protocol: corev1.ProtocolTCP},
			{Name: PeerPortName, ContainerPort: PeerPort, Protocol: corev1.ProtocolTCP},
			{Name: MetricsPortName, ContainerPort: MetricsPort, Protocol: corev1.ProtocolTCP},
		},
		Resources: c.Spec.Resources,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false),
			ReadOnlyRootFilesystem:   ptr.To(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: DataVolume, MountPath: dataDir},
			{Name: adminTokenMount, MountPath: adminTokenDir, ReadOnly: true},
		},
		// Until every node knows that the pod is to end, connections still come in: it goes on to serve them.
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: preStopSeconds}}},
		// Opening a large store may take long; until it is done only this probe counts.
		StartupProbe: probe("/livez", 1, 2, 900),
		// Liveness asks of the process itself and is slow to anger: a restart cures few things and costs an election.
		LivenessProbe:  probe("/livez", 10, 5, 6),
		ReadinessProbe: probe("/readyz", 2, 2, 2),
	}
}

// nodeArgs are the node's flags. They name no peers: a node with an empty directory waits on its peer port until it
// is bootstrapped or added.
func nodeArgs(c *v1.RaftCluster) []string {
	const pod, namespace = "$(POD_NAME)", "$(POD_NAMESPACE)"
	args := []string{
		"--name=" + pod,
		"--data-dir=" + dataDir,
		"--listen-client-urls=" + listenURL(ClientPort),
		"--listen-peer-urls=" + listenURL(PeerPort),
		"--listen-metrics-urls=" + listenURL(MetricsPort),
		"--initial-advertise-peer-urls=http://" + PeerAddress(namespace, c.Name, pod),
		"--advertise-client-urls=http://" + ClientAddress(namespace, c.Name, pod),
		"--admin-token-file=" + adminTokenDir + "/" + AdminTokenKey,
		"--heartbeat-interval=" + milliseconds(c.Spec.Raft.HeartbeatInterval.Duration),
		"--election-timeout=" + milliseconds(c.Spec.Raft.ElectionTimeout.Duration),
		"--snapshot-count=" + strconv.FormatInt(c.Spec.Raft.SnapshotEntries, 10),
	}
	// What is not asked for is not there: another template restarts every pod.
	if q := c.Spec.Storage.Quota; q != nil {
		args = append(args, "--quota-backend-bytes="+strconv.FormatInt(q.Value(), 10))
	}
	if a := c.Spec.AutoCompaction; a != nil {
		args = append(args, "--auto-compaction-mode="+string(a.Mode), "--auto-compaction-retention="+a.Retention)
	}
	return args
}

// listenURL is a listener on all addresses of either family.
func listenURL(port int) string { return "http://[::]:" + strconv.Itoa(port) }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func fieldEnv(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
	}}
}

func probe(path string, periodSeconds, timeoutSeconds, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: intstr.FromString(MetricsPortName), Scheme: corev1.URISchemeHTTP,
		}},
		PeriodSeconds: periodSeconds, TimeoutSeconds: timeoutSeconds, FailureThreshold: failures, SuccessThreshold: 1,
	}
}
