package doctor

import (
	"fmt"
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
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
	voters, answering := 0, 0
	var missed []string
	for _, s := range p.seats() {
		if !s.voter {
			continue
		}
		voters++
		pod := p.Pod(s.name)
		switch {
		case pod == nil:
			missed = append(missed, s.name+" (no pod)")
		case pod.Node == nil:
			missed = append(missed, s.name+" ("+pod.NodeError+")")
		case pod.Node.MemberID.String() != s.id:
			missed = append(missed, s.name+" (its data is gone: the node is "+string(pod.Node.State)+")")
		default:
			answering++
		}
	}
	switch need := voters/2 + 1; {
	case voters == 0:
		p.add(Critical, p.name, "no member answers, and none is on record")
	case answering < need:
		p.add(Critical, p.name, fmt.Sprintf("no quorum: %d of %d voters answer, %d are needed. Writes and linearizable reads are refused. Missed: %s", answering, voters, need, strings.Join(missed, ", ")),
			"bring the missed members back, as said of each below; the cluster goes on by itself once enough of them answer",
			"what the members that are left know can still be read, perhaps stale: "+p.raftctl("get KEY --serializable --cluster %s", p.name))
	default:
		p.add(Critical, p.name, fmt.Sprintf("no leader, although %d of %d voters answer: an election takes about a second", answering, voters),
			"look again in a few seconds; if it stays so, see whether the members reach each other's peer port (2380): NetworkPolicies, DNS names of the Service "+resources.PeerServiceName(p.name),
			"read what the members say of elections: "+p.raftctl("logs %s --since 5m", p.name))
	}
}
