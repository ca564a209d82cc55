package replica

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
	// watchPause is how often the cluster version is looked at, which a follower learns of by applying it.
	watchPause = time.Second
)

// watch follows what the node and the door report until the member ends.
func (m *member) watch(ctx context.Context) {
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	var failed <-chan struct{}
	failing, ok := m.machine.(Failing)
	if ok {
		failed = failing.Failed()
	}
	for {
		changed := m.node.Changed()
		if v := m.clusterVersion(); v > m.level {
			m.fatal <- fmt.Errorf("the cluster went on to version %d, this build reads up to version %d: start the newer build", v, m.level)
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
			m.fatal <- err
			return
		case <-failed:
			m.fatal <- failing.Failure()
			return
		case <-changed:
		case <-m.door.news:
		case <-pause.C:
		case <-retry:
		}
	}
}

// raiseVersion proposes a higher cluster version when this member leads and every member reads it. It returns false when
// that was tried and has to be tried again.
func (m *member) raiseVersion(ctx context.Context) bool {
	s := m.node.Summary()
	if s.Role != raft.RoleLeader || !s.CommittedInTerm {
		return true
	}
	target := commonLevel(s.Membership, m.id.MemberID, m.level, m.door.featureLevels())
	if target <= m.clusterVersion() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	if err := m.node.RaiseClusterVersion(ctx, target); err != nil {
		m.logger.Info("the cluster version could not be raised yet", "version", target, "reason", err)
		return false
	}
	m.logger.Info("raising the cluster version: every member reads it", "version", target)
	return false // until it is applied
}

// commonLevel is the highest feature level that all members are known to read; zero if one of them is unknown. Who is invited is none of them yet, and
// comes to a cluster of the version that it has then.
func commonLevel(m raft.Membership, self raft.NodeID, level uint32, levels map[raft.NodeID]uint32) uint32 {
	for _, x := range m.Members {
		if x.ID != self && !x.Invited() {
			level = min(level, levels[x.ID])
		}
	}
	return level
}
