package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// orphans is a cluster of five of which three volumes are gone; demo-1's log is longer than demo-0's.
func orphans() *scene {
	s := healthy(5).leaderless().wiped(2).wiped(3).wiped(4)
	s.pod(0).Node.LastTerm, s.pod(0).Node.LastIndex = 5, 900
	s.pod(1).Node.LastTerm, s.pod(1).Node.LastIndex = 6, 100
	return s
}

// allowed consents to a recovery of that cluster.
func (s *scene) allowed(id raft.ClusterID, empty bool) *scene {
	return s.do(func(o *Observation) { o.Rebuild = &Rebuild{ClusterID: id, StartEmpty: empty} })
}

// recovering has a recovery on record.
func (s *scene) recovering(pod int, empty bool) *scene {
	return s.do(func(o *Observation) {
		o.Recovery = &Recovery{From: testCluster, ClusterID: testNewCluster, Pod: podName(pod), Incarnation: o.pod(pod).Node.Incarnation, Empty: empty}
	})
}

// founded makes the pod's node the one voter of the new cluster.
func (s *scene) founded(i int) *scene {
	n := s.pod(i).Node
	m := raft.Member{ID: 6, Incarnation: 0xf0, Name: podName(i)}
	s.pod(i).Ready = true
	*n = admin.Status{Name: podName(i), State: admin.StateMember, ClusterID: testNewCluster, MemberID: 6, Incarnation: 0xf0, Role: "leader", Term: 7, Leader: 6,
		Ready: true, ConfigIndex: 901, ConfigCommitted: true, Members: []admin.MemberStatus{{Member: m, Match: 901, Active: true, CaughtUp: true}}}
	return s
}

// anew has the new cluster's ID on record.
func (s *scene) anew() *scene { return s.do(func(o *Observation) { o.ClusterID = testNewCluster }) }

// A status that somebody wrote must not have members of a cluster that works set their directories aside in a moment without a leader.
func TestARecoveryOfAClusterAsItself(t *testing.T) {
	s := healthy(3).leaderless().do(func(o *Observation) {
		o.Recovery = &Recovery{From: testCluster, ClusterID: testCluster, Pod: podName(0), Incarnation: incarnation(0)}
	})
	if d := Plan(&s.o); brief(d) != "stalled "+ReasonInvalidStatus {
		t.Errorf("got %s: %+v", brief(d), d.Stalled)
	}
}

// silent has the node of a pod not answer the operator.
func silent(s *scene, i int) *scene {
	p := s.pod(i)
	p.Node, p.NodeError, p.Ready = nil, "i/o timeout", false
	return s
}

// down has a pod not run.
func down(s *scene, i int) *scene {
	silent(s, i).pod(i).Running = false
	return s
}

func noClaim(s *scene, i int) *scene {
	s.o.Claims = slices.DeleteFunc(s.o.Claims, func(c Claim) bool { return c.Ordinal == i })
	return s
}

// unbound gives a pod a claim that has no volume yet.
func unbound(s *scene, i int) *scene {
	s.o.claim(i).Bound = false
	return s
}

// even has the survivors hold the same.
func even(s *scene) *scene {
	n := s.pod(0).Node
	n.LastTerm, n.LastIndex = s.pod(1).Node.LastTerm, s.pod(1).Node.LastIndex
	return s
}

// beyond is a cluster of five with pods for two, of which one has another directory; of the other claims only demo-2's is left.
func beyond() *scene {
	s := healthy(5).leaderless().wiped(1).desired(2).scaled(2)
	s.pod(0).Node.LastTerm, s.pod(0).Node.LastIndex = 5, 900
	return noClaim(noClaim(s, 3), 4)
}

// kept has a claim with a volume and no pod.
func kept(s *scene, i int) *scene {
	return s.do(func(o *Observation) {
		o.Claims = append(o.Claims, Claim{Ordinal: i, Name: resources.ClaimName("demo", i), Bound: true})
	})
}

// beyondAll is a cluster that had grown to five while demo-0 was away, and was applied again with three pods, of which two have other directories: demo-0 knows of three members.
func beyondAll() *scene {
	s := kept(kept(healthy(3).leaderless().wiped(1).wiped(2), 3), 4)
	s.pod(0).Node.LastTerm, s.pod(0).Node.LastIndex = 5, 900
	return s
}

// empty is a cluster of which nothing is left: all nodes have other directories.
func empty(n int) *scene {
	return healthy(n).do(func(o *Observation) {
		for i := range o.Pods {
			o.Pods[i].Ready, o.Pods[i].Node = false, &admin.Status{Name: o.Pods[i].Name, State: admin.StateEmpty, Incarnation: newIncarnation(i)}
		}
	})
}

// bare is one of which no pod runs either, on claims that have no volumes yet.
func bare(n int) *scene {
	s := empty(n)
	for i := range n {
		unbound(down(s, i), i)
	}
	return s
}

func TestRecovery(t *testing.T) {
	node := func(s *scene, i int, f func(*admin.Status)) *scene {
		f(s.pod(i).Node)
		return s
	}
	claim := func(s *scene, i int, f func(*Claim)) *scene { f(s.o.claim(i)); return s }
	gone := func(c *Claim) { c.Lost = true }
	unseen := func(s *scene, i int) *scene {
		down(s, i).pod(i).Unheard = true
		return s
	}
	sixth := func(s *scene) *scene {
		s.addEmptyPod(5)
		s.o.Workload.Replicas = 6
		return s
	}
	check(t, []row{
		{"nobody allows it", orphans(), "stalled QuorumLost"},
		{"one that is left does not answer: it may know that those that are gone are voters no more", silent(orphans(), 1), "wait QuorumUnreachable"},
		{"its claim is deleted", noClaim(down(orphans(), 1), 1), "stalled QuorumLost"},
		{"its claim is deleted, and it runs still", noClaim(silent(orphans(), 1), 1), "wait QuorumUnreachable"},
		{"it opens its directory", node(orphans(), 1, func(n *admin.Status) { *n = admin.Status{Name: n.Name, State: admin.StateOpening} }), "wait QuorumUnreachable"},
		{"it is a member of another cluster", node(orphans(), 1, func(n *admin.Status) { n.ClusterID = 0xbad }), "stalled ForeignData"},
		{"it has received nothing", node(orphans(), 1, func(n *admin.Status) { n.Members = nil }), "stalled QuorumLost"},
		{"a pod that no membership names does not answer", silent(sixth(orphans()), 5), "wait QuorumUnreachable"},
		{"nor has it a volume", unbound(down(sixth(orphans()), 5), 5), "stalled QuorumLost"},
		{"a claim that no membership names has no pod", beyondAll(), "scale 5"},
		{"a claim above those of all members", kept(orphans(), raft.MaxVoters), "stalled QuorumLost"},
		{"the longest log is that of the last term, and is recorded first", orphans().allowed(testCluster, false), "record recovery demo-1 a1"},
		{"startEmpty changes nothing where a member is left", orphans().allowed(testCluster, true), "record recovery demo-1 a1"},
		{"of the same term, the higher index", node(orphans(), 0, func(n *admin.Status) { n.LastTerm = 6 }).allowed(testCluster, false), "record recovery demo-0 a0"},
		{"another cluster is named", orphans().allowed(0xbad, false), "stalled QuorumLost"},
		{"a quorum works: the consent is not followed", healthy(5).allowed(testCluster, false), "nothing"},
		{"a quorum answers and elects", healthy(5).leaderless().wiped(4).allowed(testCluster, false), "wait NoLeader"},
		{"members that are away may come back", silent(silent(silent(healthy(5).leaderless(), 2), 3), 4).allowed(testCluster, false), "wait QuorumUnreachable"},
		{"two are gone, one may come back", silent(healthy(5).leaderless().wiped(3).wiped(4), 2).allowed(testCluster, false), "wait QuorumUnreachable"},
		{"a claim that is deleted never comes back", noClaim(down(healthy(5).leaderless().wiped(3).wiped(4), 2), 2).allowed(testCluster, false), "wait Recovering"},
		{"nor does what was on it, once there is another that has no volume yet", unbound(down(orphans(), 3), 3).allowed(testCluster, false), "record recovery demo-1 a1"},
		{"nor one that lost its volume", claim(down(healthy(3).leaderless().wiped(1), 2), 2, gone).allowed(testCluster, false), "wait Recovering"},
		{"those that lost their volumes run still, and may lead where nobody hears them", claim(claim(silent(silent(healthy(3).leaderless(), 1), 2), 1, gone), 2, gone).allowed(testCluster, false), "wait QuorumUnreachable"},
		{"they may run, whatever is said", claim(claim(unseen(unseen(healthy(3).leaderless(), 1), 2), 1, gone), 2, gone).allowed(testCluster, false), "wait QuorumUnreachable"},
		{"the longest log may be on a claim that no membership names", beyondAll().allowed(testCluster, false), "scale 5"},
		{"one that is left does not answer and may have the longest log", silent(orphans(), 1).allowed(testCluster, false), "wait Recovering"},
		{"one is too busy to say where its log ends", node(orphans(), 0, func(n *admin.Status) { n.LastIndex = 0 }).allowed(testCluster, false), "wait Recovering"},
		{"a member that is behind knows a membership in which a quorum is left, but those that are ahead do not vote for it", node(orphans(), 0, func(n *admin.Status) { n.Members = n.Members[:3] }).allowed(testCluster, false), "record recovery demo-1 a1"},
		{"a member that is ahead knows a membership in which a quorum is left", node(orphans(), 1, func(n *admin.Status) { n.Members = n.Members[:3] }).allowed(testCluster, false), "wait QuorumUnreachable"},
		{"a learner that does not answer may be a voter by an entry that only it holds", silent(sixth(orphans()).learner(5, 9, true), 5).allowed(testCluster, false), "wait Recovering"},
		{"so may a pod that no membership names", silent(sixth(orphans()), 5).allowed(testCluster, false), "wait Recovering"},
		{"a learner that has received nothing is not waited for", node(orphans().learner(2, 9, false), 2, func(n *admin.Status) { n.Members = nil }).allowed(testCluster, false), "record recovery demo-1 a1"},
		{"a learner may hold most", node(orphans().learner(2, 9, true), 2, func(n *admin.Status) { n.LastTerm, n.LastIndex, n.Leader = 6, 101, 0 }).allowed(testCluster, false), "record recovery demo-2 b2"},
		{"the longest log is about to go with its claim, as somebody asked", orphans().doomed(1).do(func(o *Observation) { o.pod(1).Terminating = true }).allowed(testCluster, false), "wait Recovering"},
		{"of which the pod does not end yet", orphans().doomed(1).allowed(testCluster, false), "record recovery demo-1 a1"},
		{"recorded: that directory is asked", orphans().allowed(testCluster, false).recovering(1, false), "recover demo-1 a1"},
		{"recorded: another holds more now", orphans().allowed(testCluster, false).recovering(0, false), "stalled RecoveryNodeLost"},
		{"recorded: another holds as much, and was away when it was", even(orphans()).allowed(testCluster, false).recovering(1, false), "recover demo-1 a1"},
		{"of two that hold the same, the first", even(orphans()).allowed(testCluster, false), "record recovery demo-0 a0"},
		{"the longest log may be on a claim without a pod", beyond().allowed(testCluster, false), "scale 3"},
		{"on a claim without a pod, and nobody allows it", beyond(), "scale 3"},
		{"which has no volume", unbound(beyond(), 2), "stalled QuorumLost"},
		{"recorded, and the consent withdrawn", orphans().recovering(1, false), "stalled QuorumLost"},
		{"recorded, and its directory vanished", orphans().allowed(testCluster, false).recovering(1, false).wiped(1), "stalled RecoveryNodeLost"},
		{"recorded, and at it", node(orphans().allowed(testCluster, false).recovering(1, false), 1, func(n *admin.Status) { n.State = admin.StateRefounding }), "wait Recovering"},
		{"recorded, and does not answer", silent(orphans().allowed(testCluster, false).recovering(1, false), 1), "wait Recovering"},
		{"done", orphans().allowed(testCluster, false).recovering(1, false).founded(1), "adopt feed"},
		{"done, but the old cluster has a leader again: that is in force", healthy(5).recovering(1, false).founded(1), "stalled ForeignData"},
		{"done, but members of the old cluster follow a leader that does not answer", node(orphans().recovering(1, false).founded(1), 0, func(n *admin.Status) { n.Leader = 3 }), "stalled ForeignData"},
		{"done, seen after the consent was taken away", orphans().recovering(1, false).founded(1), "adopt feed"},
		{"what is left of the old cluster is set aside", orphans().allowed(testCluster, false).recovering(1, false).founded(1).anew(), "abandon demo-0 c1"},
		{"unless it has a leader", node(orphans().recovering(1, false).founded(1).anew(), 0, func(n *admin.Status) { n.Leader = 3 }), "stalled ForeignData"},
		{"and joins again", orphans().allowed(testCluster, false).recovering(1, false).founded(1).anew().without(0), "add-learner demo-2 0"},
		{"it fires once: the consent names the old cluster", orphans().allowed(testCluster, true).recovering(1, false).founded(1).anew().wiped(0).wiped(1), "stalled NoMemberLeft"},
		{"nothing is left", empty(3), "stalled NoMemberLeft"},
		{"nothing is left, and only a recovery is allowed", empty(3).allowed(testCluster, false), "stalled NoMemberLeft"},
		{"nothing is left, and nothing is enough", empty(3).allowed(testCluster, true), "record recovery demo-0 b0"},
		{"recorded as empty", empty(3).allowed(testCluster, true).recovering(0, true), "recover demo-0 b0"},
		{"recorded as empty, and the pod, which is not asked for any more, ends", silent(noClaim(noClaim(empty(3).allowed(testCluster, true).recovering(2, true).desired(1), 1), 2), 2).
			do(func(o *Observation) { o.Workload.Replicas, o.pod(2).Terminating = 1, true }), "stalled RecoveryNodeLost"},
		{"recorded as empty, and its claim is gone", noClaim(down(empty(3).allowed(testCluster, true).recovering(0, true), 0), 0), "stalled RecoveryNodeLost"},
		{"recorded with a survivor, of which nothing is left either", noClaim(empty(3).allowed(testCluster, true).recovering(0, false).without(0), 0), "stalled RecoveryNodeLost"},
		{"recorded with a survivor, of which nothing is left either, and the consent taken away: it is forgotten", noClaim(empty(3).recovering(0, false).without(0), 0), "wait Recovering"},
		{"no node runs yet that could begin", bare(3).allowed(testCluster, true), "wait Recovering"},
		{"no node runs yet that could begin: it gets the new template", bare(1).allowed(testCluster, true).old(0), "delete demo-0"},
		{"one has received nothing, and no other runs", bare(2).allowed(testCluster, true).do(func(o *Observation) {
			o.pod(0).Node = &admin.Status{State: admin.StateMember, ClusterID: testCluster, Role: "learner", Incarnation: newIncarnation(0)}
		}), "wait Recovering"},
		{"all are empty but a pod that nobody asks for, which another cluster left", leftByOthers(empty(3)).allowed(testCluster, true), "record recovery demo-0 b0"},
		{"all are empty but a pod that nobody asks for, which another cluster left, and nobody allows it", leftByOthers(empty(3)), "stalled NoMemberLeft"},
		{"one does not say that it is empty", silent(empty(3), 2).allowed(testCluster, true), "wait NoLeader"},
		{"one has no volume on which anything could be", unbound(down(empty(3), 2), 2).allowed(testCluster, true), "record recovery demo-0 b0"},
		{"nor has any other", unbound(down(unbound(down(unbound(down(empty(3), 2), 2), 1), 1), 0), 0), "stalled NoMemberLeft"},
		{"all are empty, and what a claim without a pod held is lost", claim(kept(empty(3), 4), 4, gone).allowed(testCluster, true), "record recovery demo-0 b0"},
	})
}

// A template with which no pod runs must not outlive the consent: the next one is what lets a node run that the cluster begins on.
func TestAClusterThatIsToBeginEmptyTakesAnotherTemplate(t *testing.T) {
	d := Plan(&bare(1).allowed(testCluster, true).do(func(o *Observation) {
		o.Workload.Revision, o.Workload.Stale, o.pod(0).Trouble = "", true, "ErrImagePull: no such image"
	}).o)
	if d.Hold || d.Waiting == nil || !strings.Contains(d.Waiting.Message, "ErrImagePull") {
		t.Errorf("held back: %v, %v", d.Hold, d.Waiting)
	}
}

// A recovery that cannot go on and a template that made no pod ready may be one trouble: both are told, the last good template is put back, and what needs no pod goes on.
func TestARecoveryAndAFailedUpdate(t *testing.T) {
	hanging := func() *scene {
		return down(orphans(), 1).old(0).do(func(o *Observation) {
			o.pod(1).Late, o.pod(1).Trouble, o.Good = true, "ErrImagePull: no such image", revisionOld
		})
	}
	failed := func(s *scene) *scene {
		return s.do(func(o *Observation) {
			o.Workload.Revision, o.Workload.Stale, o.Workload.Failed = "", true, revisionNow
			for i := range o.Pods {
				o.Pods[i].Ready = false
			}
		})
	}
	bad := func(s *scene) *scene {
		for i := range s.o.Pods {
			s.pod(i).Late, s.o.Good = true, revisionOld
		}
		return s
	}
	check(t, []row{
		{"one that may hold most hangs on the new template", hanging().allowed(testCluster, false), "put back r1"},
		{"which was put back", failed(hanging().allowed(testCluster, false)), "stalled UpdateFailed"},
		{"and nobody allows a recovery", hanging(), "put back r1"},
		{"it answers: the recovery goes on", failed(orphans().old(0)).allowed(testCluster, false), "record recovery demo-1 a1"},
		{"all are empty", failed(empty(3)).allowed(testCluster, true), "record recovery demo-0 b0"},
		{"all are empty, and it is on record", failed(empty(3)).allowed(testCluster, true).recovering(0, true), "recover demo-0 b0"},
		{"all are empty, and nobody allows anything", failed(empty(3)), "stalled UpdateFailed"},
		{"no node runs that could begin", bad(bare(3)).allowed(testCluster, true), "put back r1"},
	})
	for _, c := range []struct {
		s    *scene
		says string
	}{
		{hanging().allowed(testCluster, false), "; besides, cluster c1 is to be rebuilt from the member with the longest log"},
		{failed(empty(3)), "; besides, all nodes that have a volume answer"},
		{failed(bare(3)).allowed(testCluster, true), "; besides, cluster c1, of which nothing is left, begins empty as soon as"},
	} {
		if d := Plan(&c.s.o); d.Stalled == nil || d.Stalled.Reason != ReasonUpdateFailed || !strings.Contains(d.Stalled.Message, c.says) {
			t.Errorf("got %v, want that it says %q", d.Stalled, c.says)
		}
	}
}

// What is said of another cluster's data must not cost it.
func TestDataOfAnotherClusterIsToldOf(t *testing.T) {
	other := func(s *scene, i int) *scene {
		return s.do(func(o *Observation) { o.pod(i).Node.ClusterID = 0xbad })
	}
	record := `recovery: {from: "c1", clusterID: "feed", pod: demo-1, incarnation: "f0"}`
	for name, c := range map[string]struct {
		s         *scene
		says, not string
	}{
		"one of a working cluster's":           {other(healthy(3), 2), "delete the claim data-demo-2 and then the pod, else set replicas to 2 or less", "status"},
		"that of the first":                    {other(healthy(3), 0), "Retain", "replicas"},
		"what may have taken its place":        {orphans().founded(1), record, "delete"},
		"and nothing is left of that":          {healthy(3).leaderless().wiped(0).wiped(2).founded(1), record, "delete"},
		"or one that does not answer":          {healthy(3).leaderless().wiped(0).silent(2).founded(1), "set replicas to 1", "status"},
		"or a claim without a pod":             {kept(healthy(3).leaderless().wiped(0).wiped(2).founded(1), 3), "set replicas to 1", "status"},
		"the consent stands":                   {orphans().founded(1).allowed(testCluster, false), record, "delete"},
		"a quorum of the others may elect":     {healthy(5).leaderless().founded(1), "set replicas to 1", "status"},
		"they follow a leader":                 {healthy(5).silent(0).founded(1), "set replicas to 1", "status"},
		"its ID was given before theirs":       {orphans().founded(1).do(func(o *Observation) { o.pod(1).Node.MemberID = 5 }), "set replicas to 1", "status"},
		"no member that is known had its name": {orphans().founded(1).view(withoutID(2)), "set replicas to 1", "status"},
	} {
		d := Plan(&c.s.o)
		if d.Stalled == nil || d.Stalled.Reason != ReasonForeignData || !strings.Contains(d.Stalled.Message, c.says) || strings.Contains(d.Stalled.Message, c.not) {
			t.Errorf("%s: got %v, want that it says %q, and not %q", name, d.Stalled, c.says, c.not)
		}
	}
	s := orphans().founded(1).do(func(o *Observation) {
		o.Recovery = &Recovery{From: testCluster, ClusterID: testNewCluster, Pod: "demo-1", Incarnation: o.pod(1).Node.Incarnation}
	})
	if d := Plan(&s.o); brief(d) != "adopt feed" {
		t.Errorf("what the person was told to put on record came to %s", brief(d))
	}
}

func TestARecoveryThatIsNotFollowedSaysWhy(t *testing.T) {
	s := healthy(5).leaderless().wiped(3).wiped(4).allowed(testCluster, false)
	p := s.pod(2)
	p.Node, p.NodeError, p.Running = nil, "i/o timeout", false
	d := Plan(&s.o)
	if d.Waiting == nil || !strings.Contains(d.Waiting.Message, "spec.recovery is not followed") || !strings.Contains(d.Waiting.Message, "demo-2") {
		t.Errorf("got %v", d.Waiting)
	}
	if d := Plan(&silent(orphans(), 1).o); !strings.Contains(d.Waiting.Message, "3 of 5 voters (demo-2, demo-3, demo-4) lost") || !strings.Contains(d.Waiting.Message, "demo-1 does not answer") {
		t.Errorf("got %v", d.Waiting)
	}
	if d := Plan(&orphans().o); !strings.Contains(d.Stalled.Message, `clusterID: "c1"`) || !strings.Contains(d.Stalled.Message, "demo-2, demo-3, demo-4") {
		t.Errorf("got %v", d.Stalled)
	}
}

func TestARecoveryThatCameToNothingIsForgotten(t *testing.T) {
	for name, r := range map[string]struct {
		s    *scene
		want bool
	}{
		"a quorum came back":                               {healthy(3).recovering(1, false), true},
		"the consent was withdrawn":                        {orphans().recovering(1, false), true},
		"and another one does not answer":                  {silent(orphans().recovering(1, false), 0), true},
		"and the directory vanished":                       {orphans().recovering(1, false).wiped(1), true},
		"and its pod is gone with its claim":               {noClaim(orphans().recovering(1, false).without(1), 1), true},
		"and its new claim gets no volume":                 {unbound(down(orphans().recovering(1, false), 1), 1), true},
		"it was to begin empty, and its claim is gone":     {noClaim(down(empty(3).recovering(0, true), 0), 0), true},
		"and it only does not answer":                      {silent(orphans().recovering(1, false), 1), false},
		"its claim has no volume, and it is allowed still": {unbound(down(orphans().allowed(testCluster, false).recovering(1, false), 1), 1), false},
		"under way":                   {orphans().allowed(testCluster, false).recovering(1, false), false},
		"done":                        {orphans().recovering(1, false).founded(1), false},
		"done long ago":               {orphans().recovering(1, false).founded(1).anew().without(0), false},
		"vanished, and still allowed": {orphans().allowed(testCluster, false).recovering(1, false).wiped(1), false},
	} {
		if d := Plan(&r.s.o); d.ForgetRecovery != r.want {
			t.Errorf("%s: forgotten is %v (%s)", name, d.ForgetRecovery, brief(d))
		}
	}
}

func TestRecoveryAsksForTheRecordedDirectory(t *testing.T) {
	d := Plan(&orphans().allowed(testCluster, false).o)
	want := Recovery{From: testCluster, ClusterID: testNewCluster, Pod: "demo-1", Incarnation: incarnation(1)}
	if got := d.Step.(RecordRecovery).Recovery; got != want {
		t.Errorf("recorded %+v, want %+v", got, want)
	}
	s := orphans().allowed(testCluster, false).recovering(1, false)
	run := Plan(&s.o).Step.(RunRecovery)
	if run.Recovery != want || run.Member.PeerAddress != "demo-1.demo-peers.ns.svc:2380" || run.Member.Name != "demo-1" {
		t.Errorf("got %+v", run)
	}
}

// A node that opens its directory says nothing of it yet, least of all that it is another one: the recovery on record is kept, since it may
// just have been carried out, and nobody is called.
func TestANodeThatOpensItsDirectoryHasLostNothing(t *testing.T) {
	opens := func(s *scene, i int) *Observation {
		p := s.pod(i)
		p.Ready, p.Node = false, &admin.Status{Name: p.Name, State: admin.StateOpening}
		return &s.o
	}
	for name, o := range map[string]*Observation{
		"a recovery":                       opens(orphans().allowed(testCluster, false).recovering(1, false), 1),
		"one whose consent was taken away": opens(orphans().recovering(1, false), 1),
	} {
		if d := Plan(o); d.ForgetRecovery || d.Step != nil || d.Stalled != nil && d.Stalled.Reason == ReasonRecoveryNodeLost {
			t.Errorf("%s: %s, forgotten is %v", name, brief(d), d.ForgetRecovery)
		}
	}
	s := healthy(3).do(func(o *Observation) {
		o.ClusterID = 0
		o.Bootstrap = &Bootstrap{ClusterID: testCluster, Pod: podName(0), Incarnation: incarnation(0)}
		for i := range o.Pods {
			o.Pods[i].Node = &admin.Status{Name: o.Pods[i].Name, State: admin.StateEmpty, Incarnation: newIncarnation(i)}
		}
	})
	if d := Plan(opens(s, 0)); brief(d) != "wait Bootstrapping" {
		t.Errorf("a bootstrap: %s", brief(d))
	}
}
