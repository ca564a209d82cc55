package sim

import (
	"fmt"
	"strings"
	"time"
)

// Report is the account of a campaign for a person: how much was simulated, how fast, and what went wrong in it on purpose.
func (s Summary) Report() string {
	var b strings.Builder
	perSecond := 0.0
	if s.CPU > 0 {
		perSecond = s.Virtual.Seconds() / s.CPU.Seconds()
	}
	fmt.Fprintf(&b, "%d seeds, %.1f simulated hours, %d steps in %s of processor time: %.0f simulated seconds for each second\n",
		s.Seeds, s.Virtual.Hours(), s.Events, s.CPU.Round(time.Second), perSecond)
	c := &s.Coverage
	for _, line := range []struct {
		what  string
		items []item
	}{
		{"network", []item{
			{"partitions", c.Partitions}, {"of them one-way", c.OneWayPartitions}, {"with a bridge", c.BridgePartitions},
			{"messages lost", c.MessagesLost}, {"doubled", c.MessagesDoubled}, {"reordered", c.MessagesDelayed}, {"cut off", c.MessagesCut},
			{"to whom the sender does not know", c.MessagesToStrangers}, {"introductions", c.Introductions},
		}},
		{"programs", []item{{"crashes", c.Crashes}, {"long absences", c.Absences}, {"power losses", c.PowerLosses}, {"of them with writes dropped or torn", c.WritesDropped}, {"pauses", c.Pauses}}},
		{"clocks", []item{{"changes of rate", c.ClockDrifts}, {"stops", c.ClockStops}, {"leaps", c.ClockJumps}}},
		{"disks", []item{
			{"stalls", c.DiskStalls}, {"of them past the hand-over", c.LongStalls}, {"slow for long", c.SluggishDisks}, {"failed syncs", c.DiskErrors}, {"full", c.FullDisks},
			{"stops for want of room", c.StoppedFull}, {"bits flipped in logs", c.LogBitsFlipped}, {"in states", c.StateBitsFlipped},
			{"members stopped by damage", c.DamageFound}, {"disks wiped", c.Wipes},
		}},
		{"membership", []item{
			{"changes", c.Changes}, {"committed", c.MembershipsCommitted}, {"of them joint", c.JointMemberships}, {"members added", c.MembersAdded},
			{"removed", c.MembersRemoved}, {"invited", c.Invitations}, {"claimed", c.Claims}, {"claims refused", c.ClaimsRefused}, {"hand-overs", c.Transfers},
		}},
		{"logs", []item{
			{"entries committed", c.EntriesCommitted}, {"truncated", c.EntriesTruncated}, {"compactions", c.Compactions}, {"held up for receivers of snapshots", c.LogsHeld},
			{"snapshots installed", c.SnapshotsInstalled}, {"broken off", c.SnapshotsFailed}, {"elections won", c.Elections},
		}},
		{"clients", []item{
			{"operations", c.Operations}, {"retries", c.Retries}, {"repeats dropped", c.RepeatsDropped}, {"reads by a round", c.ReadsConfirmed - c.LeaseReads},
			{"by a lease", c.LeaseReads}, {"of the past", c.PastReads}, {"of what was compacted", c.CompactedReads}, {"histories compacted", c.HistoriesCompacted},
			{"sessions expired", c.SessionsExpired},
		}},
	} {
		fmt.Fprintf(&b, "  %-11s", line.what)
		for i, x := range line.items {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %d", x.name, x.count)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

type item struct {
	name  string
	count uint64
}
