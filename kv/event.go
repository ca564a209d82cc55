package kv

// EventType says what happened to a key.
type EventType uint8

// The types of events.
const (
	EventPut    EventType = 0
	EventDelete EventType = 1
)

// Event is one write. Of a deletion, KV holds the key and the revision of the deletion as ModRevision, and nothing else.
type Event struct {
	Type EventType
	KV   KeyValue
	// Prev is the version that was replaced or deleted: nil if there was none, if it was not asked for, or if it has been
	// compacted away since.
	Prev *KeyValue
}

// Changes are what one call of Apply did to the state.
type Changes struct {
	// Revision and Compacted are those after the call.
	Revision, Compacted uint64
	// Events are in the order of the writes, without Prev. They are shared: nothing in them may be changed.
	Events []Event
	// Leases are in the order in which they happened.
	Leases []LeaseChange
}

// Observer is told what happens to the state, in order and after reads see it, by the goroutine that calls Apply and Install. It
// must return soon, and must not call the machine's methods that write.
type Observer interface {
	// Applied is called after each Apply that changed a key, a lease or the compacted revision.
	Applied(Changes)
	// Replaced is called when Open or Install made a state that did not follow from the one before by Apply: whatever
	// was known of the one before is void.
	Replaced(revision, compacted uint64, leases []Lease)
}
