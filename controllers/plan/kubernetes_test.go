package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// The Kubernetes of the simulation: a StatefulSet whose pods come and go in their own time, claims that outlive them,
// machines that get lost; and the RaftCluster that people edit.

// mostPods is above every ordinal that comes up.
const mostPods = 2 * raft.MaxVoters

type simPod struct {
	uid      string
	template int
	running  bool
	// starts counts how often its container began, as the pod's resource version does.
	starts int
	// endsAt is when a pod that was asked to go is gone; zero for one that was not asked.
	endsAt int
	// since is when it last began or ceased to run; unreadySince since when it has not been ready, awaySince since when the leader could not reach it; zero for
	// one that is, or can. backAt is when it last could again.
	since, unreadySince, awaySince, backAt int
	// lost pods are on a machine that is gone: they cannot end.
	lost bool
	// withdrawnAt is when it was taken out of the client Service; zero while it is in it.
	withdrawnAt int
	// hidden pods run, but their machine says that they do not, and their nodes do not answer the operator.
	hidden bool
	// failing pods are not ready, although their nodes are: the kubelet's probe does not get through.
	failing bool
}

type world struct {
	t   *testing.T
	rnd *rand.Rand
	log []string
	g   *group

	// template is what the spec asks for, held what the StatefulSet holds; failed is the one that was taken out of it, zero for none.
	replicas, template, held, failed int
	setVersion                       int
	// good is the revision that the status has on record as the last with which all pods were ready; keptBack the template that it says was in force
	// while the spec's was held back, and keptFailed what was marked as failed then; zero for none.
	good                 string
	keptBack, keptFailed int
	deleteScaled         bool
	// settlesAt is when the StatefulSet controller has taken in the last change.
	settlesAt int
	// keeps says that the StatefulSet keeps the claims of pods that are scaled away, whatever whenScaled says.
	keeps bool
	// small says that larger volumes are asked for than its claim template has; absent that it was deleted without its pods.
	small, absent bool
	bad           map[int]bool // templates whose pods never run
	claims        map[int]*directory
	// going are claims that somebody deleted: each goes with its pod.
	going map[int]bool
	pods  map[int]*simPod
	uids  int

	cluster raft.ClusterID
	founded int

	desired     int
	paused      bool
	specVersion int // the RaftCluster's resource version
	recordID    raft.ClusterID
	bootstrap   *Bootstrap
	hibernate   bool
	asleep      int
	rebuild     *Rebuild
	recovery    *Recovery
	// catastrophes lets quorums be lost for good.
	catastrophes bool

	faults bool
	// unreachableTicks is how long a member may be unreachable before its volume is given up.
	unreachableTicks int
	// skew is by how much the operator's clock is before the others'. membersKnown says that the status has the members on record.
	skew         int
	membersKnown bool
	// promised is the index of the last acknowledged write, tick by tick.
	promised []raft.Index
	// faultAt is when something was last done to the cluster. A step is charged with the loss of a quorum only if nothing
	// else happened for an election timeout, which is what a leader needs to notice, before the look that it was decided on.
	faultAt int
	op      operator
	stats   map[string]int
	// crises is the random stream of the crises, nil in a world without any, and crisis the one of the moment, if there is one. Until refuses the API server
	// refuses to scale the StatefulSet.
	crises  *rand.Rand
	crisis  *crisis
	refuses int
}

func newWorld(t *testing.T, seed uint64) *world {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, rnd: rnd, bad: map[int]bool{}, claims: map[int]*directory{}, going: map[int]bool{}, pods: map[int]*simPod{}, faults: true, stats: map[string]int{}}
	w.g = newGroup(rnd, w.fail)
	w.g.lossy = true
	w.g.version = raft.JointVersion - uint32(rnd.IntN(2))
	w.desired = 1 + rnd.IntN(5)
	w.replicas = w.desired
	w.deleteScaled = w.chance(50)
	w.catastrophes = w.chance(40)
	w.unreachableTicks = lateTicks/10 + w.rnd.IntN(lateTicks/2)
	w.op.w = w
	w.crises = newCrises(seed)
	w.say("seed %d, %d replicas", seed, w.desired)
	return w
}

func (w *world) chance(percent int) bool { return w.rnd.IntN(100) < percent }

func (w *world) say(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%6d ", w.g.now)+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for _, line := range w.log[max(0, len(w.log)-*simLines):] {
		w.t.Log(line)
	}
	w.t.Fatalf(w.log[0]+": "+format, args...)
}

// tick is one unit of time.
func (w *world) tick() {
	w.g.tick()
	if w.g.now%7 == 0 {
		w.g.write()
	}
	for i := range mostPods {
		w.tickPod(i)
		w.noticeReadiness(i)
	}
	w.promised = append(w.promised, w.g.lastPromised)
	w.op.tick()
	w.guardian()
}

func (w *world) tickPod(i int) {
	p := w.pods[i]
	switch {
	case p == nil:
		if i < w.replicas && !w.absent && w.chance(10) {
			w.uids++
			w.pods[i] = &simPod{uid: fmt.Sprint(w.uids), template: w.held, since: w.g.now, unreadySince: w.g.now}
			if w.claims[i] == nil {
				w.claims[i] = w.newDirectory()
			}
		}
	case p.lost:
	case p.endsAt != 0:
		if w.g.now >= p.endsAt {
			w.g.stop(i)
			w.removePod(i)
			if i >= w.replicas && !w.absent && w.deleteScaled && !w.keeps {
				w.dropClaim(i)
			}
		}
	case i >= w.replicas && !w.absent:
		w.end(i)
	case !p.running:
		if !w.bad[p.template] && !w.claims[i].damaged && w.chance(8) {
			p.running, p.since = true, w.g.now
			p.starts++
			w.g.start(i, w.claims[i])
		}
	default:
		if proc := w.g.procs[i]; proc != nil && w.g.hearOfRemoval(proc) {
			w.say("node %d sets its directory aside", i)
			w.g.stop(i)
			w.claims[i] = w.newDirectory()
			w.g.start(i, w.claims[i])
		}
	}
}

// removePod is the end of a pod, and of its claim if somebody had deleted that.
func (w *world) removePod(i int) {
	delete(w.pods, i)
	if w.going[i] {
		w.say("claim %d, which was deleted, goes with its pod", i)
		w.stats["gone-with-its-pod"]++
		delete(w.claims, i)
		delete(w.going, i)
	}
}

// deleteClaim is what somebody does to a claim in use.
func (w *world) deleteClaim(i int) {
	if !w.spare(i) || w.pods[i] == nil {
		return
	}
	w.say("fault: claim %d is deleted", i)
	w.stats["claim-deleted-in-use"]++
	w.going[i] = true
}

// dropClaim deletes a claim as the retention policy says: by then no member may need it.
func (w *world) dropClaim(i int) {
	if d := w.claims[i]; d != nil {
		if m, ok := w.g.newest.FindIncarnation(d.incarnation); ok {
			w.fail("the claim of pod %d was deleted although it is that of member %s", i, m.ID)
		}
	}
	delete(w.claims, i)
	delete(w.going, i)
	w.stats["claim-deleted"]++
}

// end asks a pod to go.
func (w *world) end(i int) {
	p := w.pods[i]
	if p.endsAt == 0 {
		p.endsAt = w.g.now + 1 + w.rnd.IntN(30)
	}
	if w.chance(50) {
		p.running, p.since = false, w.g.now
		w.g.stop(i)
	}
}

func (w *world) crash(i int) {
	if p := w.pods[i]; p != nil && p.running {
		p.running, p.since = false, w.g.now
		w.g.stop(i)
	}
}

func (w *world) newDirectory() *directory {
	d := newDirectory(w.rnd)
	d.born = w.g.now
	return d
}

// fault does something bad, or changes the spec.
func (w *world) fault() {
	w.faultAt = w.g.now
	switch w.rnd.IntN(34) {
	case 21, 31:
		if w.op.turn == nil && !w.absent && w.held != 0 {
			w.say("fault: somebody deletes the StatefulSet")
			w.stats["set-deleted"]++
			w.absent = true
			w.setVersion++
		}
	case 22, 23:
		if p := w.pods[w.rnd.IntN(7)]; p != nil && p.running {
			p.hidden, p.since = !p.hidden, w.g.now
			w.say("fault: pod %s is said not to run: %v", p.uid, p.hidden)
			w.stats["hidden"]++
		}
	case 33:
		i := w.rnd.IntN(7)
		if w.g.slow[i] == 0 {
			w.g.slow[i] = 4*electionTicks + w.rnd.IntN(6*electionTicks)
		} else {
			delete(w.g.slow, i)
		}
		w.say("fault: what is sent to node %d takes %d ticks longer", i, w.g.slow[i])
		w.stats["slow"]++
	case 32:
		if p := w.pods[w.rnd.IntN(7)]; p != nil && p.running {
			p.failing = !p.failing
			w.say("fault: the probe of pod %s fails: %v", p.uid, p.failing)
			w.stats["probe"]++
		}
	case 19, 20:
		w.say("spec: larger volumes")
		w.small = true
		w.specVersion++
	case 0, 1, 2:
		for i := range mostPods {
			if w.pods[i] != nil && w.chance(30) {
				w.say("fault: pod %d crashes", i)
				w.crash(i)
			}
		}
	case 3:
		if i := w.rnd.IntN(7); w.pods[i] != nil && !w.pods[i].lost && (!w.going[i] || w.spare(i)) {
			w.say("fault: pod %d is deleted", i)
			w.end(i)
		}
	case 4, 5:
		w.wipe(w.rnd.IntN(7))
	case 6, 7:
		w.desired = 1 + w.rnd.IntN(7)
		w.specVersion++
		w.say("spec: %d replicas", w.desired)
	case 8:
		w.template++
		w.bad[w.template] = w.chance(30)
		w.specVersion++
		w.say("spec: template %d, bad %v", w.template, w.bad[w.template])
	case 9:
		w.paused = w.chance(30)
		w.specVersion++
	case 10, 11:
		i := w.rnd.IntN(7)
		w.g.cut[i] = !w.g.cut[i]
		w.say("fault: node %d cut off: %v", i, w.g.cut[i])
	case 12:
		if i := w.rnd.IntN(7); w.pods[i] != nil && !w.pods[i].lost && (!w.going[i] || w.spare(i)) {
			w.say("fault: the machine of pod %d is lost", i)
			w.crash(i)
			w.pods[i].lost = true
			w.pods[i].endsAt = w.g.now + 1
		}
	case 13:
		clear(w.g.cut)
	case 14:
		if w.hibernate = !w.hibernate && w.chance(70); w.hibernate || w.asleep > 0 {
			w.say("spec: hibernate %v", w.hibernate)
			w.specVersion++
		}
	case 24, 25:
		w.deleteClaim(w.rnd.IntN(7))
	case 26:
		w.applyAnew()
	case 27:
		w.leap()
	case 28:
		w.op.away()
	case 29:
		w.consent()
	case 30:
		w.loseMachine(w.rnd.IntN(7))
	case 15, 17:
		w.catastrophe()
	case 16, 18:
		w.damage(w.rnd.IntN(7))
	}
}

// wipe loses a volume together with its pod, unless that would lose the quorum for good, or the founding node before
// anyone knows that it founded: these are for people to decide. So is a volume that is lost in the moment in which another
// member is being removed: the membership without that one is in force at the leader before it is committed, and may need
// the volume.
func (w *world) wipe(i int) {
	if !w.spare(i) {
		return
	}
	w.lose(i)
}

// spare tells that the cluster can do without that directory.
func (w *world) spare(i int) bool {
	d := w.claims[i]
	if d == nil || !w.steady() {
		return false
	}
	all, intact, _ := w.g.voters(w.claims)
	for k, x := range w.claims {
		if m, ok := w.g.newest.FindIncarnation(x.incarnation); ok && !m.Learner && !x.damaged && (k == i || w.going[k]) {
			intact--
		}
	}
	return all == 0 || intact >= quorum(all)
}

// steady tells that a volume can be lost now without more than that being lost: no founding or rebuilding is under way that nobody has seen yet.
func (w *world) steady() bool {
	return (w.recordID != 0 || w.bootstrap == nil) && (w.recovery == nil || w.recovery.From != w.recordID) && !w.changing() && w.op.turn == nil
}

// changing tells that a directory holds a membership which is not known to be committed: it may need another quorum.
func (w *world) changing() bool {
	if w.g.newest.Joint() {
		return true
	}
	for _, d := range w.claims {
		for _, e := range d.entries {
			if e.Type == raft.EntryMembership && e.Index > w.g.newest.Index {
				return true
			}
		}
	}
	for _, p := range w.g.running() {
		if p.core != nil && p.core.ConfigIndex() > w.g.newest.Index {
			return true
		}
	}
	return false
}

// look is what the API server says now; the nodes are asked one by one.
func (w *world) look() *Observation {
	o := &Observation{Cluster: "demo", Namespace: "ns", Desired: w.desired, Paused: w.paused,
		ClusterID: w.recordID, NewClusterID: raft.ClusterID(w.rnd.Uint64() | 1), Workload: &Workload{Replicas: w.replicas},
		Hibernate: w.hibernate, Asleep: w.asleep, Good: w.good,
		Leaderless: w.op.unled != 0 && w.g.now-w.op.unled > unledTicks}
	if w.rebuild != nil {
		r := *w.rebuild
		o.Rebuild = &r
	}
	if w.recovery != nil {
		r := *w.recovery
		o.Recovery = &r
	}
	if w.bootstrap != nil {
		b := *w.bootstrap
		o.Bootstrap = &b
	}
	if w.g.now >= w.settlesAt && !w.absent {
		if w.held == w.template {
			o.Workload.Revision = fmt.Sprint(w.template)
		}
		o.Workload.KeepsClaims = w.keeps || !w.deleteScaled
	}
	if o.Workload.Stale = w.held != w.template; w.failed != 0 && w.failed == w.template {
		o.Workload.Failed = fmt.Sprint(w.failed)
	}
	if o.Workload.SmallClaims = w.small; w.absent {
		o.Workload = nil
	}
	for i := range mostPods {
		if w.claims[i] != nil {
			o.Claims = append(o.Claims, Claim{Ordinal: i, Name: resources.ClaimName("demo", i), Bound: w.claims[i].bound, Going: w.going[i]})
		}
		if p := w.pods[i]; p != nil {
			silent := !p.running || p.hidden
			o.Pods = append(o.Pods, Pod{Ordinal: i, Name: podName(i), UID: p.uid, Revision: fmt.Sprint(p.template), Running: !silent,
				Terminating: p.endsAt != 0, Stuck: p.lost, Unheard: p.hidden,
				Withdrawn: p.withdrawnAt != 0, Forgotten: w.forgotten(p),
				Late:        w.unreadyFor(p) > lateTicks,
				Silent:      w.op.watched(w.op.mute, p.uid) > silentTicks,
				Unreachable: w.unreadyFor(p) > w.unreachableTicks && w.op.watched(w.op.silent, p.uid) > w.unreachableTicks && w.clock()-w.claims[i].born > 2*w.unreachableTicks})
		}
	}
	return o
}

// forgetTicks is how long clients are still sent to a pod that was taken out of the client Service.
const forgetTicks = 20

func (w *world) forgotten(p *simPod) bool {
	return p.withdrawnAt != 0 && w.g.now-p.withdrawnAt >= forgetTicks
}

// unledTicks is how long the operator waits for the members to elect a leader before it touches any.
const unledTicks = 10 * electionTicks

// silentTicks is for how long the operator has watched a node that it calls silent.
const silentTicks = unledTicks

// lateTicks is what a pod may take to become ready.
const lateTicks = 300

// person does what the operator asks for where claims are left from before the cluster was founded.
func (w *world) person() {
	for i := w.replicas; i < mostPods; i++ {
		delete(w.claims, i)
		delete(w.going, i)
	}
}

func (w *world) converged() bool {
	m := w.g.newest
	if len(m.Voters()) != w.desired || len(m.Members) != w.desired || w.replicas != w.desired || len(w.pods) != w.desired || w.changing() {
		return false
	}
	for i := range w.desired {
		p := w.pods[i]
		if p == nil || !p.running || p.template != w.template || p.endsAt != 0 || w.going[i] {
			return false
		}
		if x, ok := m.FindIncarnation(w.claims[i].incarnation); !ok || x.Name != podName(i) {
			return false
		}
	}
	return w.g.leader() != nil
}
