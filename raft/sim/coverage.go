package sim

import (
	"fmt"
	"reflect"
	"strings"
)

// Coverage counts what happened, so that a campaign in which something never happened can be told from one that
// survived it.
type Coverage struct {
	Boots, Elections, Campaigns                                      uint64
	Truncations, EntriesTruncated, EntriesCommitted                  uint64
	StaleCompletions, HalfInstalls                                   uint64
	Compactions, SnapshotsSent, SnapshotsFailed, SnapshotsInstalled  uint64
	Operations, Proposals, Refused, Retries, GivenUp, RepeatsDropped uint64
	ReadsConfirmed, FollowerReads, ReadsFailed                       uint64
	Changes, StaleChanges, PendingChanges, UnsafeChanges             uint64
	Invitations, Claims, ClaimsRefused                               uint64
	Introductions, MessagesToStrangers                               uint64
	LogsHeld, SluggishDisks, Absences                                uint64
	MembershipsCommitted, MembersAdded, MembersRemoved, Transfers    uint64
	MessagesLost, MessagesDoubled, MessagesDelayed, MessagesCut      uint64
	Partitions, Crashes, PowerLosses, WritesDropped, Pauses          uint64
	ClockJumps, DiskStalls, DiskErrors, Wipes, LeadersGone           uint64
	LogBitsFlipped, StateBitsFlipped, DamageFound                    uint64
	ClockDrifts, ClockStops, LeaseReads, LeasesAttacked              uint64
	JointMemberships, JointRefused                                   uint64
	FullDisks, StoppedFull, LongStalls                               uint64
	OneWayPartitions, BridgePartitions                               uint64
	PastReads, CompactedReads, HistoriesCompacted, SessionsExpired   uint64
}

// Add adds another run's counts.
func (c *Coverage) Add(o Coverage) {
	to, from := reflect.ValueOf(c).Elem(), reflect.ValueOf(o)
	for i := range to.NumField() {
		to.Field(i).SetUint(to.Field(i).Uint() + from.Field(i).Uint())
	}
}

// Missing names what never happened.
func (c Coverage) Missing() []string {
	var out []string
	c.each(func(name string, n uint64) {
		if n == 0 {
			out = append(out, name)
		}
	})
	return out
}

// String lists all counts.
func (c Coverage) String() string {
	var b strings.Builder
	c.each(func(name string, n uint64) { fmt.Fprintf(&b, "%s=%d ", name, n) })
	return strings.TrimSpace(b.String())
}

func (c Coverage) each(f func(name string, n uint64)) {
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		f(v.Type().Field(i).Name, v.Field(i).Uint())
	}
}
