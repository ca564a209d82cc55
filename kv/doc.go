// Package kv is the replicated state machine: keys with their history, addressed by revisions, on an ordered store.
//
// # Data model
//
// The store has one 64-bit revision. An empty store is at revision 1; every command that writes raises it by one, however
// many keys it writes. A key carries the revision that created it, the revision that last wrote it and the number of
// writes since it was created. History is kept until it is compacted. A key is any non-empty byte string.
//
// # Writing
//
// An entry's data is a session header and a command: AppendProposal(nil, header, command). Commands are made by Put,
// Delete, DeleteRange, CompareAndPut, CompareAndDelete and Transaction, which are all transactions, and by OpenSession, Compact,
// GrantLease, RevokeLease, RenewLeases, ExpireLeases, RaiseAlarm and LowerAlarm. All compares of a transaction, nested ones included,
// are decided before anything is written. Apply returns a *Result for every EntryNormal and nil for the other types. A refused
// command (Result.Err) has changed nothing but the session that it came from. Errors that Result.Err may hold:
// ErrExpired and ErrForgotten (see package session), ErrSequence, ErrMalformed, ErrDuplicateKey, ErrFutureRevision, ErrCompacted,
// ErrEmptyKey, ErrKeyNotFound, ErrLeaseNotFound, ErrLeaseExists, ErrLeaseTTL, ErrTooManyLeases, ErrNoSpace.
//
// Leases are known with their keys, and without time: whoever leads proposes to end them (package lease). What came with command
// format 2, which is leases, alarms, the running checksum, and ranges that are sorted or filtered, is refused before cluster version 2
// and written nowhere, so that until then an older build can take over (Command.Level).
//
// Sizes of keys and values are not checked in Apply, or members with other settings would disagree: front ends
// call Command.CheckLimits before they propose.
//
// # Reading
//
// Machine.Get and Machine.Range read at the revision that was last applied, or at an older one that is not compacted
// away; Read runs a transaction that writes nothing, and Events reads the history in the order of its revisions, which is what watches
// need (package watch). Reads never wait for the disk's work of writes, flushes or compaction, nor the other way round: what was written is sorted when it is
// first read, up to some thousands of keys at once, and who reads meanwhile waits for that. The answer's slices must
// not be changed by the caller.
//
// # Durability
//
// Apply puts entries into an in-memory overlay that reads see at once. A background flush moves it into the store, in
// one transaction with the applied index, the membership, the cluster version and the sessions. Durable tells how
// far that has come; the log covers the rest. The overlay is bounded: when the flush falls behind, Apply waits. With
// Options.Synchronous there are no goroutines: the flush happens inside Apply and FlushNow, which makes a simulation
// deterministic.
//
// Removing compacted history goes with the flushes, in their commits, and has commits of its own only when there are none. Defragment
// gives the space that it leaves in the file back, beside reads and writes.
//
// Snapshot, Stage and Install move the whole state; package kv/statemachine fits a Machine to the node's interface.
//
// # Layout
//
// Two buckets hold the keys. Records hold each version with its value under revision and sub-number, so that they are
// written once, at the end of the bucket, and can be read in the order of their revisions, which is what compaction and watches
// need; a large value is never moved because a neighbour changed. The index holds each version without its value under
// key and inverted revision, so that one seek finds the newest at or before any revision, and deciding on a write, a count
// or a list of keys reads no value. Every record carries a checksum of itself and of its place.
//
// What it does not promise: a Machine knows nothing of leaders or quorums. Whether a read is linearizable is decided by
// whoever waits for the right applied index first.
package kv
