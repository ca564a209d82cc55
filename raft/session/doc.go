// Package session recognises proposals that were made twice. A proposer opens a session through the log and
// numbers its proposals; the table of sessions is part of the replicated state and answers a repeat with
// the first result (thesis §6.3). The package is pure: it holds no clock and does no I/O.
//
// It promises that a sequence of a session is called fresh at most once, on whichever member and after whatever
// restart, as long as the table is kept with the state that the commands changed. A session expires only by being
// evicted, which is decided by the log alone: when there are too many sessions or results, the least recently used session
// goes, and its later proposals are refused rather than applied.
package session
