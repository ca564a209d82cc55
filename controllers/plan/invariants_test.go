package plan

import (
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// What the operator promises of single steps, held against what is so and against the bare answers of the nodes, not against what Plan makes of them.

// oneByOne checks the restart of a pod whose member is well: it does not lead others, and all other voters run, are reached, and have what had been acknowledged when
// their leader was asked of them.
func (w *world) oneByOne(t *turn, i int) {
	pod, proc, leader := t.o.pod(i), w.g.procs[i], w.g.leader()
	if pod == nil || pod.Node == nil || pod.Node.ClusterID != w.recordID || proc == nil || leader == nil || w.disturbed(t) {
		return
	}
	voters := w.g.newest.Voters()
	if leader == proc && leads(pod) && len(voters) > 1 {
		w.fail("%s was restarted while it leads %d voters; it was decided on %s", pod.Name, len(voters), seen(t.o))
	}
	if !pod.Ready || !praised(t.o, proc.dir.id) {
		return // those that are ill go first
	}
	w.othersWell(t, i, mostPods, pod.Name+" was restarted")
}

// othersWell checks that all voters with an ordinal below a limit, but for one, are well when something is done to that one.
func (w *world) othersWell(t *turn, i, below int, what string) {
	if w.disturbed(t) {
		return
	}
	for _, id := range w.g.newest.Voters() {
		m, _ := w.g.newest.Find(id)
		k, _ := resources.Ordinal("demo", m.Name)
		p, d := w.pods[k], w.claims[k]
		switch {
		case k == i || k >= below:
		case p == nil, !p.running, p.endsAt != 0, w.g.cut[k], d == nil, d.incarnation != m.Incarnation:
			w.fail("%s while %s, a voter, is not well; it was decided on %s", what, m.Name, seen(t.o))
		case d.last() < w.promisedBefore(t.began):
			w.fail("%s while %s, a voter, has only %d entries of %d; it was decided on %s", what, m.Name, d.last(), w.promisedBefore(t.began), seen(t.o))
		}
	}
}

// leads tells that the pod's node said that it leads.
func leads(p *Pod) bool { return p.Node != nil && p.Node.Role == raft.RoleLeader.String() }

// praised tells that a leader calls the voter well, as it was seen.
func praised(o *Observation, id raft.NodeID) bool {
	for i := range o.Pods {
		if !leads(&o.Pods[i]) {
			continue
		}
		for _, m := range o.Pods[i].Node.Members {
			if m.ID == id && !m.Learner && (o.Pods[i].Node.MemberID == id || m.Active && m.CaughtUp) {
				return true
			}
		}
	}
	return false
}

// promisedBefore is the last entry that was acknowledged so long before that time that no member which is called caught up lacks it.
func (w *world) promisedBefore(at int) raft.Index {
	if at -= 3 * electionTicks; at < 0 || w.g.newest.Index > w.promised[at] {
		return 0 // the members of another cluster, or other members, promised it
	}
	return w.promised[at]
}

// last is the index of the last entry that the directory has.
func (d *directory) last() raft.Index {
	return max(d.applied.Index, d.start.Index+raft.Index(len(d.entries)))
}

// added checks a learner that the leader took: no directory speaks for two members.
func (w *world) added(m raft.Member) {
	for i := range mostPods {
		if d := w.claims[i]; d != nil && d.incarnation == m.Incarnation && d.id != 0 {
			w.fail("%s is added with the directory of member %s", m.Name, d.id)
		}
	}
}

// candid checks that nobody is told that nothing is left to do while something is.
func (w *world) candid(o *Observation, d Decision) {
	if d.Step != nil || d.Waiting != nil || d.Stalled != nil || d.Adopt != 0 || d.ForgetRecovery {
		return
	}
	if d.Hibernated {
		if len(o.Pods) > 0 || !o.Hibernate {
			w.fail("the cluster is said to rest: %s", seen(o))
		}
		return
	}
	ok := o.Workload != nil && o.Workload.Replicas == o.Desired && len(o.Pods) == o.Desired && !o.Hibernate
	led := false
	for i := range o.Pods {
		p := &o.Pods[i]
		led = led || leads(p)
		ok = ok && p.Ready && !p.Terminating && praised(o, p.Node.MemberID) && (o.Paused || p.Revision == o.Workload.Revision)
	}
	if !ok || !led {
		w.fail("nothing is said to be left to do: %d replicas are asked for, hibernation: %v; %s", o.Desired, o.Hibernate, seen(o))
	}
}

// sincere checks what is said of leaders and quorums: clients are sent to nobody who leads an older term than another one, and no person is asked to give up what
// a quorum of voters may still come back with.
func (w *world) sincere(o *Observation, d Decision) {
	for i := range o.Pods {
		for k := range o.Pods {
			p, x := &o.Pods[i], &o.Pods[k]
			if d.Roles[p.Name] == resources.RoleLeader && leads(p) && leads(x) && x.Node.ClusterID == o.ClusterID && x.Node.Term > p.Node.Term {
				w.fail("%s is called the leader although %s leads a newer term: %s", p.Name, x.Name, seen(o))
			}
		}
	}
	if d.Stalled == nil || d.Stalled.Reason != ReasonQuorumLost || o.ClusterID != w.cluster || w.changing() {
		return
	}
	voters := w.g.newest.Voters()
	kept := 0
	for _, x := range w.claims {
		if m, ok := w.g.newest.FindIncarnation(x.incarnation); ok && !m.Learner {
			kept++
		}
	}
	if kept >= quorum(len(voters)) {
		w.fail("the quorum is said to be lost for good although %d of %d voters have their volumes: %s; %s", kept, len(voters), d.Stalled.Message, seen(o))
	}
}
