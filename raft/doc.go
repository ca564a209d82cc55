// Package raft is the consensus core: Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus
// Algorithm"; section numbers in comments are the paper's, "thesis" means Ongaro's dissertation) as a pure state
// machine. Ticks, messages, proposals and completions of storage go in; messages, entries to store, entries to
// apply and reads to release come out. There is no goroutine, clock, lock, I/O or global in it, so that whole
// clusters run in a deterministic simulation (raft/sim).
//
// It promises the safety properties of Figure 3, that nothing counts as stored before the storage said so, that a
// message of a term leaves only when term and vote are stored, and that every queue has a bound. It does not
// promise who may talk to it: identities are checked where connections are made.
//
// One file has one subject: election.go, replication.go, read.go, change.go (membership), snapshot.go, log.go
// (the log in memory); core.go holds the inputs, effects.go what comes of them, config.go the limits. package raft/node is the shell around it.
package raft
