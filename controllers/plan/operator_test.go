package plan

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// operator runs Plan as the reconcile loop does: it looks at objects, asks node after node, decides, and acts a while later
// on what may not be so any more. It may be killed between any two of these, before or after the effect.
type operator struct {
	w     *world
	turn  *turn
	sleep int
	// old is a look of a while ago, as caches that lag behind show it.
	old  *turn
	last Decision
	// silent is since when nobody has heard pods, by their UIDs, mute since when their nodes have not answered, and unled since when nobody has led, zero while somebody
	// does. All of it is lost with the operator.
	silent, mute map[string]int
	unled        int
}

// turn is one reconcile under way.
type turn struct {
	o *Observation
	// asks is when each pod's node is asked, by ordinal.
	asks     map[int]int
	decideAt int
	actAt    int
	decision *Decision
	began    int
	spec     int
	set      int
	// starts is the version of each pod that was seen, by ordinal.
	starts map[int]int
	// lives is the number of effects after which the operator dies in this turn.
	lives int
}

func (op *operator) tick() {
	w := op.w
	if op.turn == nil {
		if op.sleep--; op.sleep > 0 {
			return
		}
		op.begin()
	}
	t := op.turn
	for k := range t.o.Pods {
		if p := &t.o.Pods[k]; t.asks[p.Ordinal] == w.g.now {
			op.ask(p)
		}
	}
	if t.decision == nil && w.g.now >= t.decideAt {
		d := Plan(t.o)
		op.listen(t.o)
		t.decision = &d
		t.actAt = w.g.now + op.delay(20)
	}
	if t.decision != nil && w.g.now >= t.actAt {
		op.turn = nil
		op.sleep = 1 + w.rnd.IntN(20)
		op.act(t)
	}
}

func (op *operator) delay(most int) int {
	if op.w.faults && op.w.chance(10) {
		most *= 4 // a node, or the API server, that answers late
	}
	return op.w.rnd.IntN(most)
}

func (op *operator) begin() {
	w := op.w
	t := op.look()
	if w.faults && op.old != nil && w.chance(20) {
		op.onStaleCaches(t)
		t = op.look() // what is risky is decided on what is read after that
	}
	if w.faults && w.chance(15) {
		t.lives = w.rnd.IntN(mostEffects)
	}
	for i := range t.o.Pods {
		at := w.g.now + op.delay(5)
		t.asks[t.o.Pods[i].Ordinal] = at
		t.starts[t.o.Pods[i].Ordinal] = w.pods[t.o.Pods[i].Ordinal].starts
		t.decideAt = max(t.decideAt, at)
	}
	op.turn = t
}

// look begins a turn with what the API server says.
func (op *operator) look() *turn {
	w := op.w
	return &turn{o: w.look(), asks: map[int]int{}, starts: map[int]int{}, began: w.g.now, spec: w.specVersion, set: w.setVersion, decideAt: w.g.now, lives: mostEffects}
}

// ask fills in what the pod's node says now, if it is the same pod's still.
func (op *operator) ask(p *Pod) {
	w := op.w
	is, proc := w.pods[p.Ordinal], w.g.procs[p.Ordinal]
	if is == nil || is.uid != p.UID || proc == nil || is.hidden || (w.faults && w.chance(5) && w.chance(5)) { // it is asked twice before anything risky is done
		p.NodeError = "does not answer"
		return
	}
	p.Node = w.g.status(proc)
	p.Ready = p.Node.Ready && !is.failing
}

// mostEffects is how many effects a turn has at most.
const mostEffects = 6

// act carries the turn out, effect by effect in the reconcile loop's order, unless the operator dies between two of them.
func (op *operator) act(t *turn) {
	w, d := op.w, *t.decision
	op.last = d
	op.old = t
	w.candid(t.o, d)
	w.sincere(t.o, d)
	op.carryOut(t, d)
}

func (op *operator) carryOut(t *turn, d Decision) {
	w := op.w
	if t.o.Workload == nil {
		if w.absent {
			w.makeAnew(t.o)
		}
		return
	}
	for i, effect := range []func(){
		func() { op.readmit(t, d) },
		func() { op.holdTemplate(t, d) },
		func() { op.applyTemplate(t, d) },
		func() { op.keepClaims(t) },
		func() {
			if d.Step != nil {
				w.say("%s", d.Step)
				w.take(t, d.Step)
			}
		},
		func() { op.record(t, d) },
	} {
		if i >= t.lives {
			w.stats[fmt.Sprintf("killed-before-effect-%d", i)]++
			op.forget()
			return
		}
		effect()
	}
}

// readmit puts pods back into the client Service that stay after all.
func (op *operator) readmit(t *turn, d Decision) {
	for _, seen := range t.o.Pods {
		if p := op.w.pods[seen.Ordinal]; p != nil && p.uid == seen.UID && p.withdrawnAt != 0 && !d.Withdrawn[seen.Name] {
			op.w.stats["readmit"]++
			p.withdrawnAt = 0
		}
	}
}

// holdTemplate keeps what the StatefulSet holds for the case that somebody deletes that, while it is not what the spec asks for.
func (op *operator) holdTemplate(t *turn, d Decision) {
	w := op.w
	if t.set != w.setVersion || t.spec != w.specVersion || w.absent {
		return
	}
	if w.keptBack, w.keptFailed = 0, 0; d.Hold && w.held != w.template {
		w.keptBack, w.keptFailed = w.held, w.failed
	}
}

func (op *operator) applyTemplate(t *turn, d Decision) {
	w := op.w
	if w.template != w.held && !w.absent && !d.Hold && t.set == w.setVersion && t.spec == w.specVersion {
		w.say("the StatefulSet gets template %d", w.template)
		w.held, w.failed = w.template, 0
		w.setVersion++
		t.set = w.setVersion
		w.settlesAt = max(w.settlesAt, w.g.now+w.rnd.IntN(40))
	}
}

func (op *operator) keepClaims(t *turn) {
	w := op.w
	if keep := !scalesIn(t.o, t.o.Workload.Replicas); keep != w.keeps && t.set == w.setVersion && !w.absent {
		w.keeps = keep
		w.setVersion++
		w.settlesAt = max(w.settlesAt, w.g.now+w.rnd.IntN(20))
	}
}

// record writes the status; the API server refuses it if the RaftCluster is not the one that was read.
func (op *operator) record(t *turn, d Decision) {
	w := op.w
	if t.spec != w.specVersion {
		return
	}
	if d.Adopt != 0 {
		w.adopted(d.Adopt)
		w.recordID = d.Adopt
		w.specVersion++
	}
	if d.ForgetRecovery && w.recovery != nil {
		w.say("the recovery is forgotten")
		w.recovery = nil
		w.specVersion++
	}
	if d.Awake {
		w.asleep = 0
		w.specVersion++
		w.stats["awake"]++
	}
	if d.Hibernated {
		w.stats["hibernated"]++
	}
	if d.Good != "" {
		w.good = d.Good
	}
	if d.View != nil {
		w.membersKnown = true
	}
	switch r := d.Step.(type) {
	case RecordRecovery:
		w.recordRecovery(r.Recovery)
	case RecordHibernation:
		w.asleep = r.Pods
		w.specVersion++
	}
	if r, ok := d.Step.(RecordBootstrap); ok {
		if r.Bootstrap.ClusterID != t.o.NewClusterID {
			w.fail("a bootstrap was recorded for a cluster ID that was not drawn for it")
		}
		if w.bootstrap != nil {
			w.fail("pod %s is to found the cluster, although that was decided to be %s", r.Bootstrap.Pod, w.bootstrap.Pod)
		}
		b := r.Bootstrap
		w.bootstrap = &b
		w.specVersion++
		w.stats["record"]++
	}
}

// take carries a step out, as far as the API server and the nodes let it, and checks what comes of it.
func (w *world) take(t *turn, step Step) {
	switch s := step.(type) {
	case RecordBootstrap, RecordRecovery, RecordHibernation:
	case RunRecovery:
		w.runRecovery(t, s)
	case Abandon:
		w.abandon(s)
	case ReplaceVolume:
		w.replaceVolume(t, s)
	case RecreateWorkload:
		if t.set == w.setVersion && !w.absent {
			w.stats["recreate"]++
			w.absent = true
			w.setVersion++
		}
	case PutBack:
		w.putBack(t, s)
	case RunBootstrap:
		w.runBootstrap(s)
	case ChangeMembers:
		w.change(t, s)
	case Withdraw:
		if i, _ := resources.Ordinal("demo", s.Pod); w.pods[i] != nil && w.pods[i].uid == s.UID {
			w.stats["withdraw"]++
			w.pods[i].withdrawnAt = w.g.now
		}
	case Transfer:
		w.stats["transfer"]++
		if p := w.node(s.Leader); p != nil && p.core != nil {
			_ = p.core.Transfer(s.To)
			w.g.pump(p)
		}
	case Scale:
		if t.set == w.setVersion && w.g.now >= w.refuses {
			w.scale(t, s)
		}
	case Restart:
		w.restart(t, s)
	case ForceDelete:
		w.forceDelete(t, s)
	default:
		w.fail("step %T is unknown", step)
	}
}

func (w *world) node(pod string) *process {
	i, _ := resources.Ordinal("demo", pod)
	return w.g.procs[i]
}

func (w *world) runBootstrap(s RunBootstrap) {
	if w.bootstrap == nil || *w.bootstrap != s.Bootstrap {
		w.fail("a bootstrap was run that is not the recorded one")
	}
	p := w.node(s.Bootstrap.Pod)
	if p == nil || p.dir.incarnation != s.Bootstrap.Incarnation || p.dir.id != 0 {
		return // the node refuses, or is the one already
	}
	for _, d := range w.claims {
		if d.cluster != 0 && d.applied.Index > 0 && !d.damaged {
			w.fail("a cluster is founded over data:%s", w.data())
		}
	}
	w.founded++
	w.cluster = s.Bootstrap.ClusterID
	w.g.found(p, w.cluster, s.Member)
}

func (w *world) change(t *turn, s ChangeMembers) {
	p := w.node(s.Leader)
	if p == nil || p.core == nil {
		return
	}
	before := p.core.Status().Membership
	_, index, err := p.core.ProposeChanges(s.ConfigIndex, s.Changes)
	if err != nil {
		w.stats["refused"]++
		w.g.pump(p)
		return
	}
	for _, c := range s.Changes {
		if c.Kind == raft.ChangeRemove && index > s.ConfigIndex {
			w.removed(t, p, before, s, c.ID)
		}
		if c.Kind == raft.ChangeAddLearner && index > s.ConfigIndex {
			w.added(c.Member)
		}
	}
	w.stats[s.Kind()]++
	w.g.pump(p)
}

// removed checks a removal that the leader took.
func (w *world) removed(t *turn, leader *process, before raft.Membership, s ChangeMembers, id raft.NodeID) {
	m, _ := before.Find(id)
	i, _ := resources.Ordinal("demo", m.Name)
	d := w.claims[i]
	intact := d != nil && d.incarnation == m.Incarnation
	if m.ID == leader.dir.id {
		w.fail("the leader was removed before it handed over")
	}
	if intact && i < t.o.Desired {
		w.fail("%s was removed although it is wanted and has its data", s.Name)
	}
	if p, seen := w.pods[i], t.o.pod(i); intact && p != nil && seen != nil && p.running && p.endsAt == 0 && seen.UID == p.uid && seen.Ready && !w.g.cut[i] && !w.disturbed(t) && !w.forgotten(p) {
		w.fail("%s was removed although clients are sent to its pod", s.Name)
	}
	if m.Learner || w.disturbed(t) {
		return
	}
	left, kept := 0, 0
	for _, x := range before.Members {
		if x.Learner || x.ID == m.ID {
			continue
		}
		left++
		k, _ := resources.Ordinal("demo", x.Name)
		if d := w.claims[k]; d != nil && d.incarnation == x.Incarnation {
			kept++
		}
	}
	if d, pod := t.o.Desired, t.o.pod(i); intact && i >= d && praised(t.o, m.ID) && pod != nil && pod.Running && !pod.Terminating { // one that is said not to run, or ends, may go as one that is ill
		if left < d {
			w.fail("%s is well and was removed, which leaves %d voters of %d that are asked for; it was decided on %s", s.Name, left, d, seen(t.o))
		}
		w.othersWell(t, i, d, s.Name+", which is well, was removed")
	}
	if kept < quorum(left) {
		w.fail("the removal of %s leaves %d voters of which %d have their data", s.Name, left, kept)
	}
}

// scalesIn tells, as the reconcile loop does, that pods go for good, so that their claims follow whenScaled.
func scalesIn(o *Observation, replicas int) bool {
	for _, p := range o.Pods {
		if p.Ordinal >= o.Desired && p.Node != nil && p.Node.State == admin.StateMember && o.ClusterID != 0 && p.Node.ClusterID != o.ClusterID {
			return false
		}
	}
	for _, p := range o.Pods {
		replicas = max(replicas, p.Ordinal+1)
	}
	return o.Asleep == 0 && replicas > o.Desired
}

// makeAnew makes the StatefulSet that is missing, with as many pods as the reconcile loop gives it.
func (w *world) makeAnew(o *Observation) {
	n := max(o.Desired, o.Asleep)
	for _, p := range o.Pods {
		n = max(n, p.Ordinal+1)
	}
	for _, m := range w.g.newest.Members {
		if i, ok := resources.Ordinal("demo", m.Name); ok && w.membersKnown {
			n = max(n, i+1)
		}
	}
	if o.Asleep > 0 && o.Hibernate {
		n = 0
		for _, p := range o.Pods {
			if !p.Terminating {
				n = max(n, p.Ordinal+1)
			}
		}
	}
	for i := n; i < mostPods; i++ {
		if p := w.pods[i]; p != nil && p.endsAt == 0 {
			w.fail("pod %d runs and ends since the StatefulSet is made anew with %d pods", i, n)
		}
	}
	w.keeps = !scalesIn(o, n)
	before := w.held
	if w.absent, w.small, w.replicas, w.held, w.failed = false, false, n, w.template, 0; w.keptBack != 0 {
		w.stats["made-with-what-was-held"]++
		w.held, w.failed = w.keptBack, w.keptFailed
		if w.held != before {
			w.fail("the StatefulSet held template %d while the spec's was held back, and is made anew with %d", before, w.held)
		}
	}
	w.setVersion++
	w.settlesAt = w.g.now + w.rnd.IntN(20)
}

// putBack gives the StatefulSet an earlier template, which pods have become ready with, in place of one that none has.
func (w *world) putBack(t *turn, s PutBack) {
	if t.set != w.setVersion || w.absent {
		return
	}
	w.stats["put-back"]++
	good, _ := strconv.Atoi(s.Revision)
	if w.bad[good] {
		w.fail("template %s is put back, with which no pod runs", s.Revision)
	}
	if s.Failed != fmt.Sprint(w.held) || good == w.held {
		w.fail("template %s is put back for %s while the StatefulSet holds %d", s.Revision, s.Failed, w.held)
	}
	w.failed, w.held = w.held, good
	w.setVersion++
	w.settlesAt = w.g.now + w.rnd.IntN(20)
}

func (w *world) scale(t *turn, s Scale) {
	w.stats["scale"]++
	rests := false
	for i := s.To; i < w.replicas; i++ {
		if w.asleep > 0 && !w.keeps && w.deleteScaled {
			w.fail("pods were stopped to rest although that deletes their claims")
		}
		if d := w.claims[i]; d != nil {
			m, ok := w.g.newest.FindIncarnation(d.incarnation)
			if ok && w.asleep == 0 {
				w.fail("pod %d was scaled away while it is member %s", i, m.ID)
			}
			if ok && w.going[i] && t.o.going(i) {
				w.fail("pod %d is stopped to rest although its claim goes with it, and it is member %s", i, m.ID)
			}
			rests = rests || ok
		}
	}
	if rests {
		w.rest(t, s)
	}
	w.replicas = s.To
	w.setVersion++
	w.settlesAt = w.g.now + w.rnd.IntN(20)
}

// rest checks that the pods which stop leave the last state with one that stops later.
func (w *world) rest(t *turn, s Scale) {
	if s.To > 1 || s.To == 0 && w.replicas > 1 {
		w.fail("%d pods of %d are stopped at once, not the followers and then the last", w.replicas-s.To, w.replicas)
	}
	if w.replicas > 1 && len(w.g.newest.Voters()) > 1 { // a single one needs nobody to reach it
		w.othersWell(t, -1, mostPods, "the cluster goes to rest")
	}
	if d := w.claims[0]; s.To == 1 && d != nil && d.cluster == w.recordID {
		for index, digest := range w.g.promised {
			if !d.holds(w.g.chronicle, index, digest) && !w.disturbed(t) {
				w.fail("entry %d was acknowledged, and demo-0, which is stopped last, does not have it", index)
			}
		}
	}
}

func (w *world) restart(t *turn, s Restart) {
	i, _ := resources.Ordinal("demo", s.Pod)
	p := w.pods[i]
	if p == nil || p.uid != s.UID || (!s.Evict && p.starts != t.starts[i]) {
		return
	}
	w.stats["restart"]++
	w.charge(t, i, "the restart of "+s.Pod+", whose claim goes with it,")
	w.oneByOne(t, i)
	before := w.staying()
	w.end(i)
	all, _, _ := w.g.voters(w.claims)
	if after := w.staying(); all > 2 && before >= quorum(all) && after < quorum(all) && !w.disturbed(t) {
		w.fail("the restart of %s (evicted: %v) leaves %d of %d voters; it was decided on %s", s.Pod, s.Evict, after, all, seen(t.o))
	}
}

// seen is an observation in one line.
func seen(o *Observation) string {
	var out []string
	for _, p := range o.Pods {
		text := fmt.Sprintf("%s rev %s running %v ready %v ending %v:", p.Name, p.Revision, p.Running, p.Ready, p.Terminating)
		if p.Node != nil {
			text += fmt.Sprintf(" %s term %d leader %s config %d", p.Node.Role, p.Node.Term, p.Node.Leader, p.Node.ConfigIndex)
			for _, m := range p.Node.Members {
				text += fmt.Sprintf(" [%s %s learner %v active %v caught up %v]", m.Name, m.ID, m.Learner, m.Active, m.CaughtUp)
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n")
}

// disturbed tells that what the turn saw may not have shown the last fault.
func (w *world) disturbed(t *turn) bool { return w.faultAt+2*electionTicks >= t.began }

// staying counts the voters that run, are reached, and are not on their way out.
func (w *world) staying() int {
	n := 0
	for _, m := range w.g.newest.Members {
		i, _ := resources.Ordinal("demo", m.Name)
		p, pod := w.g.procs[i], w.pods[i]
		if !m.Learner && p != nil && p.dir.incarnation == m.Incarnation && !w.g.cut[i] && pod != nil && pod.endsAt == 0 {
			n++
		}
	}
	return n
}

func (w *world) forceDelete(t *turn, s ForceDelete) {
	i, _ := resources.Ordinal("demo", s.Pod)
	p := w.pods[i]
	switch {
	case p == nil || p.uid != s.UID:
		return
	case !p.lost:
		w.fail("%s was forced out although its machine is not lost", s.Pod)
	}
	w.stats["force"]++
	w.charge(t, i, "forcing out "+s.Pod)
	all, _, before := w.g.voters(w.claims)
	w.g.stop(i)
	if _, _, after := w.g.voters(w.claims); all > 2 && before >= quorum(all) && after < quorum(all) && !w.disturbed(t) {
		w.fail("forcing out %s, which runs, leaves %d of %d voters; it was decided on %s", s.Pod, after, all, seen(t.o))
	}
	w.removePod(i)
}

// charge checks that a pod which the operator ends, and whose claim goes with it, leaves a quorum of voters with their data.
func (w *world) charge(t *turn, i int, what string) {
	if !w.going[i] {
		return
	}
	all, intact, goes := 0, 0, false
	for _, m := range w.g.newest.Members {
		if m.Learner {
			continue
		}
		all++
		k, _ := resources.Ordinal("demo", m.Name)
		switch d := w.claims[k]; {
		case d == nil || d.incarnation != m.Incarnation || d.damaged:
		case k == i:
			goes = true
		default:
			intact++
		}
	}
	if goes && intact < quorum(all) && !w.disturbed(t) {
		w.fail("%s leaves %d of %d voters with their data; it was decided on %s", what, intact, all, seen(t.o))
	}
}

func (op *operator) String() string {
	return fmt.Sprintf("%q, stalled %v, waiting %v", brief(op.last), op.last.Stalled, op.last.Waiting)
}
