// Package session recognises proposals that were made twice. A proposer opens a session through the log and
// numbers its proposals; the table of sessions is part of the replicated state and answers a repeat with
// the first result (thesis §6.3). The package is pure: it holds no clock and does no I/O.
package session
