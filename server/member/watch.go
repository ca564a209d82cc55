package member

import (
	"context"
	"fmt"
	"time"

	"github.com/raftkv/raftkv/raft"
)

const (
	// versionTimeout bounds one attempt to raise the cluster version, versionPause the pause before the next.
	versionTimeout = 5 * time.Second
	versionPause   = time.Second
)

// watch follows what the node and the door report until the member ends.
func (m *Member) watch(ctx context.Context) {
	measure := time.NewTicker(quotaPause)
	defer measure.Stop()
	for {
		m.quota.note(m.machine.Stats(), m.options.Logger)
		changed := m.node.Changed()
		if v := m.clusterVersion(); v > FeatureLevel {
			m.fail(fmt.Errorf("the cluster went on to version %d, this build reads up to version %d: start the newer build", v, FeatureLevel))
			return
		}
		var retry <-chan time.Time
		if !m.raiseVersion(ctx) {
			retry = time.After(versionPause)
		}
		select {
		case <-ctx.Done():
			return
		case err := <-m.node.Fatal():
			m.fail(err)
			return
		case <-changed:
		case <-m.options.Door.news:
		case <-measure.C:
		case <-retry:
		}
	}
}

func (m *Member) fail(err error) { m.fatal <- err }

// raiseVersion proposes a higher cluster version when this member leads and every member reads it (rule 9). It returns
// false when that was tried and has to be tried again.
func (m *Member) raiseVersion(ctx context.Context) bool {
	s := m.node.Summary()
	if s.Role != raft.RoleLeader || !s.CommittedInTerm {
		return true
	}
	target := commonLevel(s.Membership, m.options.Identity.MemberID, m.options.Door.featureLevels())
	if target <= m.clusterVersion() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	if err := m.node.RaiseClusterVersion(ctx, target); err != nil {
		m.options.Logger.Info("the cluster version could not be raised yet", "version", target, "reason", err)
		return false
	}
	m.options.Logger.Info("raising the cluster version: every member reads it", "version", target)
	return false // until it is applied
}

// commonLevel is the highest feature level that all members are known to read; zero if one of them is unknown.
func commonLevel(m raft.Membership, self raft.NodeID, levels map[raft.NodeID]uint32) uint32 {
	level := uint32(FeatureLevel)
	for _, x := range m.Members {
		if x.ID != self {
			level = min(level, levels[x.ID])
		}
	}
	return level
}
