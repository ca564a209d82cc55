package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/backend"
)

const (
	// measurePause is how often the size of the store is looked at, compactPause how often its history.
	measurePause, compactPause = time.Second, 5 * time.Second
	// roomAgain is the part of the quota below which a full store takes writes again, in percent: above it, the next writes would
	// fill it up at once.
	roomAgain = 90
)

// maintain looks after the size of the store, its history and silent watches.
func (s *Store) maintain(ctx context.Context) {
	measure, compact, progress := time.NewTicker(measurePause), time.NewTicker(compactPause), time.NewTicker(s.options.ProgressInterval)
	defer measure.Stop()
	defer compact.Stop()
	defer progress.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-measure.C:
			s.measure()
			s.sound(ctx)
		case <-compact.C:
			s.compact(ctx)
		case <-progress.C:
			s.hub.Progress()
		}
	}
}

// measure takes down how large the store is, and may be.
func (s *Store) measure() {
	s.extend()
	stats := s.machine.Stats()
	if stats.FileBytes == 0 {
		return // its file is closed, or being replaced: what was seen last is nearer to the truth
	}
	s.used.Store(stats.UsedBytes + int64(stats.OverlayBytes))
}

// extend takes a larger quota: who enlarges the volume of a full store is not to restart the node for it.
func (s *Store) extend() {
	if s.options.QuotaNow == nil {
		return
	}
	now, err := s.options.QuotaNow()
	if before := s.quota.Load(); err == nil && now > before && s.quota.CompareAndSwap(before, now) {
		s.options.Logger.Info("the quota has grown with the file system", "quotaBytes", now, "before", before)
	}
}

// room refuses what can grow a store that is full. The alarm does so on all nodes; this does before it is up.
func (s *Store) room(c *kv.Command) error {
	used, quota := s.used.Load(), s.quota.Load()
	if quota <= 0 || used <= quota || !c.Grows() {
		return nil
	}
	return fmt.Errorf("%w: %d of %d bytes are used: delete keys, compact the history, keep less of it (--auto-compaction-retention), or raise "+
		"--quota-backend-bytes on all nodes (of a RaftCluster: spec.autoCompaction, spec.storage.quota)", backend.ErrNoSpace, used, quota)
}

// alarmChange decides whether the alarm of a store is to be raised or lowered.
func alarmChange(used, quota int64, up bool) (raise, lower bool) {
	if quota <= 0 {
		return false, up
	}
	return !up && used > quota, up && used <= quota/100*roomAgain
}

// sound raises or lowers this node's alarm for want of space, and lowers those that nobody else will.
func (s *Store) sound(ctx context.Context) {
	if s.node.Standing().Leads {
		s.lowerOrphans(ctx)
	}
	own := kv.Alarm{Member: s.Header().MemberID, Type: kv.AlarmNoSpace}
	up := false
	for _, a := range s.machine.Alarms() {
		up = up || a == own
	}
	raise, lower := alarmChange(s.used.Load(), s.quota.Load(), up)
	if !raise && !lower {
		return
	}
	c := kv.RaiseAlarm(own)
	if lower {
		c = kv.LowerAlarm(own)
	}
	if _, err := s.own(ctx, c); err != nil {
		if !errors.Is(err, backend.ErrUnsupported) {
			s.options.Logger.Info("the alarm about space could not be changed yet", "reason", err)
		}
		return
	}
	s.options.Logger.Warn("the store has crossed its quota", "usedBytes", s.used.Load(), "quotaBytes", s.quota.Load(), "takesWrites", lower)
}

// lowerOrphans lowers the alarms for want of space of members that are gone. Those that were up go with their member, but what it proposed last may
// come behind its removal in the log, and would keep all others from writing for good.
func (s *Store) lowerOrphans(ctx context.Context) {
	alarms := s.machine.Alarms() // before the members: whoever joins meanwhile is no orphan
	members := s.machine.Applied().Membership
	if len(members.Members) == 0 {
		return
	}
	for _, a := range alarms {
		if _, there := members.Find(a.Member); there || a.Type != kv.AlarmNoSpace {
			continue
		}
		if _, err := s.own(ctx, kv.LowerAlarm(a)); err != nil {
			s.options.Logger.Info("the alarm of a member that is gone could not be lowered yet", "alarmed", a.Member.String(), "reason", err)
			return
		}
		s.options.Logger.Warn("lowered the alarm about space of a member that is gone", "alarmed", a.Member.String())
	}
}

// compact gives up the history behind the retention, on the leader. All nodes follow it, so that a new leader knows the times.
func (s *Store) compact(ctx context.Context) {
	now := s.now()
	revision, compacted := s.machine.Revision()
	s.options.Retention.Note(now, revision)
	target := s.options.Retention.Target(now, revision, compacted)
	if target == 0 || !s.node.Standing().Leads {
		return
	}
	if _, err := s.own(ctx, kv.Compact(target)); err != nil {
		s.options.Logger.Info("the history could not be compacted yet", "revision", target, "reason", err)
		return
	}
	s.options.Logger.Info("compacted the history", "revision", target)
}

// Status is that of backend.Store.
func (s *Store) Status(context.Context) (backend.Status, error) {
	at, applied, stats := s.node.Standing(), s.machine.Applied(), s.machine.Stats()
	out := backend.Status{
		Header: at.Header, Leader: at.Leader, Learner: at.Learner, Committed: max(at.Committed, applied.Index), Applied: applied.Index,
		FileBytes: stats.FileBytes, UsedBytes: stats.UsedBytes, QuotaBytes: s.quota.Load(),
	}
	out.Revision, out.CompactedRevision = s.machine.Revision()
	if at.Leader == 0 {
		out.Errors = append(out.Errors, "no leader is known")
	}
	out.Alarms = s.machine.Alarms()
	for _, a := range out.Alarms {
		out.Errors = append(out.Errors, alarmText(a))
	}
	return out, nil
}

func alarmText(a kv.Alarm) string {
	switch a.Type {
	case kv.AlarmNoSpace:
		return fmt.Sprintf("the store of member %s is full", a.Member)
	case kv.AlarmCorrupt:
		return fmt.Sprintf("the store of member %s differs from the others", a.Member)
	}
	return fmt.Sprintf("alarm %d of member %s", a.Type, a.Member)
}

// Alarm is that of backend.Store.
func (s *Store) Alarm(ctx context.Context, r backend.AlarmRequest) ([]kv.Alarm, error) {
	if r.Action == backend.AlarmGet {
		if err := s.node.ReadBarrier(ctx); err != nil {
			return nil, err
		}
		return s.matching(r.Member, r.Type), nil
	}
	if r.Action == backend.AlarmRaise {
		if r.Member == 0 {
			r.Member = s.Header().MemberID
		}
		if r.Type == kv.AlarmNone {
			return nil, fmt.Errorf("%w: an alarm without a type", kv.ErrMalformed)
		}
		// Nobody would lower those of others, and each is kept, and looked at with every write.
		if _, there := s.machine.Applied().Membership.Find(r.Member); !there && r.Member != s.Header().MemberID {
			return nil, fmt.Errorf("%w: an alarm of %s, which is no member", kv.ErrMalformed, r.Member)
		}
		a := kv.Alarm{Member: r.Member, Type: r.Type}
		_, err := s.propose(ctx, kv.RaiseAlarm(a))
		return []kv.Alarm{a}, err
	}
	lowered := s.matching(r.Member, r.Type)
	s.measure()
	for _, a := range lowered {
		if _, err := s.propose(ctx, kv.LowerAlarm(a)); err != nil {
			return nil, err
		}
	}
	return lowered, nil
}

func (s *Store) matching(member raft.NodeID, kind kv.AlarmType) []kv.Alarm {
	var out []kv.Alarm
	for _, a := range s.machine.Alarms() {
		if (member == 0 || a.Member == member) && (kind == kv.AlarmNone || a.Type == kind) {
			out = append(out, a)
		}
	}
	return out
}
