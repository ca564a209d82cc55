package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// The simulation runs Plan against a model of a cluster and of Kubernetes while pods die, volumes are lost, nodes do not
// answer, templates are bad, the spec changes, and the operator dies between a step and its record. It checks each of
// the operator's steps, and that once the faults end the cluster becomes what was asked for.

const (
	simSeeds       = 400
	simFaultTicks  = 250
	simHealingTick = 400
	simTemplates   = 1000
)

// directory is what is on one claim.
type directory struct {
	incarnation raft.Incarnation
	id          raft.NodeID
	known       raft.Membership
	knownIndex  raft.Index
}

type simPod struct {
	uid      string
	template int
	up       bool
}

type world struct {
	t   *testing.T
	rnd *rand.Rand
	log []string

	// Kubernetes.
	replicas, template int
	bad                map[int]bool // templates whose pods never run
	claims             map[int]*directory
	pods               map[int]*simPod
	uids               int

	// The Raft group.
	cluster    raft.ClusterID
	founded    int
	membership raft.Membership
	index      raft.Index
	leader     int // ordinal; -1 for none
	term       raft.Term
	caughtUp   map[raft.NodeID]bool

	// The RaftCluster.
	desired   int
	paused    bool
	recordID  raft.ClusterID
	bootstrap *Bootstrap
	faults    bool
	drawn     raft.ClusterID
	stats     map[string]int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), bad: map[int]bool{}, claims: map[int]*directory{}, pods: map[int]*simPod{},
		leader: -1, caughtUp: map[raft.NodeID]bool{}, faults: true, stats: map[string]int{}}
	w.desired = 1 + w.rnd.IntN(5)
	w.replicas = w.desired
	return w
}

func (w *world) chance(percent int) bool { return w.rnd.IntN(100) < percent }

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for _, line := range w.log[max(0, len(w.log)-25):] {
		w.t.Log(line)
	}
	w.t.Fatalf(format, args...)
}

// intact tells that the member's directory is where its name says.
func (w *world) intact(m raft.Member) bool {
	i, _ := resources.Ordinal("demo", m.Name)
	d := w.claims[i]
	return d != nil && d.incarnation == m.Incarnation
}

func (w *world) up(m raft.Member) bool {
	i, _ := resources.Ordinal("demo", m.Name)
	p := w.pods[i]
	return w.intact(m) && p != nil && p.up
}

func (w *world) activeVoters() (active, voters int) {
	for _, m := range w.membership.Members {
		if !m.Learner {
			voters++
			if w.up(m) {
				active++
			}
		}
	}
	return active, voters
}

func (w *world) hasQuorum() bool {
	active, voters := w.activeVoters()
	return voters > 0 && active >= quorum(voters)
}

// tick lets Kubernetes and the nodes do what they do by themselves.
func (w *world) tick() {
	for i := range w.pods {
		if i >= w.replicas {
			delete(w.pods, i)
		}
	}
	for i := range w.replicas {
		p := w.pods[i]
		if p == nil && w.chance(70) {
			w.uids++
			w.pods[i] = &simPod{uid: fmt.Sprint(w.uids), template: w.template}
			if w.claims[i] == nil {
				w.claims[i] = &directory{incarnation: raft.Incarnation(w.rnd.Uint64() | 1)}
			}
			continue
		}
		if p != nil && !p.up && !w.bad[p.template] && w.chance(60) {
			p.up = true
		}
	}
	w.elect()
	if w.leader < 0 {
		return
	}
	for i := range w.replicas {
		d, p := w.claims[i], w.pods[i]
		if d == nil || p == nil || !p.up {
			continue
		}
		if d.id == 0 {
			if m, ok := w.membership.FindIncarnation(d.incarnation); ok {
				d.id = m.ID
			}
			continue
		}
		if w.membership.Removed(d.id) {
			if w.chance(50) {
				*d = directory{incarnation: raft.Incarnation(w.rnd.Uint64() | 1)}
			}
			continue
		}
		d.known, d.knownIndex = w.membership.Clone(), w.index
		if w.chance(50) {
			w.caughtUp[d.id] = true
		}
	}
	for _, m := range w.membership.Members {
		if !w.up(m) {
			w.caughtUp[m.ID] = false
		}
	}
}

func (w *world) elect() {
	if !w.hasQuorum() {
		w.leader = -1
		return
	}
	if w.leader >= 0 {
		if d := w.claims[w.leader]; d != nil {
			if m, ok := w.membership.FindIncarnation(d.incarnation); ok && !m.Learner && w.up(m) {
				return
			}
		}
		w.leader = -1
	}
	if !w.chance(70) {
		return
	}
	for _, k := range w.rnd.Perm(len(w.membership.Members)) {
		if m := w.membership.Members[k]; !m.Learner && w.up(m) {
			w.leader, _ = resources.Ordinal("demo", m.Name)
			w.term++
			w.caughtUp[m.ID] = true
			return
		}
	}
}

// fault does something bad, or changes the spec.
func (w *world) fault() {
	switch w.rnd.IntN(12) {
	case 0, 1, 2:
		for i := range 2 * raft.MaxVoters {
			if p := w.pods[i]; p != nil && w.chance(30) {
				w.log = append(w.log, fmt.Sprintf("fault: pod %d stops", i))
				p.up = false
			}
		}
	case 3:
		if i := w.rnd.IntN(7); w.pods[i] != nil {
			w.log = append(w.log, fmt.Sprintf("fault: pod %d deleted", i))
			delete(w.pods, i)
		}
	case 4, 5:
		w.wipe(w.rnd.IntN(7))
	case 6:
		w.desired = 1 + w.rnd.IntN(7)
		w.log = append(w.log, fmt.Sprintf("spec: %d replicas", w.desired))
	case 7:
		w.template++
		w.bad[w.template] = w.chance(30)
		w.log = append(w.log, fmt.Sprintf("spec: template %d, bad %v", w.template, w.bad[w.template]))
	case 8:
		w.paused = w.chance(30)
	}
}

// wipe loses a volume together with its pod, unless that would lose the quorum for good, or the founding node before
// anyone knows that it founded: these are for people to decide.
func (w *world) wipe(i int) {
	d := w.claims[i]
	if d == nil || (w.recordID == 0 && w.bootstrap != nil) {
		return
	}
	kept, voters := 0, 0
	for _, m := range w.membership.Members {
		if !m.Learner {
			voters++
			if w.intact(m) && m.Incarnation != d.incarnation {
				kept++
			}
		}
	}
	if voters > 0 && kept < quorum(voters) {
		return
	}
	w.log = append(w.log, fmt.Sprintf("fault: volume %d lost", i))
	w.stats["wipe"]++
	delete(w.pods, i)
	delete(w.claims, i)
}

func (w *world) observe() *Observation {
	w.drawn = raft.ClusterID(w.rnd.Uint64() | 1)
	o := &Observation{Cluster: "demo", Namespace: "ns", Desired: w.desired, Paused: w.paused,
		ClusterID: w.recordID, Bootstrap: w.bootstrap, NewClusterID: w.drawn,
		Workload: &Workload{Replicas: w.replicas, Revision: fmt.Sprint(w.template)}}
	for i := range 2 * raft.MaxVoters {
		if w.claims[i] != nil {
			o.Claims = append(o.Claims, Claim{Ordinal: i, Name: resources.ClaimName("demo", i), Bound: true})
		}
		p := w.pods[i]
		if p == nil {
			continue
		}
		out := Pod{Ordinal: i, Name: podName(i), UID: p.uid, Revision: fmt.Sprint(p.template), Running: p.up}
		if p.up && !(w.faults && w.chance(5)) {
			out.Node = w.status(i)
			out.Ready = out.Node.Ready
		}
		o.Pods = append(o.Pods, out)
	}
	return o
}

func (w *world) status(i int) *admin.Status {
	d := w.claims[i]
	s := &admin.Status{Name: podName(i), Incarnation: d.incarnation, State: admin.StateEmpty}
	if d.id == 0 {
		return s
	}
	s.State, s.ClusterID, s.MemberID, s.Term, s.Role = admin.StateMember, w.cluster, d.id, w.term, "follower"
	s.ConfigIndex, s.ConfigCommitted = d.knownIndex, true
	known := d.known
	if w.leader == i {
		s.Role, s.ConfigIndex, known = "leader", w.index, w.membership
	}
	m, ok := known.Find(d.id)
	if ok && m.Learner {
		s.Role = "learner"
	}
	s.Ready = w.leader >= 0 && w.caughtUp[d.id]
	for _, m := range known.Members {
		s.Members = append(s.Members, admin.MemberStatus{Member: m, Active: w.up(m), CaughtUp: w.caughtUp[m.ID]})
	}
	return s
}

// step is one reconcile; the operator may die in it before it records anything.
func (w *world) step() Decision {
	o := w.observe()
	d := Plan(o)
	dies := w.faults && w.chance(5)
	if d.Adopt != 0 && !dies {
		w.recordID = d.Adopt
	}
	if d.Step == nil {
		return d
	}
	w.log = append(w.log, d.Step.String())
	quorumBefore := w.hasQuorum()
	_, votersBefore := w.activeVoters()
	w.take(d.Step, dies)
	_, restarts := d.Step.(Restart)
	tolerated := restarts && votersBefore <= 2
	if quorumBefore && !tolerated && !w.hasQuorum() {
		active, voters := w.activeVoters()
		w.fail("the step %q left %d of %d voters active", d.Step, active, voters)
	}
	return d
}

func (w *world) take(step Step, dies bool) {
	switch t := step.(type) {
	case RecordBootstrap:
		w.stats["record"]++
		if t.Bootstrap.ClusterID != w.drawn {
			w.fail("a bootstrap was recorded for a cluster ID that was not drawn for it")
		}
		if !dies {
			b := t.Bootstrap
			w.bootstrap = &b
		}
	case RunBootstrap:
		w.found(t)
	case ChangeMembers:
		w.change(t)
	case Transfer:
		w.stats["transfer"]++
		m, ok := w.membership.Find(t.To)
		if !ok || m.Learner {
			w.fail("leadership was handed to %s, which is no voter", t.Name)
		}
		if w.up(m) && w.leader >= 0 {
			w.leader, _ = resources.Ordinal("demo", m.Name)
			w.term++
		}
	case Scale:
		w.scale(t)
	case Restart:
		w.stats["restart"]++
		for i, p := range w.pods {
			if p.uid == t.UID {
				delete(w.pods, i)
			}
		}
	case ForceDelete:
		w.fail("a pod was forced out although no Kubernetes node is gone")
	}
}

func (w *world) found(t RunBootstrap) {
	if w.bootstrap == nil || *w.bootstrap != t.Bootstrap {
		w.fail("a bootstrap was run that is not the recorded one")
	}
	i, _ := resources.Ordinal("demo", t.Bootstrap.Pod)
	d, p := w.claims[i], w.pods[i]
	if d == nil || p == nil || !p.up || d.incarnation != t.Bootstrap.Incarnation || d.id != 0 {
		return // the node refuses
	}
	w.founded++
	if w.founded > 1 {
		w.fail("the cluster was founded twice")
	}
	w.cluster = t.Bootstrap.ClusterID
	m := t.Member
	m.ID = 1
	w.membership = raft.NewMembership(m)
	w.index = 1
	d.id, d.known, d.knownIndex = 1, w.membership.Clone(), 1
}

func (w *world) change(t ChangeMembers) {
	w.stats[t.Change.Kind.String()]++
	if w.leader < 0 || podName(w.leader) != t.Leader || t.ConfigIndex != w.index {
		return // the node refuses
	}
	before, _ := w.membership.Find(t.Change.ID)
	switch t.Change.Kind {
	case raft.ChangePromote:
		if !w.caughtUp[t.Change.ID] || !w.up(before) {
			w.fail("%s got a vote before it caught up", t.Name)
		}
	case raft.ChangeRemove:
		if i, _ := resources.Ordinal("demo", before.Name); i == w.leader && w.intact(before) {
			w.fail("the leader was removed before it handed over")
		}
		if i, _ := resources.Ordinal("demo", before.Name); w.intact(before) && i < w.desired {
			w.fail("%s was removed although it is wanted and has its data", t.Name)
		}
	}
	next, _, err := w.membership.Apply(t.Change)
	if err != nil {
		w.fail("the change %q was refused: %v", t, err)
	}
	if !next.Equal(w.membership) {
		w.membership = next
		w.index++
	}
}

func (w *world) scale(t Scale) {
	w.stats["scale"]++
	for i := t.To; i < w.replicas; i++ {
		if d := w.claims[i]; d != nil {
			if _, ok := w.membership.FindIncarnation(d.incarnation); ok {
				w.fail("pod %d was scaled away while it is a member", i)
			}
		}
	}
	w.replicas = t.To
}

// person does what the operator asks for where claims are left from before the cluster was founded.
func (w *world) person() {
	for i := w.replicas; i < 2*raft.MaxVoters; i++ {
		delete(w.claims, i)
	}
}

func (w *world) converged() bool {
	if len(w.membership.Voters()) != w.desired || len(w.membership.Members) != w.desired || w.replicas != w.desired {
		return false
	}
	for i := range w.desired {
		if p := w.pods[i]; p == nil || !p.up || p.template != w.template {
			return false
		}
	}
	return w.leader >= 0
}

func TestSimulation(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(simSeeds) {
		w := newWorld(t, seed)
		w.log = append(w.log, fmt.Sprintf("seed %d", seed))
		for range simFaultTicks {
			if w.chance(40) {
				w.fault()
			}
			w.tick()
			w.step()
		}
		w.faults, w.paused = false, false
		w.template, w.desired = simTemplates, max(w.desired, 1)
		var last Decision
		ok := false
		for range simHealingTick {
			w.tick()
			if last = w.step(); last.Step == nil && last.Waiting == nil && last.Stalled == nil && w.converged() {
				ok = true
				break
			}
			if last.Stalled != nil && last.Stalled.Reason == ReasonUnaccountedClaim {
				w.person()
			}
		}
		if !ok {
			w.fail("seed %d: not converged to %d members (%d pods, members %+v, leader %d); the last decision was %q, stalled %v, waiting %v",
				seed, w.desired, w.replicas, w.membership.Members, w.leader, brief(last), last.Stalled, last.Waiting)
		}
		for k, n := range w.stats {
			total[k] += n
		}
	}
	for _, k := range []string{"wipe", "record", "add-learner", "promote", "remove", "transfer", "scale", "restart"} {
		if total[k] < simSeeds/2 {
			t.Errorf("only %d times %q in %d seeds: the simulation tests too little", total[k], k, simSeeds)
		}
	}
	t.Logf("steps: %v", total)
}
