package kv

import "errors"

// LeaseID names a lease; zero is none.
type LeaseID = int64

// Bounds of leases. They are part of the replicated state machine: changing one needs a new cluster version.
const (
	// MaxLeases is the number of leases that may exist.
	MaxLeases = 1 << 20
	// MaxLeaseTTL is the longest time to live, in seconds.
	MaxLeaseTTL = 9_000_000_000
	// MaxRenewals is the number of leases that one command renews.
	MaxRenewals = 4096
)

// Lease is what the replicated state knows of a lease. When it runs out is the business of whoever leads.
type Lease struct {
	ID LeaseID
	// TTL is the time to live that was granted, in seconds.
	TTL int64
	// Renewed is the index of the entry that granted or last renewed it. A revocation because of time names it, and does
	// nothing when the lease was renewed since: whoever was told that its lease goes on can rely on it.
	Renewed uint64
}

// LeaseEvent says what happened to a lease.
type LeaseEvent uint8

// What happens to leases.
const (
	LeaseGranted LeaseEvent = iota
	LeaseRenewed
	LeaseRevoked
)

// LeaseChange is one thing that happened to a lease.
type LeaseChange struct {
	Event LeaseEvent
	Lease Lease
}

// Reasons for which a command about leases is refused, in Result.Err.
var (
	// ErrLeaseNotFound says that there is no such lease.
	ErrLeaseNotFound = errors.New("the lease does not exist")
	// ErrLeaseExists says that the chosen ID is taken.
	ErrLeaseExists = errors.New("the lease exists already")
	// ErrLeaseTTL says that the time to live is above MaxLeaseTTL, or not above zero.
	ErrLeaseTTL = errors.New("the time to live of the lease is out of bounds")
	// ErrTooManyLeases says that MaxLeases exist.
	ErrTooManyLeases = errors.New("there are too many leases")
	// ErrKeyNotFound says that a put was to keep the value or the lease of a key that does not exist.
	ErrKeyNotFound = errors.New("the key does not exist")
)
