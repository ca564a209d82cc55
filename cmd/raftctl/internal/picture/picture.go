package picture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/raftkv/raftkv/api/v1"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/server/admin"
)

// MaxEvents is how many of the last events a picture shows.
const MaxEvents = 10

// Picture is what is shown of a cluster.
type Picture struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	ClusterID string `json:"clusterID,omitempty"`
	Version   string `json:"version,omitempty"`
	Image     string `json:"image,omitempty"`
	// Generation is that of the spec, Observed the one that the operator's words are about.
	Generation int64 `json:"generation"`
	Observed   int64 `json:"observedGeneration"`
	Desired    int   `json:"desired"`
	ReadyPods  int   `json:"readyPods"`
	// Leader is the member that says itself that it leads; empty if none does.
	Leader string `json:"leader,omitempty"`
	Term   uint64 `json:"term,string,omitempty"`
	Commit uint64 `json:"commitIndex,string,omitempty"`
	// Members are members of the group and pods that are not, in the order of their ordinals.
	Members    []Member    `json:"members"`
	Conditions []Condition `json:"conditions"`
	// Waits says what the operator does or waits for, and why; empty if there is nothing.
	Waits  string  `json:"operator,omitempty"`
	Events []Event `json:"events"`
	// Unknown says what could not be found out.
	Unknown []string `json:"unknown,omitempty"`
}

// Member is one row.
type Member struct {
	Name string `json:"name"`
	// ID is empty for a pod that is no member.
	ID string `json:"id,omitempty"`
	// Role is the member's own word, or the status' in brackets.
	Role string `json:"role,omitempty"`
	// State says how the member does, in a few words.
	State string `json:"state"`
	// Lag is how many entries that are committed are not on the member's disk, as far as the leader knows; nil without a leader.
	Lag     *uint64 `json:"lag,omitempty"`
	Applied uint64  `json:"appliedIndex,string,omitempty"`
	Version string  `json:"version,omitempty"`
	Volume  string  `json:"volume,omitempty"`
	Machine string  `json:"machine,omitempty"`
	// Restarts are those of the pod's container.
	Restarts int32 `json:"restarts"`
}

// Condition is one of the operator's.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Since   string `json:"since"`
}

// Event is something that happened.
type Event struct {
	Age     string `json:"age"`
	Type    string `json:"type"`
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Count   int32  `json:"count"`
}

// Of makes the picture of an observation.
func Of(o *cluster.Observation, now time.Time) Picture {
	c := o.Cluster
	p := Picture{
		Name: c.Name, Namespace: c.Namespace, ClusterID: c.Status.ClusterID, Version: c.Status.Version, Image: c.Status.Image,
		Generation: c.Generation, Observed: c.Status.ObservedGeneration, Desired: o.Desired(), Unknown: o.Unknown, Conditions: []Condition{}, Events: []Event{},
	}
	for i := range o.Pods {
		if cluster.IsReady(&o.Pods[i].Pod) {
			p.ReadyPods++
		}
	}
	if l := o.Leader(); l != nil {
		p.Leader, p.Term, p.Commit = l.Name, uint64(l.Term), uint64(l.Commit)
	}
	p.Members = members(o)
	for _, k := range c.Status.Conditions {
		p.Conditions = append(p.Conditions, Condition{k.Type, string(k.Status), k.Reason, k.Message, age(now, k.LastTransitionTime.Time)})
	}
	p.Waits = waits(c)
	for _, e := range o.Events[max(0, len(o.Events)-MaxEvents):] {
		p.Events = append(p.Events, Event{age(now, e.At), e.Type, e.Object, e.Reason, strings.Join(strings.Fields(e.Message), " "), e.Count})
	}
	return p
}

// waits is the operator's word on what it does or needs.
func waits(c *v1.RaftCluster) string {
	for _, t := range []string{v1.ConditionStalled, v1.ConditionReconciling} {
		if k := meta.FindStatusCondition(c.Status.Conditions, t); k != nil && k.Status == metav1.ConditionTrue {
			if t == v1.ConditionStalled {
				return "The operator waits for a person: " + k.Message + " (" + k.Reason + ")"
			}
			return "The operator works or waits: " + k.Message + " (" + k.Reason + ")"
		}
	}
	switch {
	case len(c.Status.Conditions) == 0:
		return "The operator has not said anything of this cluster yet"
	case c.Status.ObservedGeneration < c.Generation:
		return "The operator has yet to see the latest change"
	}
	return ""
}

// members joins the leader's list, or else the status', with pods and claims.
func members(o *cluster.Observation) []Member {
	var out []Member
	seen := map[string]bool{}
	if l := o.Leader(); l != nil {
		for _, m := range l.Members {
			out = append(out, fromLeader(o, l, m))
			seen[m.Name] = true
		}
	} else {
		for _, m := range o.Cluster.Status.Members {
			row := row(o, m.Name)
			row.ID, row.Role = m.ID, "("+m.Role+")"
			if n := o.Pod(m.Name); n != nil && n.Node != nil && n.Node.MemberID.String() == m.ID && n.Node.Role != "" {
				row.Role = n.Node.Role
			}
			out = append(out, row)
			seen[m.Name] = true
		}
	}
	for i := range o.Pods {
		if !seen[o.Pods[i].Name] {
			out = append(out, row(o, o.Pods[i].Name))
		}
	}
	slices.SortStableFunc(out, func(a, b Member) int {
		x, xOurs := resources.Ordinal(o.Cluster.Name, a.Name)
		y, yOurs := resources.Ordinal(o.Cluster.Name, b.Name)
		if xOurs != yOurs {
			return strings.Compare(a.Name, b.Name)
		}
		return x - y
	})
	return out
}

func fromLeader(o *cluster.Observation, l *admin.Status, m admin.MemberStatus) Member {
	row := row(o, m.Name)
	row.ID, row.Role = m.ID.String(), resources.RoleFollower
	lag := uint64(0)
	switch pod := o.Pod(m.Name); {
	case m.ID == l.MemberID:
		row.Role = resources.RoleLeader
	case m.Learner:
		row.Role = resources.RoleLearner
	case pod != nil && pod.Lost(m.ID.String()):
		row.State = "its data is gone: the node is " + string(pod.Node.State)
		if pod.Node.State == admin.StateMember {
			row.State = "its data is gone: the node is member " + pod.Node.MemberID.String()
		}
	case !m.Active && row.State == "ready":
		row.State = "not heard of by the leader"
	}
	if m.ID != l.MemberID && l.Commit > m.Match {
		lag = uint64(l.Commit - m.Match)
	}
	row.Lag = &lag
	return row
}

// row is what pod, node and claim of that name say.
func row(o *cluster.Observation, name string) Member {
	m := Member{Name: name, State: "no pod"}
	ordinal, ours := resources.Ordinal(o.Cluster.Name, name)
	if ours {
		m.Volume = volume(o, ordinal)
	}
	pod := o.Pod(name)
	if pod == nil {
		return m
	}
	m.Machine = pod.Spec.NodeName
	for _, c := range pod.Status.ContainerStatuses {
		m.Restarts += c.RestartCount
	}
	m.State = state(pod)
	if n := pod.Node; n != nil {
		m.Version, m.Applied = n.Version, uint64(n.Applied)
		if n.State != admin.StateMember {
			m.Role = string(n.State)
		}
	}
	return m
}

func state(pod *cluster.Pod) string {
	switch {
	case pod.DeletionTimestamp != nil:
		return "ending"
	case !cluster.Running(&pod.Pod):
		for _, c := range pod.Status.ContainerStatuses {
			if w := c.State.Waiting; w != nil && w.Reason != "" {
				return w.Reason
			}
		}
		return strings.ToLower(string(pod.Status.Phase))
	case pod.Node == nil:
		return "no answer"
	case !pod.Node.Ready:
		return "not ready: " + pod.Node.NotReady
	case !cluster.IsReady(&pod.Pod):
		return "starting"
	}
	return "ready"
}

func volume(o *cluster.Observation, ordinal int) string {
	c := o.Claim(ordinal)
	if c == nil {
		return "no claim"
	}
	if size, ok := c.Status.Capacity["storage"]; ok {
		return size.String() + " " + strings.ToLower(string(c.Status.Phase))
	}
	return strings.ToLower(string(c.Status.Phase))
}

// Draw writes the picture for people.
func (p Picture) Draw(r *output.Rows) {
	r.Text("%s in namespace %s: %d of %d pods ready%s", p.Name, p.Namespace, p.ReadyPods, p.Desired, orNothing(", version ", p.Version))
	if p.Leader != "" {
		r.Text("%s leads in term %d, committed up to %d%s", p.Leader, p.Term, p.Commit, orNothing("; cluster ID ", p.ClusterID))
	} else {
		r.Text("nobody leads%s", orNothing("; cluster ID ", p.ClusterID))
	}
	r.Text("")
	r.Row("MEMBER", "ID", "ROLE", "STATE", "LAG", "APPLIED", "VOLUME", "RESTARTS", "MACHINE")
	for _, m := range p.Members {
		lag, applied := "", ""
		if m.Lag != nil {
			lag = strconv.FormatUint(*m.Lag, 10)
		}
		if m.Applied != 0 {
			applied = strconv.FormatUint(m.Applied, 10)
		}
		r.Row(m.Name, m.ID, m.Role, m.State, lag, applied, m.Volume, m.Restarts, m.Machine)
	}
	r.Text("")
	r.Row("CONDITION", "STATUS", "FOR", "REASON", "MESSAGE")
	for _, c := range p.Conditions {
		r.Row(c.Type, c.Status, c.Since, c.Reason, c.Message)
	}
	r.Text("")
	if p.Waits == "" {
		r.Text("The operator waits for nothing")
	} else {
		r.Text("%s", p.Waits)
	}
	if len(p.Events) > 0 {
		r.Text("")
		r.Row("AGO", "EVENT", "OBJECT", "MESSAGE")
		for _, e := range p.Events {
			reason := e.Reason
			if e.Count > 1 {
				reason = fmt.Sprintf("%s (%d times)", reason, e.Count)
			}
			r.Row(e.Age, reason, e.Object, e.Message)
		}
	}
	for _, u := range p.Unknown {
		r.Text("Not found out: %s", u)
	}
}

func orNothing(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// age is a duration as kubectl writes it.
func age(now, then time.Time) string {
	if then.IsZero() {
		return "?"
	}
	switch d := now.Sub(then); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
