package kv

import "github.com/raftkv/raftkv/raft"

// AlarmType tells alarms apart. The values are part of the format.
type AlarmType uint8

// The alarms.
const (
	AlarmNone AlarmType = 0
	// AlarmNoSpace says that a member's store is as large as it may be. While it is up, nothing that can grow the store
	// is accepted.
	AlarmNoSpace AlarmType = 1
	// AlarmCorrupt says that a member's state differs from the others'.
	AlarmCorrupt AlarmType = 2
)

// Alarm is a state of one member that the whole cluster knows of.
type Alarm struct {
	Member raft.NodeID
	Type   AlarmType
}
