package plan

import (
	"fmt"

	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

const (
	testCluster     = raft.ClusterID(0xc1)
	testNewCluster  = raft.ClusterID(0xfeed)
	testConfigIndex = raft.Index(77)
	revisionNow     = "r2"
	revisionOld     = "r1"
)

// scene builds Observations for tests: a cluster "demo" that is as it should be, then told what is wrong with it.
type scene struct{ o Observation }

func podName(i int) string { return resources.PodName("demo", i) }

// fresh is a new cluster: n pods that run, all empty.
func fresh(n int) *scene {
	s := &scene{Observation{Cluster: "demo", Namespace: "ns", Desired: n, NewClusterID: testNewCluster, Leaderless: true,
		Workload: &Workload{Replicas: n, Revision: revisionNow}}}
	for i := range n {
		s.addEmptyPod(i)
	}
	return s
}

// healthy is a founded cluster of n voters with IDs 1 to n, led by demo-0.
func healthy(n int) *scene {
	s := fresh(n)
	s.o.ClusterID = testCluster
	var members []admin.MemberStatus
	for i := range n {
		members = append(members, admin.MemberStatus{
			Member: raft.Member{ID: raft.NodeID(i + 1), Incarnation: incarnation(i), Name: podName(i)}, Match: 100, Active: true, CaughtUp: true})
	}
	for i := range n {
		p := s.pod(i)
		p.Ready = true
		p.Node = &admin.Status{Name: p.Name, State: admin.StateMember, ClusterID: testCluster, MemberID: raft.NodeID(i + 1),
			Incarnation: incarnation(i), Role: "follower", Term: 5, Leader: 1, Ready: true,
			ConfigIndex: testConfigIndex, ConfigCommitted: true, Members: members}
	}
	s.pod(0).Node.Role = "leader"
	s.pod(0).Role = resources.RoleLeader
	return s
}

func incarnation(i int) raft.Incarnation { return raft.Incarnation(0xa0 + i) }

func newIncarnation(i int) raft.Incarnation { return raft.Incarnation(0xb0 + i) }

func (s *scene) addEmptyPod(i int) {
	s.o.Pods = append(s.o.Pods, Pod{Ordinal: i, Name: podName(i), UID: fmt.Sprintf("uid-%d", i), Revision: revisionNow, Running: true,
		Node: &admin.Status{Name: podName(i), State: admin.StateEmpty, Incarnation: incarnation(i)}})
	s.o.Claims = append(s.o.Claims, Claim{Ordinal: i, Name: resources.ClaimName("demo", i), Bound: true})
}

func (s *scene) pod(i int) *Pod { return s.o.pod(i) }

// view changes what the members know of the membership, the leader included.
func (s *scene) view(f func(m []admin.MemberStatus) []admin.MemberStatus) *scene {
	for i := range s.o.Pods {
		n := s.o.Pods[i].Node
		if n != nil && n.State == admin.StateMember {
			n.Members = f(append([]admin.MemberStatus(nil), n.Members...))
		}
	}
	return s
}

func (s *scene) member(i int, f func(m *admin.MemberStatus)) *scene {
	return s.view(func(members []admin.MemberStatus) []admin.MemberStatus {
		for k := range members {
			if members[k].Name == podName(i) {
				f(&members[k])
			}
		}
		return members
	})
}

// silent makes a node stop: neither operator nor leader hear of it.
func (s *scene) silent(i int) *scene {
	p := s.pod(i)
	p.Node, p.NodeError, p.Ready, p.Running = nil, "connection refused", false, false
	return s.member(i, func(m *admin.MemberStatus) { m.Active, m.CaughtUp = false, false })
}

// wiped makes the node come back with a fresh volume.
func (s *scene) wiped(i int) *scene {
	s.silent(i)
	p := s.pod(i)
	p.Running = true
	p.Node = &admin.Status{Name: p.Name, State: admin.StateEmpty, Incarnation: newIncarnation(i)}
	return s
}

// learner adds the wiped or new node as a learner with that ID.
func (s *scene) learner(i int, id raft.NodeID, caughtUp bool) *scene {
	p := s.pod(i)
	for k := range s.o.Pods {
		if n := s.o.Pods[k].Node; n != nil && n.State == admin.StateMember {
			p.Node.Members, p.Node.ConfigIndex, p.Node.ConfigCommitted, p.Node.Leader = n.Members, n.ConfigIndex, true, n.Leader
			break
		}
	}
	p.Node.State, p.Node.ClusterID, p.Node.MemberID, p.Node.Role, p.Node.Ready = admin.StateMember, testCluster, id, "learner", caughtUp
	s.view(func(m []admin.MemberStatus) []admin.MemberStatus {
		return append(m, admin.MemberStatus{Member: raft.Member{ID: id, Incarnation: p.Node.Incarnation, Name: p.Name, Learner: true},
			Match: 100, Active: true, CaughtUp: caughtUp})
	})
	p.Ready = caughtUp
	return s
}

// joint makes all members know changes of more than one vote.
func (s *scene) joint() *scene {
	for k := range s.o.Pods {
		if n := s.o.Pods[k].Node; n != nil {
			n.ClusterVersion = raft.JointVersion
		}
	}
	return s
}

// withdrawn takes a pod out of the client Service, a moment ago or so long ago that no client is sent to it any more.
func (s *scene) withdrawn(i int, forgotten bool) *scene {
	s.pod(i).Withdrawn, s.pod(i).Forgotten = true, forgotten
	return s
}

func (s *scene) without(i int) *scene {
	for k := range s.o.Pods {
		if s.o.Pods[k].Ordinal == i {
			s.o.Pods = append(s.o.Pods[:k:k], s.o.Pods[k+1:]...)
			break
		}
	}
	return s
}

func (s *scene) leaderIs(i int) *scene {
	for k := range s.o.Pods {
		if n := s.o.Pods[k].Node; n != nil {
			n.Role = "follower"
			n.Leader = raft.NodeID(i + 1)
		}
	}
	s.pod(i).Node.Role = "leader"
	return s
}

func (s *scene) old(ordinals ...int) *scene {
	for _, i := range ordinals {
		s.pod(i).Revision = revisionOld
	}
	return s
}

func (s *scene) leaderless() *scene {
	for k := range s.o.Pods {
		if n := s.o.Pods[k].Node; n != nil && n.State == admin.StateMember {
			n.Role, n.Leader, n.Ready = "follower", 0, false
		}
	}
	return s
}

func (s *scene) desired(n int) *scene {
	s.o.Desired = n
	return s
}

func (s *scene) do(f func(o *Observation)) *scene {
	f(&s.o)
	return s
}
