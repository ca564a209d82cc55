package plan

import (
	"fmt"

	"github.com/raftkv/raftkv/raft"
)

// What people and clocks do to a cluster beside what machines do: a RaftCluster that is deleted and applied again over its kept claims, an operator that is away
// for long or whose clock leaps, a consent to a recovery that nobody asked for, a machine that is lost with the volume on it.

// applyAnew deletes the RaftCluster and applies it again: with its objects goes all that its status had on record, and the claims are kept. Sometimes its pods are
// left, as kubectl delete --cascade=orphan does.
func (w *world) applyAnew() {
	if w.op.turn != nil || w.recordID == 0 || !w.steady() {
		return
	}
	w.reapply(1 + w.rnd.IntN(7))
	orphans := w.chance(30)
	for i := range mostPods {
		if p := w.pods[i]; p != nil && !p.lost && !orphans {
			w.end(i)
		}
	}
	w.say("the RaftCluster is deleted and applied again with %d replicas, its pods are left: %v", w.desired, orphans)
}

// reapply is what applyAnew does to all but the pods.
func (w *world) reapply(desired int) {
	w.stats["applied-anew"]++
	w.recordID, w.bootstrap, w.recovery, w.rebuild = 0, nil, nil, nil
	w.asleep, w.hibernate, w.membersKnown = 0, false, false
	w.good, w.keptBack, w.keptFailed, w.failed = "", 0, 0, 0
	w.op.old = nil
	w.op.forget()
	w.desired = desired
	w.absent = true
	w.specVersion++
	w.setVersion++
}

// leap sets the operator's clock forward or back.
func (w *world) leap() {
	w.stats["leap"]++
	w.skew = w.rnd.IntN(20*lateTicks) - 10*lateTicks
	w.say("fault: the operator's clock goes %d ticks before the others", w.skew)
}

// clock is what the operator's clock says.
func (w *world) clock() int { return w.g.now + w.skew }

// away ends the operator; none takes its place for a while.
func (op *operator) away() {
	w := op.w
	w.stats["operator-away"]++
	op.turn = nil
	op.forget()
	op.sleep = w.rnd.IntN(3 * lateTicks)
	w.say("fault: no operator for %d ticks", op.sleep)
}

// consent allows a recovery without need, of this cluster or another one, or takes the consent back.
func (w *world) consent() {
	w.stats["consent"]++
	if w.rebuild = nil; w.chance(70) {
		w.rebuild = &Rebuild{ClusterID: w.recordID, StartEmpty: w.chance(50)}
	}
	if w.rebuild != nil && (w.recordID == 0 || w.chance(20)) {
		w.rebuild.ClusterID = raft.ClusterID(w.rnd.Uint64() | 1)
	}
	w.say("spec: recovery %+v, which nobody asked for", w.rebuild)
	w.specVersion++
}

// loseMachine loses the machine of a pod with the volume on it: the pod ends by force, and no other one of its name runs.
func (w *world) loseMachine(i int) {
	p := w.pods[i]
	if p == nil || p.lost || !w.spare(i) {
		return
	}
	w.say("fault: the machine of pod %d is lost with its volume", i)
	w.stats["machine-and-volume"]++
	w.claims[i].damaged = true
	w.crash(i)
	p.lost, p.endsAt = true, w.g.now+1
}

// noticeReadiness keeps for each pod since when it has not been ready, as its condition says it: a container that begins anew does not change that.
func (w *world) noticeReadiness(i int) {
	p := w.pods[i]
	if p == nil {
		return
	}
	proc := w.g.procs[i]
	ready := p.running && !p.hidden && !p.failing && proc != nil && w.g.status(proc).Ready
	switch {
	case ready:
		p.unreadySince = 0
	case p.unreadySince == 0:
		p.unreadySince = w.g.now
	}
	// Where nobody leads for a moment, one that was away is not back for that: nobody has reached it.
	l := w.g.leader()
	switch reached := p.running && w.g.swift(i) && (l == nil && p.awaySince == 0 || l != nil && w.g.swift(l.ordinal)); {
	case reached && p.awaySince != 0:
		p.awaySince, p.backAt = 0, w.g.now
	case reached:
	case p.awaySince == 0:
		p.awaySince = w.g.now
	}
}

// unreadyFor is for how long the pod has not been ready by the operator's clock.
func (w *world) unreadyFor(p *simPod) int {
	if p.unreadySince == 0 {
		return 0
	}
	return w.clock() - p.unreadySince
}

// listen remembers since when nobody hears a pod, neither the leader nor the operator. While no leader answers nobody counts as silent: a cluster that was away as a
// whole comes back member by member.
func (op *operator) listen(o *Observation) {
	silent, mute := map[string]int{}, map[string]int{}
	keep := func(into, before map[string]int, uid string) {
		into[uid] = op.w.g.now
		if since, ok := before[uid]; ok {
			into[uid] = since
		}
	}
	v := viewOf(o)
	led := v != nil
	for i := range o.Pods {
		p := &o.Pods[i]
		led = led || p.member(o.ClusterID) && p.Node.Leader != 0
		if p.Node != nil {
			continue
		}
		keep(mute, op.mute, p.UID)
		if v != nil && len(v.of(p.Name)) > 0 && !v.hears(p.Name) {
			keep(silent, op.silent, p.UID)
		}
	}
	op.silent, op.mute = silent, mute
	switch {
	case led, o.ClusterID == 0:
		op.unled = 0
	case op.unled == 0:
		op.unled = op.w.g.now
	}
}

// forget is the end of the operator: the next one has seen nothing yet.
func (op *operator) forget() { op.silent, op.mute, op.unled = nil, nil, 0 }

// watched is for how long something has been so before this operator's eyes, by a clock that does not leap.
func (op *operator) watched(of map[string]int, uid string) int {
	since, ok := of[uid]
	if !ok {
		return 0
	}
	return op.w.g.now - since
}

// adopted checks that the cluster whose ID goes on record is not one that another one has taken the place of.
func (w *world) adopted(id raft.ClusterID) {
	if all, intact, _ := w.g.voters(w.claims); id != w.cluster && intact >= quorum(all) {
		w.fail("cluster %s is adopted although %d of the %d voters of cluster %s have their data", id, intact, all, w.cluster)
	}
}

// data are the ordinals whose directories hold anything, for a failure's text.
func (w *world) data() string {
	text := ""
	for i := range mostPods {
		if d := w.claims[i]; d != nil {
			text += fmt.Sprintf(" %d: cluster %s, index %d, damaged %v;", i, d.cluster, d.applied.Index, d.damaged)
		}
	}
	return text
}
