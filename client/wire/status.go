package wire

// Status says what became of an operation. The values are part of the format: never reorder, only append.
type Status uint8

// The statuses.
const (
	StatusOK Status = 0
	// StatusFailed is a failure of the node that has no other name.
	StatusFailed Status = 1
	// StatusUnavailable and StatusBusy: surely not applied, send it again, to any node.
	StatusUnavailable Status = 2
	StatusBusy        Status = 3
	// StatusUnknown: perhaps applied.
	StatusUnknown Status = 4
	// StatusExpired: the session has expired. This attempt was not applied.
	StatusExpired Status = 5
	// StatusResultLost: applied, what it returned is lost.
	StatusResultLost Status = 6
	// StatusLater: not looked at, since the batch's answer was full. Send it again.
	StatusLater Status = 7

	StatusCompacted      Status = 16
	StatusFutureRevision Status = 17
	StatusEmptyKey       Status = 18
	StatusDuplicateKey   Status = 19
	StatusKeyNotFound    Status = 20
	StatusLeaseNotFound  Status = 21
	StatusLeaseExists    Status = 22
	StatusLeaseTTL       Status = 23
	StatusTooMany        Status = 24
	StatusTooLarge       Status = 25
	StatusNoSpace        Status = 26
	StatusUnsupported    Status = 27
	StatusInvalid        Status = 28
	StatusRefused        Status = 29
)
