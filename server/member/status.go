package member

import (
	"context"
	"fmt"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/server/admin"
)

// Describe fills in what a member knows of itself and its cluster. When the node is too busy to answer within ctx, what
// changes fast is left out.
func (m *Member) Describe(ctx context.Context, s *admin.Status) {
	now := m.replica.Status()
	summary := now.Summary
	s.ClusterVersion = now.ClusterVersion
	s.Role, s.Term, s.Leader = summary.Role.String(), summary.Term, summary.Leader
	s.ConfigIndex, s.ConfigCommitted = summary.ConfigIndex, summary.ConfigCommitted
	s.Applied, s.Commit = now.Applied, now.Applied
	full, err := m.replica.Node().Status(ctx)
	if err == nil {
		s.Commit = max(full.Commit, s.Commit)
		s.LastTerm, s.LastIndex = full.Last.Term, full.Last.Index
	}
	s.Ready = summary.Ready
	switch {
	case summary.Ready:
	case summary.Leader == 0:
		s.NotReady = "no leader is known"
	default:
		s.NotReady = fmt.Sprintf("catching up with the leader, member %s", summary.Leader)
	}
	for _, a := range m.machine.Alarms() {
		s.Alarms = append(s.Alarms, admin.Alarm{Member: a.Member, Type: a.Type.String()})
	}
	s.Members = make([]admin.MemberStatus, 0, len(summary.Membership.Members))
	for _, x := range summary.Membership.Members {
		s.Members = append(s.Members, m.describeMember(x, summary, full))
	}
}

func (m *Member) describeMember(x raft.Member, summary node.Summary, full raft.Status) admin.MemberStatus {
	out := admin.MemberStatus{Member: x}
	if summary.Role != raft.RoleLeader {
		return out
	}
	if x.ID == m.replica.Status().Identity.MemberID {
		out.Match, out.Active, out.CaughtUp = full.Stored, true, true
		return out
	}
	out.Active = summary.Active[x.ID]
	if p, known := full.Progress[x.ID]; known {
		out.Match, out.Active, out.CaughtUp = p.Match, p.Active, p.CaughtUp
	}
	return out
}
