package v1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RaftCluster is a strongly consistent key-value store: one Raft group whose members are the pods of a StatefulSet.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=rkv,categories=all
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.spec.replicas`,description="Members that were asked for"
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.readyReplicas`,description="Pods that are ready"
// +kubebuilder:printcolumn:name="Leader",type=string,JSONPath=`.status.leader.name`,description="Pod of the leader"
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`,description="Whether writes are accepted"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,description="Version that all members run"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40",message="metadata.name must be at most 40 characters long: the names of pods, claims and Services are made from it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS-1035 label: lower-case letters, digits and '-', starting with a letter and ending with a letter or digit"
type RaftCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the cluster that is wanted.
	// +kubebuilder:default={}
	// +optional
	Spec RaftClusterSpec `json:"spec,omitzero"`
	// status is the cluster as the operator last saw it.
	// +optional
	Status RaftClusterStatus `json:"status,omitzero"`
}

// RaftClusterList is a list of RaftClusters.
//
// +kubebuilder:object:root=true
type RaftClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []RaftCluster `json:"items"`
}

// RaftClusterSpec is the cluster that is wanted.
type RaftClusterSpec struct {
	// replicas is the number of voting members, from 1 to 7. Odd numbers make sense: 3 members outlive the
	// loss of one, 5 of two, 7 of three; an even number outlives no more than the odd one below it.
	// +kubebuilder:default=3
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 7",message="replicas must be from 1 to 7 (3 members outlive the loss of one, 5 of two, 7 of three)"
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`

	// image of the node. Left out, the operator's default at the time of creation is used and recorded in
	// status.image: a newer operator does not change it. Taken out later, the members stay with the image that all were last ready with.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:space:]]')",message="image must not have white space in it"
	// +optional
	Image string `json:"image,omitempty"`

	// storage of each member.
	// +kubebuilder:default={size: "8Gi"}
	// +optional
	Storage StorageSpec `json:"storage,omitzero"`

	// raft holds the timing and limits of the consensus protocol.
	// +kubebuilder:default={electionTimeout: "500ms", heartbeatInterval: "50ms"}
	// +optional
	Raft RaftSpec `json:"raft,omitzero"`

	// autoCompaction says how much history the members keep. Left out, that of the last 100,000 revisions. A change restarts the members one by one.
	// +optional
	AutoCompaction *AutoCompactionSpec `json:"autoCompaction,omitempty"`

	// resources of the node's container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`

	// podTemplate is merged into the members' pods. A change restarts them one by one, the leader last.
	// +optional
	PodTemplate PodTemplateSpec `json:"podTemplate,omitzero"`

	// updateStrategy says how changes reach running pods.
	// +kubebuilder:default={}
	// +optional
	UpdateStrategy UpdateStrategySpec `json:"updateStrategy,omitzero"`

	// replacement says when a member that is unreachable begins anew with an empty volume.
	// +optional
	Replacement ReplacementSpec `json:"replacement,omitzero"`

	// networkPolicy says who may connect to the members.
	// +optional
	NetworkPolicy NetworkPolicySpec `json:"networkPolicy,omitzero"`

	// hibernate stops all pods once all voters are caught up, and keeps membership and volumes. Taken away, the same cluster comes back.
	// +optional
	Hibernate bool `json:"hibernate,omitempty"`

	// recovery allows to rebuild a cluster that has lost its quorum for good from the member that holds most. Take it away when it is done.
	// +optional
	Recovery *RecoverySpec `json:"recovery,omitempty"`
}

// StorageSpec is the volume of each member.
//
// +kubebuilder:validation:XValidation:rule="quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",message="storage.size can only grow: volumes cannot be shrunk",fieldPath=".size"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || quantity(string(self.quota)).compareTo(quantity(string(self.size))) <= 0",message="storage.quota must not be more than storage.size, or the volume is full before the store is: raise storage.size, or lower storage.quota",fieldPath=".quota"
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="storage.storageClassName cannot be changed: create a new RaftCluster and copy the data"
type StorageSpec struct {
	// size of each member's volume, at least 256Mi. It can grow later if the storage class allows expansion.
	// +kubebuilder:default="8Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('256Mi')) >= 0",message="storage.size must be at least 256Mi"
	// +optional
	Size resource.Quantity `json:"size,omitzero"`

	// quota is how much the store of a member may take of its volume, from 16Mi to 1Ti and not more than size; past it puts are refused. A volume also
	// holds the log and, now and then, a second copy of the store. Left out, a quarter of the volume, at most 2Gi. A change restarts the members one by one.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('16Mi')) >= 0 && quantity(string(self)).compareTo(quantity('1Ti')) <= 0",message="storage.quota must be from 16Mi to 1Ti; leave it out for a quarter of the volume, at most 2Gi"
	// +optional
	Quota *resource.Quantity `json:"quota,omitempty"`

	// storageClassName of the volumes. Left out, the Kubernetes cluster's default class is used; empty, volumes without a class. It cannot be changed.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$')",message="storage.storageClassName must be the name of a StorageClass: lower-case letters, digits, '-' and '.', each part starting and ending with a letter or digit, such as fast-ssd; left out for the default class"
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`

	// retentionPolicy says what becomes of the volumes that are no longer used.
	// +kubebuilder:default={}
	// +optional
	RetentionPolicy RetentionPolicySpec `json:"retentionPolicy,omitzero"`
}

// RetentionPolicy is what becomes of volumes that are no longer used.
//
// +kubebuilder:validation:Enum=Retain;Delete
type RetentionPolicy string

const (
	// RetainVolumes keeps the volumes. Applying the RaftCluster again finds its data.
	RetainVolumes RetentionPolicy = "Retain"
	// DeleteVolumes deletes the volumes and the data in them.
	DeleteVolumes RetentionPolicy = "Delete"
)

// RetentionPolicySpec says what becomes of the volumes that are no longer used.
type RetentionPolicySpec struct {
	// whenDeleted applies when the RaftCluster is deleted.
	// +kubebuilder:default=Retain
	// +optional
	WhenDeleted RetentionPolicy `json:"whenDeleted,omitempty"`
	// whenScaled applies to the volumes of members that were removed because replicas was lowered.
	// +kubebuilder:default=Retain
	// +optional
	WhenScaled RetentionPolicy `json:"whenScaled,omitempty"`
}

// RaftSpec holds the timing and limits of the consensus protocol. A change restarts the members one by one.
//
// +kubebuilder:validation:XValidation:rule="!self.electionTimeout.matches('^([0-9]{1,5}ms|[0-9]{1,3}([.][0-9]{1,3})?s|[0-9]m([0-9]{1,2}([.][0-9]{1,3})?s)?)$') || !self.heartbeatInterval.matches('^([0-9]{1,5}ms|[0-9]{1,3}([.][0-9]{1,3})?s|[0-9]m([0-9]{1,2}([.][0-9]{1,3})?s)?)$') || duration(self.electionTimeout) >= duration(self.heartbeatInterval) + duration(self.heartbeatInterval) + duration(self.heartbeatInterval) + duration(self.heartbeatInterval) + duration(self.heartbeatInterval)",message="raft.electionTimeout must be at least 5 times raft.heartbeatInterval, so that a few lost heartbeats do not cost the leader its office"
type RaftSpec struct {
	// electionTimeout is how long a member hears nothing from the leader before it stands for election;
	// from 100ms to 60s, at least 5 times heartbeatInterval.
	// +kubebuilder:default="500ms"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}ms|[0-9]{1,3}([.][0-9]{1,3})?s|[0-9]m([0-9]{1,2}([.][0-9]{1,3})?s)?)$') && duration(self) >= duration('100ms') && duration(self) <= duration('60s')",message="raft.electionTimeout must be a duration from 100ms to 60s in whole milliseconds, such as 500ms or 1.5s"
	// +optional
	ElectionTimeout metav1.Duration `json:"electionTimeout,omitzero"`

	// heartbeatInterval is the time between two heartbeats of the leader; from 10ms to 10s.
	// +kubebuilder:default="50ms"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}ms|[0-9]{1,3}([.][0-9]{1,3})?s|[0-9]m([0-9]{1,2}([.][0-9]{1,3})?s)?)$') && duration(self) >= duration('10ms') && duration(self) <= duration('10s')",message="raft.heartbeatInterval must be a duration from 10ms to 10s in whole milliseconds, such as 50ms"
	// +optional
	HeartbeatInterval metav1.Duration `json:"heartbeatInterval,omitzero"`

	// snapshotEntries is the number of log entries after which a member takes a snapshot and shortens its log.
	// +kubebuilder:default=50000
	// +kubebuilder:validation:XValidation:rule="self >= 1000 && self <= 10000000",message="raft.snapshotEntries must be from 1000 to 10000000"
	// +optional
	SnapshotEntries int64 `json:"snapshotEntries,omitempty"`
}

// AutoCompactionMode is how the history that is kept is counted.
//
// +kubebuilder:validation:Enum=periodic;revision
type AutoCompactionMode string

const (
	// CompactByAge keeps the history of a time.
	CompactByAge AutoCompactionMode = "periodic"
	// CompactByRevision keeps that of a number of revisions.
	CompactByRevision AutoCompactionMode = "revision"
)

// AutoCompactionSpec says how much history the members keep.
//
// +kubebuilder:validation:XValidation:rule="self.mode == 'revision' ? self.retention.matches('^[0-9]{1,18}$') : self.retention.matches('^[0-9]{1,5}$') ? int(self.retention) <= 87600 : self.retention.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && self.retention.size() > 0 && duration(self.retention) <= duration('87600h')",message="autoCompaction.retention must be a number of revisions in mode revision, such as 100000, and in mode periodic a number of hours or a duration in whole seconds up to 87600h, such as 30m; 0 keeps all history",fieldPath=".retention"
type AutoCompactionSpec struct {
	// mode is periodic, by time, or revision, by the number of revisions.
	// +required
	Mode AutoCompactionMode `json:"mode"`
	// retention is what is kept: in mode periodic a number of hours or a duration such as 30m, in mode revision a number of revisions. 0 keeps all: then
	// clients have to compact, as kube-apiserver does, or the store fills up.
	// +required
	// +kubebuilder:validation:MaxLength=32
	Retention string `json:"retention"`
}

// PodTemplateSpec is merged into the members' pods.
type PodTemplateSpec struct {
	// labels are added to the pods. The operator's own labels cannot be set.
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('raftkv.io/') && !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by']))",message="podTemplate.labels must not set raftkv.io/* or app.kubernetes.io/name, instance, component or managed-by: the operator finds its pods by them"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are added to the pods.
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('raftkv.io/'))",message="podTemplate.annotations must not set raftkv.io/*: these are the operator's"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// nodeSelector restricts the pods to nodes with these labels.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the pods.
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// affinity of the pods. Left out, members prefer nodes without another member of the same cluster.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// topologySpreadConstraints of the pods; a constraint without a labelSelector counts the cluster's members.
	// Left out, members are spread over zones where possible.
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// priorityClassName of the pods.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$')",message="podTemplate.priorityClassName must be the name of a PriorityClass: lower-case letters, digits, '-' and '.', each part starting and ending with a letter or digit"
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// UpdateStrategySpec says how changes reach running pods.
type UpdateStrategySpec struct {
	// paused holds back changes of image, storage.quota, raft, autoCompaction, resources and podTemplate, also for pods that die meanwhile.
	// Members are still added, removed and replaced.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// progressDeadline is how long a pod may take to become ready on a new template; from 10s to 24h. After it no further pod gets that
	// template, and the condition Stalled says so.
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && self.size() > 0 && duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="updateStrategy.progressDeadline must be a duration from 10s to 24h in whole seconds, such as 10m"
	// +optional
	ProgressDeadline metav1.Duration `json:"progressDeadline,omitzero"`
}
