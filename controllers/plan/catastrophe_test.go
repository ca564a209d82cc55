package plan

import (
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
)

// What the simulation does beyond a quorum's strength: volumes are lost until none is left, and a person consents to go on without them.

// catastrophe loses so many volumes that no quorum can come together again, and sometimes all.
func (w *world) catastrophe() {
	all, _, _ := w.g.voters(w.claims)
	if !w.catastrophes || w.recordID == 0 || !w.steady() || all == 0 {
		return
	}
	w.stats["catastrophe"]++
	everything := w.chance(15)
	for i := range mostPods {
		if _, intact, _ := w.g.voters(w.claims); !everything && intact < quorum(all) {
			break
		}
		if w.claims[i] == nil || (!everything && w.chance(40)) {
			continue
		}
		w.lose(i)
	}
}

func (w *world) lose(i int) {
	w.say("fault: volume %d is lost", i)
	w.stats["wipe"]++
	w.g.stop(i)
	delete(w.pods, i)
	delete(w.claims, i)
	delete(w.going, i)
}

// damage makes a directory one that no process starts from.
func (w *world) damage(i int) {
	if !w.spare(i) {
		return
	}
	if m, ok := w.g.newest.FindIncarnation(w.claims[i].incarnation); !ok || m.Learner {
		return
	}
	w.say("fault: volume %d is damaged", i)
	w.stats["damage"]++
	w.claims[i].damaged = true
	w.crash(i)
}

// guardian is the person who reads what the operator says when a quorum is lost for good, sooner or later.
func (w *world) guardian() {
	if !w.faults {
		last := w.op.last.Waiting
		if last != nil && last.Reason == ReasonRecovering && w.chance(1) {
			w.person() // claims without pods will not come back, as the person reads who is asked for them
		}
		if last != nil && (last.Reason == ReasonRecovering || last.Reason == ReasonBootstrapping || last.Reason == ReasonQuorumUnreachable) && w.chance(1) {
			w.endDoomed()
		}
		w.clearAway(last != nil && (last.Reason == ReasonQuorumUnreachable || last.Reason == ReasonRecovering || last.Reason == ReasonNoLeader || last.Reason == ReasonBootstrapping))
	}
	s := w.op.last.Stalled
	if s == nil || w.op.turn != nil || (w.faults && !w.chance(1)) {
		return
	}
	switch {
	case s.Reason == ReasonQuorumLost, s.Reason == ReasonNoMemberLeft:
		if s.Reason == ReasonNoMemberLeft && w.chance(50) {
			w.person() // claims without pods may hold data: they are looked at, and nothing is in them
		}
		next := Rebuild{ClusterID: w.recordID, StartEmpty: s.Reason == ReasonNoMemberLeft}
		if w.rebuild != nil && *w.rebuild == next {
			return
		}
		w.rebuild = &next
	case s.Reason == ReasonRecoveryNodeLost:
		w.rebuild = nil
	case s.Reason == ReasonClaimDeleted && w.op.last.View == nil:
		if !w.faults {
			w.endDoomed()
		}
		return
	case s.Reason == ReasonClaimDeleted && w.hibernate:
		w.hibernate = false
	case s.Reason == ReasonClaimDeleted:
		w.desired = max(w.desired, 3)
	case s.Reason == ReasonForeignData:
		for i := range mostPods {
			if d := w.claims[i]; d != nil && d.cluster != 0 && d.cluster != w.recordID {
				w.lose(i)
			}
		}
		return
	case s.Reason == ReasonConflictingData:
		for i := range mostPods {
			if d := w.claims[i]; d != nil && d.cluster != 0 && d.cluster != w.cluster {
				w.lose(i)
			}
		}
		return
	case s.Reason == ReasonUpdateFailed && !w.faults:
		// The template is good now, so the person looks further, and then asks for it once more.
		ill := false
		for i := range mostPods {
			if d := w.claims[i]; d != nil && d.damaged {
				ill = true
				w.lose(i)
			}
		}
		if !ill && w.failed == w.template {
			w.template++
			w.say("spec: template %d", w.template)
			w.specVersion++
		}
		return
	default:
		return
	}
	w.say("spec: recovery %+v", w.rebuild)
	w.specVersion++
}

// endDoomed gives up what is on deleted claims whose pods do not run.
func (w *world) endDoomed() {
	for i := range mostPods {
		if p := w.pods[i]; p != nil && w.going[i] && !p.running {
			w.say("pod %d, whose claim was deleted, is given up", i)
			if w.end(i); p.lost {
				w.removePod(i) // by force, as the operator's words have it
			}
		}
	}
}

// clearAway deletes damaged volumes that the operator does not give up: those that are no member's, and all where there is no quorum.
func (w *world) clearAway(all bool) {
	for i := range mostPods {
		if d := w.claims[i]; d != nil && d.damaged {
			if _, ok := w.g.newest.FindIncarnation(d.incarnation); all || !ok {
				w.lose(i)
			}
		}
	}
}

func (w *world) recordRecovery(r Recovery) {
	if w.recovery != nil && w.recovery.From == w.recordID {
		w.fail("a second recovery of cluster %s was recorded over the first", w.recordID)
	}
	if w.rebuild == nil || w.rebuild.ClusterID != r.From {
		w.fail("a recovery of cluster %s was recorded without consent", r.From)
	}
	w.recovery = &r
	w.specVersion++
}

// runRecovery is the node's part: it founds a new cluster from all that its directory holds.
func (w *world) runRecovery(t *turn, s RunRecovery) {
	r := s.Recovery
	p := w.node(r.Pod)
	if w.recovery == nil || *w.recovery != r {
		w.fail("a recovery was run that is not the recorded one")
	}
	if p == nil || p.dir.incarnation != r.Incarnation {
		return // the node refuses, or has done it
	}
	if r.Empty {
		w.beginEmpty(t, p, s)
		return
	}
	if p.core == nil || p.dir.cluster != r.From || p.core.Status().Leader != 0 {
		return
	}
	if all, intact, _ := w.g.voters(w.claims); intact >= quorum(all) {
		w.fail("cluster %s was rebuilt although %d of %d voters have their data", r.From, intact, all)
	}
	w.stats["recover"]++
	old, d := w.g.chronicle, p.dir
	next := w.newDirectory()
	next.cluster, next.id, next.digest = r.ClusterID, d.applied.Membership.LastID+1, d.digest
	c := newChronicle()
	for index, digest := range old.digests {
		if index <= d.applied.Index {
			c.digests[index] = digest
		}
	}
	last := raft.Position{Index: d.applied.Index, Term: d.applied.Term}
	for _, e := range d.entries {
		if e.Index <= last.Index {
			continue
		}
		next.digest = chained(next.digest, e)
		c.digests[e.Index] = next.digest
		last = raft.Position{Index: e.Index, Term: e.Term}
		if e.Type == raft.EntryMembership {
			var m raft.Membership
			if err := m.UnmarshalBinary(e.Data); err != nil {
				w.fail("node %d: %v", p.ordinal, err)
			}
			next.id = max(next.id, m.LastID+1)
		}
	}
	member := s.Member
	member.ID, member.Incarnation = next.id, next.incarnation
	c.newest = raft.NewMembership(member)
	c.newest.Index = last.Index + 1
	c.digests[c.newest.Index] = next.digest
	next.start = raft.Position{Index: c.newest.Index, Term: max(last.Term, d.hard.Term) + 1}
	next.hard.Term = next.start.Term
	next.applied = raft.SnapshotMeta{Index: next.start.Index, Term: next.start.Term, Membership: c.newest, ClusterVersion: d.applied.ClusterVersion}
	for index, digest := range old.promised {
		if c.digests[index] == digest {
			c.promised[index] = digest
			continue
		}
		// It is lost, which is right only if nobody who is left has it.
		for i := range mostPods {
			if x := w.claims[i]; x != nil && x.cluster == r.From && !x.damaged && x.holds(old, index, digest) {
				w.fail("entry %d was acknowledged and is lost, although node %d has it", index, i)
			}
		}
		w.stats["lost-writes"]++
	}
	w.g.chronicle, w.g.chronicles[r.ClusterID], w.cluster = c, c, r.ClusterID
	w.g.stop(p.ordinal)
	w.claims[p.ordinal] = next
	w.g.start(p.ordinal, next)
}

// holds tells that the directory's state or log has that entry.
func (d *directory) holds(c *chronicle, index raft.Index, digest uint64) bool {
	if index <= d.applied.Index {
		return c.digests[index] == digest
	}
	at := d.digest
	for _, e := range d.entries {
		if e.Index <= d.applied.Index {
			continue
		}
		if at = chained(at, e); e.Index == index {
			return at == digest
		}
	}
	return false
}

func (w *world) beginEmpty(t *turn, p *process, s RunRecovery) {
	if p.dir.id != 0 {
		return
	}
	for i := range mostPods {
		if d := w.claims[i]; d != nil && d.cluster == s.Recovery.From && !d.damaged && d.applied.Index > 0 {
			w.fail("the cluster began empty although node %d has data", i)
		}
	}
	if r := t.o.Rebuild; r == nil || !r.StartEmpty || r.ClusterID != s.Recovery.From {
		w.fail("the cluster began empty without consent")
	}
	w.stats["begin-empty"]++
	w.cluster = s.Recovery.ClusterID
	w.g.found(p, w.cluster, s.Member)
}

// abandon is the node's part: it sets its directory aside.
func (w *world) abandon(s Abandon) {
	p := w.node(s.Pod)
	if p == nil || p.core == nil || p.dir.incarnation != s.Incarnation || p.dir.cluster != s.ClusterID || p.core.Status().Leader != 0 {
		return
	}
	if w.g.of(p.dir) == w.g.chronicle {
		w.fail("%s was told to give up the directory of the cluster that is in force", s.Pod)
	}
	w.stats["abandon"]++
	w.g.stop(p.ordinal)
	w.claims[p.ordinal] = w.newDirectory()
	w.g.start(p.ordinal, w.claims[p.ordinal])
}

// replaceVolume deletes claim and pod, and checks that a quorum has its data without it.
func (w *world) replaceVolume(t *turn, s ReplaceVolume) {
	i, _ := resources.Ordinal("demo", s.Pod)
	p := w.pods[i]
	if p == nil || p.uid != s.UID {
		return
	}
	_, member := w.g.newest.FindIncarnation(w.claims[i].incarnation)
	if l := w.g.leader(); member && p.running && p.since+2*electionTicks < t.began && w.g.swift(i) && l != nil && w.g.swift(l.ordinal) && !w.disturbed(t) {
		w.fail("the volume of %s is given up although it runs and the leader, demo-%d, reaches it; it was decided on %s", s.Pod, l.ordinal, seen(t.o))
	}
	// One that came back after the look, or just before it, is out of luck.
	if back := p.awaySince == 0 && p.backAt+2*electionTicks < t.began; member && (back || p.awaySince != 0 && p.awaySince < t.began && t.decideAt-p.awaySince <= w.unreachableTicks) {
		w.fail("the volume of %s is given up although it has been away since %d only (back at %d, looked at from %d to %d); it was decided on %s", s.Pod, p.awaySince, p.backAt, t.began, t.decideAt, seen(t.o))
	}
	if w.bad[p.template] {
		w.fail("the volume of %s is given up although its template is what keeps it from running", s.Pod)
	}
	if m, _ := w.g.newest.FindIncarnation(w.claims[i].incarnation); member && !m.Learner {
		w.othersWell(t, i, mostPods, "the volume of "+s.Pod+" is given up")
	}
	w.stats["replace-volume"]++
	w.lose(i)
	if all, intact, _ := w.g.voters(w.claims); intact < quorum(all) && !w.disturbed(t) {
		w.fail("the volume of %s was given up, which leaves %d of %d voters with their data", s.Pod, intact, all)
	}
}
