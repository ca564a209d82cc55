package member

import (
	"context"
	"time"

	"github.com/raftkv/raftkv/kv"
)

const (
	// compactionPause is how often the leader looks whether history is to be given up, compactionTimeout bounds one attempt.
	compactionPause   = 5 * time.Second
	compactionTimeout = 5 * time.Second
	// compactionSlack is the part of the retention by which history may be longer, so that few compactions give up much.
	compactionSlack = 10
)

// compactHistory gives up the history behind the retention, on the leader.
func (m *Member) compactHistory(ctx context.Context) {
	retention := m.options.Config.AutoCompactionRetention
	if retention == 0 {
		return
	}
	pause := time.NewTicker(compactionPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		revision, compacted := m.machine.Revision()
		target := compactionTarget(revision, compacted, retention)
		if target == 0 || !m.replica.Status().Leads() {
			continue
		}
		if err := m.compact(ctx, target); err != nil {
			m.options.Logger.Info("the history could not be compacted yet", "revision", target, "reason", err)
			continue
		}
		m.options.Logger.Info("compacted the history", "revision", target)
	}
}

func (m *Member) compact(ctx context.Context, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, compactionTimeout)
	defer cancel()
	result, err := m.Propose(ctx, kv.Compact(revision))
	if err != nil {
		return err
	}
	return result.Err
}

// compactionTarget is the revision before which history is given up so that retention revisions remain; zero for none.
func compactionTarget(revision, compacted, retention uint64) uint64 {
	if revision <= compacted || revision-compacted <= retention+retention/compactionSlack {
		return 0
	}
	return revision - retention
}
