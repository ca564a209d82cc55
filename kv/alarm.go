package kv

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/raftkv/raftkv/raft"
)

// AlarmType tells alarms apart. The values are part of the format.
type AlarmType uint8

// The alarms.
const (
	AlarmNone AlarmType = 0
	// AlarmNoSpace says that a member's store is as large as it may be. While it is up, nothing that can grow the store
	// is carried out.
	AlarmNoSpace AlarmType = 1
	// AlarmCorrupt says that a member's state differs from the others'. Of member zero it says that states differ and nobody can tell
	// which is right.
	AlarmCorrupt AlarmType = 2
)

// String is etcd's name of the alarm.
func (t AlarmType) String() string {
	switch t {
	case AlarmNone:
		return "NONE"
	case AlarmNoSpace:
		return "NOSPACE"
	case AlarmCorrupt:
		return "CORRUPT"
	}
	return fmt.Sprintf("alarm-%d", uint8(t))
}

// Alarm is a state of one member that the whole cluster knows of.
type Alarm struct {
	Member raft.NodeID
	Type   AlarmType
}

func compareAlarms(a, b Alarm) int {
	return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Type, b.Type))
}

// withAlarm returns the list with one alarm raised or lowered. The list itself is not changed: readers may have it.
func withAlarm(list []Alarm, a Alarm, raised bool) []Alarm {
	i, up := slices.BinarySearchFunc(list, a, compareAlarms)
	switch {
	case up == raised:
		return list
	case raised:
		return slices.Insert(slices.Clone(list), i, a)
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

// alarmsOf leaves out those of members that are gone.
func alarmsOf(list []Alarm, members raft.Membership) []Alarm {
	return slices.DeleteFunc(slices.Clone(list), func(a Alarm) bool {
		return a.Member != 0 && !slices.ContainsFunc(members.Members, func(m raft.Member) bool { return m.ID == a.Member })
	})
}

// noSpace tells whether the store must not grow.
func (l *logical) noSpace() bool {
	return slices.ContainsFunc(l.alarms, func(a Alarm) bool { return a.Type == AlarmNoSpace })
}

// Alarms returns the alarms that are up, in the order of member and type. The list must not be changed.
func (m *Machine) Alarms() []Alarm { return m.published.Load().alarms }
