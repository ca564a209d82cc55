package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/server/admin"
)

const (
	// nodeTimeout is how long a node may take to tell its status, unless half of the observation's own time says otherwise.
	nodeTimeout = 5 * time.Second
	// maxEvents bounds the events that are read of one object.
	maxEvents = 200
	// maxNodeStatusBytes bounds what a node may say of itself.
	maxNodeStatusBytes = 1 << 20
)

// Observation is a RaftCluster as it was found.
type Observation struct {
	Cluster *v1.RaftCluster
	// Pods and Claims are in the order of their ordinals, Events in that of time.
	Pods   []Pod
	Claims []corev1.PersistentVolumeClaim
	Events []Event
	// Unknown says what could not be found out, and why.
	Unknown []string
}

// Pod is one pod and what its node says.
type Pod struct {
	corev1.Pod
	Ordinal int
	// Node is nil if the node does not answer, for the reason NodeError.
	Node      *admin.Status
	NodeError string
}

// Event is something that happened to the cluster, a pod or a claim.
type Event struct {
	At                   time.Time
	Object               string // kind and name, such as Pod demo-1
	Type, Reason, Action string
	Message              string
	Count                int32
}

// Lost tells that the pod's node has another directory than the member of that ID had. One that is opening its directory, or makes it that of a new cluster, does not
// say yet whose it is: nobody is to take that for a loss.
func (p *Pod) Lost(member string) bool {
	n := p.Node
	return n != nil && n.State != admin.StateOpening && n.State != admin.StateRefounding && n.MemberID.String() != member
}

// Observe reads a cluster. An error means that the RaftCluster itself or its pods could not be read.
func (k *Kubernetes) Observe(ctx context.Context, name string) (*Observation, error) {
	c, err := k.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	o := &Observation{Cluster: c}
	pods, err := k.pods(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		if ordinal, ours := resources.Ordinal(name, p.Name); ours {
			o.Pods = append(o.Pods, Pod{Pod: p, Ordinal: ordinal})
		}
	}
	slices.SortFunc(o.Pods, func(a, b Pod) int { return cmp.Compare(a.Ordinal, b.Ordinal) })
	var asking sync.WaitGroup
	for i := range o.Pods {
		p := &o.Pods[i]
		if !Running(&p.Pod) {
			p.NodeError = "its container does not run"
			continue
		}
		asking.Go(func() {
			node, err := k.nodeStatus(ctx, p.Name)
			if err != nil {
				p.NodeError = err.Error()
			}
			p.Node = node
		})
	}
	k.claims(ctx, o)
	k.events(ctx, o)
	asking.Wait()
	return o, nil
}

func (k *Kubernetes) claims(ctx context.Context, o *Observation) {
	var l corev1.PersistentVolumeClaimList
	if err := k.api.list(ctx, k.Namespace, "persistentvolumeclaims", o.Cluster.Name, &l); err != nil {
		o.Unknown = append(o.Unknown, "the claims: "+err.Error())
		return
	}
	o.Claims = l.Items
	slices.SortFunc(o.Claims, func(a, b corev1.PersistentVolumeClaim) int { return cmp.Compare(a.Name, b.Name) })
}

func (k *Kubernetes) events(ctx context.Context, o *Observation) {
	type object struct{ kind, name string }
	objects := []object{{v1.RaftClusterKind, o.Cluster.Name}, {"StatefulSet", resources.StatefulSetName(o.Cluster.Name)}}
	for i := range o.Pods {
		objects = append(objects, object{"Pod", o.Pods[i].Name})
	}
	for i := range o.Claims {
		objects = append(objects, object{"PersistentVolumeClaim", o.Claims[i].Name})
	}
	for _, of := range objects {
		events, err := k.api.events(ctx, k.Namespace, of.kind, of.name)
		if err != nil {
			o.Unknown = append(o.Unknown, "the events: "+err.Error())
			return
		}
		for i := range events {
			o.Events = append(o.Events, event(&events[i]))
		}
	}
	slices.SortStableFunc(o.Events, func(a, b Event) int { return a.At.Compare(b.At) })
}

func event(e *corev1.Event) Event {
	out := Event{
		At: e.CreationTimestamp.Time, Object: e.InvolvedObject.Kind + " " + e.InvolvedObject.Name, Type: e.Type, Reason: e.Reason, Action: e.Action,
		Message: e.Message, Count: max(e.Count, 1),
	}
	// Recorders differ in which of the fields they fill in.
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		out.At, out.Count = e.Series.LastObservedTime.Time, e.Series.Count
	case !e.LastTimestamp.IsZero():
		out.At = e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		out.At = e.EventTime.Time
	}
	return out
}

// nodeStatus asks the node's metrics port, through the API server.
func (k *Kubernetes) nodeStatus(ctx context.Context, pod string) (*admin.Status, error) {
	limit := nodeTimeout
	if d, ok := ctx.Deadline(); ok {
		limit = time.Until(d) / 2
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return k.dialer.Dial(ctx, k.Namespace, pod, resources.MetricsPort)
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/v1/status", nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("its node does not answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its node answers %s", response.Status)
	}
	s := new(admin.Status)
	if err := json.NewDecoder(http.MaxBytesReader(nil, response.Body, maxNodeStatusBytes)).Decode(s); err != nil {
		return nil, fmt.Errorf("its node's status cannot be read: %w", err)
	}
	return s, nil
}

// Running tells whether the pod's container runs.
func Running(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil {
			return true
		}
	}
	return false
}

// Leader is what the leader's node says; nil if no node that answers leads. Of two that claim it, the one of the higher term does.
func (o *Observation) Leader() *admin.Status {
	var leader *admin.Status
	for i := range o.Pods {
		if n := o.Pods[i].Node; n != nil && n.Role == resources.RoleLeader && (leader == nil || n.Term > leader.Term) {
			leader = n
		}
	}
	return leader
}

// Pod returns the pod of that name.
func (o *Observation) Pod(name string) *Pod {
	for i := range o.Pods {
		if o.Pods[i].Name == name {
			return &o.Pods[i]
		}
	}
	return nil
}

// Claim returns the claim of that ordinal.
func (o *Observation) Claim(ordinal int) *corev1.PersistentVolumeClaim {
	for i := range o.Claims {
		if o.Claims[i].Name == resources.ClaimName(o.Cluster.Name, ordinal) {
			return &o.Claims[i]
		}
	}
	return nil
}

// Desired is the number of members that the spec asks for.
func (o *Observation) Desired() int { return Desired(o.Cluster) }

// Desired is the number of members that the spec of a RaftCluster asks for.
func Desired(c *v1.RaftCluster) int {
	if c.Spec.Replicas == nil {
		return defaultReplicas
	}
	return int(*c.Spec.Replicas)
}

// defaultReplicas is the CRD's default.
const defaultReplicas = 3
