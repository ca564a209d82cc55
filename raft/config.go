package raft

import (
	"errors"
	"fmt"
)

// Config is fixed for the life of a Core.
type Config struct {
	ID NodeID
	// ElectionTicks is the least number of ticks without a leader's word before an election; the
	// actual timeout is drawn from [ElectionTicks, 2*ElectionTicks) (§5.2).
	ElectionTicks int
	// HeartbeatTicks is the number of ticks between heartbeats of a leader.
	HeartbeatTicks int
	// Random returns a number in [0, n). It is the core's only source of randomness.
	Random func(n int) int
	// Limits default to the Default* constants when zero.
	MaxEntryBytes       int // a proposal's data
	MaxAppendBytes      int // entries' bytes in one append message, which carries at least one entry
	MaxInflightMessages int // append messages to one follower that were not answered
	MaxInflightBytes    int // their entries' bytes
	MaxUncommittedBytes int // proposals that are not committed; past it they are refused
	MaxApplyBytes       int // committed entries handed out that were not reported applied
	MaxPendingReads     int // reads that wait for a round
	// StorageStallTicks is how long a write to stable storage may take. Past it a leader hands over, and a member does not
	// stand for election. Zero means 4 * ElectionTicks.
	StorageStallTicks int
	// LeaseReads lets this member answer reads without a round as a leader, and make the promises that this takes as a
	// follower. It rests on clocks: ClockDriftPercent bounds by how much those of two members may disagree over an election
	// timeout (zero means DefaultClockDriftPercent), and TickMicros says how long a tick is, in microseconds.
	LeaseReads        bool
	ClockDriftPercent int
	TickMicros        int
}

// Limits that hold where Config names none.
const (
	DefaultMaxEntryBytes       = 8 << 20
	DefaultMaxAppendBytes      = 1 << 20
	DefaultMaxInflightMessages = 256
	DefaultMaxInflightBytes    = 16 << 20
	DefaultMaxUncommittedBytes = 64 << 20
	DefaultMaxApplyBytes       = 16 << 20
	DefaultMaxPendingReads     = 16384
)

func (cfg *Config) complete() error {
	switch {
	case cfg.ID == 0:
		return errors.New("raft: a member needs an ID")
	case cfg.Random == nil:
		return errors.New("raft: Config.Random is missing")
	case cfg.HeartbeatTicks < 1:
		return fmt.Errorf("raft: %d heartbeat ticks, at least 1 is needed", cfg.HeartbeatTicks)
	case cfg.ElectionTicks <= cfg.HeartbeatTicks:
		return fmt.Errorf("raft: %d election ticks must be more than %d heartbeat ticks", cfg.ElectionTicks, cfg.HeartbeatTicks)
	}
	if cfg.ClockDriftPercent < 0 || cfg.ClockDriftPercent > MaxClockDriftPercent {
		return fmt.Errorf("raft: a clock drift of %d %%, from 1 to %d is possible", cfg.ClockDriftPercent, MaxClockDriftPercent)
	}
	if cfg.LeaseReads && cfg.TickMicros < 1 {
		return fmt.Errorf("raft: lease reads need to know how long a tick is, and %d microseconds is too short", cfg.TickMicros)
	}
	for _, limit := range []struct {
		value  *int
		preset int
	}{
		{&cfg.StorageStallTicks, 4 * cfg.ElectionTicks},
		{&cfg.ClockDriftPercent, DefaultClockDriftPercent},
		{&cfg.MaxEntryBytes, DefaultMaxEntryBytes},
		{&cfg.MaxAppendBytes, DefaultMaxAppendBytes},
		{&cfg.MaxInflightMessages, DefaultMaxInflightMessages},
		{&cfg.MaxInflightBytes, DefaultMaxInflightBytes},
		{&cfg.MaxUncommittedBytes, DefaultMaxUncommittedBytes},
		{&cfg.MaxApplyBytes, DefaultMaxApplyBytes},
		{&cfg.MaxPendingReads, DefaultMaxPendingReads},
	} {
		if *limit.value < 0 {
			return fmt.Errorf("raft: negative limit %d", *limit.value)
		}
		if *limit.value == 0 {
			*limit.value = limit.preset
		}
	}
	return nil
}
