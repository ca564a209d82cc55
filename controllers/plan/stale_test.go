package plan

// onStaleCaches is the first look of a reconcile. It takes the RaftCluster, the StatefulSet, pods and claims from caches, each of which may lag behind, alone or with
// others, and what nodes say from streams, or asks them. Only what can do no harm then may come of it: for all else the reconcile loop looks once more, at what is so. What
// it writes on the base of an old RaftCluster or StatefulSet, the API server refuses.
func (op *operator) onStaleCaches(now *turn) {
	w, old := op.w, op.old
	o := *now.o
	t := &turn{o: &o, began: now.began, spec: now.spec, set: now.set, starts: now.starts, lives: mostEffects}
	if w.chance(50) {
		was := old.o
		o.Desired, o.Paused, o.Hibernate, o.Asleep, o.Rebuild, o.Recovery = was.Desired, was.Paused, was.Hibernate, was.Asleep, was.Rebuild, was.Recovery
		o.ClusterID, o.Bootstrap, o.Good = was.ClusterID, was.Bootstrap, was.Good
		t.spec = old.spec
	}
	if w.chance(50) && old.o.Workload != nil && o.Workload != nil {
		o.Workload, t.set = old.o.Workload, old.set
	}
	if w.chance(50) {
		o.Claims = old.o.Claims
	}
	if w.chance(50) {
		o.Pods = old.o.Pods
	}
	o.Pods = append([]Pod(nil), o.Pods...)
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Node == nil || w.chance(70) {
			p.Node, p.Ready = nil, false
			op.ask(p)
		}
	}
	d := Plan(&o)
	if o.Workload == nil || op.wantsMore(t, d) {
		return
	}
	w.stats["stale"]++
	if d.Step != nil {
		w.say("on stale caches: %s", d.Step)
	}
	op.carryOut(t, d)
}

// wantsMore tells, as the reconcile loop does, that a decision is carried out only if a look at what is so leads to it.
func (op *operator) wantsMore(t *turn, d Decision) bool {
	w := op.w
	loosens := scalesIn(t.o, t.o.Workload.Replicas) && w.keeps
	return d.Step != nil && d.Step.Risky() || d.ForgetRecovery || d.Adopt != 0 || d.Awake || loosens
}
