package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/raftkv/raftkv/kv"
)

const (
	// unstable is how many changes of leader within unstableTime, of which nobody asked for, are too many.
	unstable     = 4
	unstableTime = 10 * time.Minute
	// maxEntriesBehind is from how many entries on a member that is active counts as behind. The leader's own threshold for promotions is near it.
	maxEntriesBehind = 1000
)

// members looks at the group through the leader's eyes.
func (p *patient) members() {
	if p.leader == nil {
		return
	}
	for _, m := range p.leader.Members {
		behind := uint64(0)
		if p.leader.Commit > m.Match {
			behind = uint64(p.leader.Commit - m.Match)
		}
		subject := fmt.Sprintf("member %s (%s)", m.Name, m.ID)
		switch {
		case m.ID == p.leader.MemberID:
		case !m.Active:
			p.add(Warning, subject, fmt.Sprintf("the leader %s does not hear from it", p.leader.Name),
				"see what is said of its pod; if that is well, see whether the two reach each other's peer port (2380)",
				"if its machine or volume is gone for good: "+p.raftctl("replace %s --delete-volume", m.Name))
		case m.Learner:
			p.add(Remark, subject, fmt.Sprintf("is a learner, %d entries behind: it votes once it has caught up", behind))
		case !m.CaughtUp && behind > maxEntriesBehind:
			p.add(Warning, subject, fmt.Sprintf("is %d entries behind the leader", behind),
				"wait while that number falls; if it grows, its disk or its processor is too slow for what is written: compare raftkv_wal_sync_duration_seconds of the members")
		}
	}
	versions := map[string][]string{}
	var order []string
	for i := range p.Pods {
		if n := p.Pods[i].Node; n != nil {
			if versions[n.Version] == nil {
				order = append(order, n.Version)
			}
			versions[n.Version] = append(versions[n.Version], p.Pods[i].Name)
		}
	}
	if len(order) > 1 {
		var texts []string
		for _, v := range order {
			texts = append(texts, fmt.Sprintf("%s (%s)", v, strings.Join(versions[v], ", ")))
		}
		p.add(Remark, p.name, "the members run different versions: "+strings.Join(texts, "; "))
	}
}

// alarms are told by every member; the leader's word counts most.
func (p *patient) alarms() {
	said := p.leader
	for i := range p.Pods {
		if said == nil {
			said = p.Pods[i].Node
		}
	}
	if said == nil {
		return
	}
	for _, a := range said.Alarms {
		subject := p.name
		for _, m := range said.Members {
			if m.ID == a.Member {
				subject = fmt.Sprintf("member %s (%s)", m.Name, m.ID)
			}
		}
		switch a.Type {
		case kv.AlarmNoSpace.String():
			p.add(Critical, subject, "the store is as large as it may be: puts are refused, deletions and compaction go through",
				"delete what is not needed, give up old history, and give the space back: "+p.raftctl("compact REVISION --cluster %s", p.name)+", then "+p.raftctl("defrag --cluster %s", p.name),
				"the alarm clears by itself once there is room")
		case kv.AlarmCorrupt.String():
			p.add(Critical, subject, "its state differs from the others'",
				"save a snapshot of a member that agrees with the others: "+p.saveSnapshot("MEMBER"),
				"see who differs: "+p.raftctl("hash --cluster %s", p.name)+", then "+p.raftctl("replace MEMBER --delete-volume")+" for the one")
		default:
			p.add(Warning, subject, "the alarm "+a.Type+" is up", p.raftctl("alarm list --cluster %s", p.name))
		}
	}
}

// stability counts changes of leader that the operator did not bring about itself.
func (p *patient) stability() {
	changes := 0
	for _, e := range p.Events {
		if p.Now.Sub(e.At) >= unstableTime {
			continue
		}
		switch e.Reason {
		case "LeaderElected":
			changes += int(e.Count)
		case "LeadershipTransferred", "Bootstrapped", "DataAdopted", "Hibernated":
			changes -= int(e.Count)
		}
	}
	if changes >= unstable {
		p.add(Warning, p.name, fmt.Sprintf("%d changes of leader within %s that the operator did not ask for", changes, p.ago(p.Now.Add(-unstableTime))),
			"look for what keeps leaders from their work: a slow disk (raftkv_wal_sync_duration_seconds), throttled processors (spec.resources.limits.cpu), a network that loses packets",
			"if the network is slow by nature, raise spec.raft.electionTimeout and heartbeatInterval")
	}
}
