package doctor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// seat is a member as its leader, another member, or else the status names it.
type seat struct {
	name, id string
	voter    bool
}

// seats are the members, by the best word that there is, and whether there is any.
func (p *patient) seats() []seat {
	said := p.leader
	for i := range p.Pods {
		n := p.Pods[i].Node
		if n != nil && n.State == admin.StateMember && (said == nil || (p.leader == nil && n.ConfigIndex > said.ConfigIndex)) {
			said = n
		}
	}
	var out []seat
	if said != nil {
		for _, m := range said.Members {
			out = append(out, seat{m.Name, m.ID.String(), !m.Learner})
		}
		return out
	}
	for _, m := range p.Cluster.Status.Members {
		out = append(out, seat{m.Name, m.ID, m.Role != resources.RoleLearner})
	}
	return out
}

// quorum says why nobody leads.
func (p *patient) quorum() {
	if p.leader != nil || p.Cluster.Status.ClusterID == "" {
		return
	}
	voters, answering, gone := 0, 0, 0
	var missed []string
	for _, s := range p.seats() {
		if !s.voter {
			continue
		}
		voters++
		pod := p.Pod(s.name)
		if pod != nil && pod.Lost(s.id) || (pod == nil || pod.Node == nil) && p.volumeless(s.name) {
			gone++
		}
		switch {
		case pod == nil:
			missed = append(missed, s.name+" (no pod)")
		case pod.Node == nil:
			missed = append(missed, s.name+" ("+pod.NodeError+")")
		case pod.Lost(s.id):
			missed = append(missed, s.name+" (its data is gone: the node is "+string(pod.Node.State)+")")
		case pod.Node.MemberID.String() != s.id:
			missed = append(missed, s.name+" (the node is "+string(pod.Node.State)+")")
		default:
			answering++
		}
	}
	switch need := voters/2 + 1; {
	case voters == 0:
		p.add(Critical, p.name, "no member answers, and none is on record")
	case answering < need:
		advice := []string{"bring the missed members back, as said of each below; the cluster goes on by itself once enough of them answer"}
		if voters-gone < need {
			advice = p.undecided()
		}
		p.add(Critical, p.name, fmt.Sprintf("no quorum: %d of %d voters answer, %d are needed. Writes and linearizable reads are refused. Missed: %s", answering, voters, need, strings.Join(missed, ", ")),
			append(advice, "what the members that are left know can still be read, perhaps stale: "+p.raftctl("get KEY --serializable --cluster %s", p.name),
				"keep a copy of it before anything else is given up: "+p.saveSnapshot(p.mostApplied()))...)
	default:
		p.add(Critical, p.name, fmt.Sprintf("no leader, although %d of %d voters answer: an election takes about a second", answering, voters),
			"look again in a few seconds; if it stays so, see whether the members reach each other's peer port (2380): NetworkPolicies, DNS names of the Service "+resources.PeerServiceName(p.name),
			"read what the members say of elections: "+p.raftctl("logs %s --since 5m", p.name))
	}
}

// mostApplied is the member that has applied most of those that answer, empty if none does.
func (p *patient) mostApplied() string {
	name, most := "", raft.Index(0)
	for i := range p.Pods {
		if n := p.Pods[i].Node; n != nil && n.State == admin.StateMember && (name == "" || n.Applied > most) {
			name, most = p.Pods[i].Name, n.Applied
		}
	}
	return name
}

// volumeless tells that the member's claim is no more, has lost its volume, or is a new one that never had any, as far as claims could be read. What still runs has its
// directory open, whatever became of the claim.
func (p *patient) volumeless(member string) bool {
	ordinal, ours := resources.Ordinal(p.name, member)
	if pod := p.Pod(member); !ours || len(p.Claims) == 0 || pod != nil && cluster.Running(&pod.Pod) {
		return false
	}
	c := p.Claim(ordinal)
	return c == nil || c.Spec.VolumeName == "" || c.Status.Phase == corev1.ClaimLost
}

// ordinals is how many the pods and members have, and claims that may hold members which only others know.
func (p *patient) ordinals() int {
	n := p.Desired()
	for i := range p.Pods {
		n = max(n, p.Pods[i].Ordinal+1)
	}
	for _, s := range p.seats() {
		if ordinal, ours := resources.Ordinal(p.name, s.name); ours {
			n = max(n, ordinal+1)
		}
	}
	for ordinal := range raft.MaxVoters {
		if c := p.Claim(ordinal); c != nil && c.Spec.VolumeName != "" {
			n = max(n, ordinal+1)
		}
	}
	return n
}

// undecided is advice where so many voters have lost their data that those who answer elect no leader. Whoever is silent may know of later members, of which a quorum
// is left, so that the quorum is called lost for good only once all have answered, or were given up.
func (p *patient) undecided() []string {
	var names, claims []string
	for ordinal := range p.ordinals() {
		c := p.Claim(ordinal)
		if c == nil || c.Spec.VolumeName == "" || c.Status.Phase == corev1.ClaimLost {
			continue // there is nothing on it
		}
		pod := resources.PodName(p.name, ordinal)
		if at := p.Pod(pod); at != nil && at.Node != nil && at.Node.State != admin.StateOpening {
			continue
		}
		names, claims = append(names, pod), append(claims, c.Name)
	}
	if len(names) == 0 {
		return []string{"bring back volumes that were lost, if that is possible; what else can be done the operator says, once it has heard all that are left"}
	}
	return []string{
		fmt.Sprintf("too many have lost their data for those that answer to elect a leader; %s may know of later members, of which enough are left: bring back what keeps them from answering, as said of each below", strings.Join(names, ", ")),
		"only of one that will never come back, since its machine or volume is gone for good, delete the claim and then the pod (with --force if its machine is gone), which gives up what it holds: " +
			p.kubectl("delete pvc %s --wait=false", claims[0]) + " and " + p.kubectl("delete pod %s", names[0]),
		"once all of them have answered or are given up, the operator goes on by itself, or says that the quorum is lost for good and what to decide",
	}
}
