// Package lease decides when leases are over. It is pure: the time is given to it, as the time since any fixed moment, and
// what is over is for its caller to propose to the log. The replicated state (package kv) knows which leases there are and who
// renewed them, and no time.
//
// Every member follows the leases with its own clock, from when it applied what granted or renewed them. Only who leads acts on
// it. A new leader extends all leases (Extend), since nobody could renew them while there was no leader.
package lease
