// Package sim runs whole clusters in one goroutine: the real raft core, a disk, a network, clocks, clients and an
// operator, all driven by one queue of events in virtual time and one tree of seeded random numbers. A seed
// decides everything that happens, so that any failure is replayed by its seed.
//
// It promises that after every step the properties of Figure 3 hold (election safety, leader append-only, log matching,
// leader completeness, state machine safety), that votes and acknowledgements leave a member only when they
// would survive a power loss, that membership changes one vote at a time or through a joint one with majorities of both halves, that damage
// is found and never served, and that what clients saw is linearizable and applied exactly once. When the faults end, it demands that the cluster converges within a bounded virtual time.
//
// The core is the real one always. The write-ahead log (raft/wal on raft/vfs) and the state machine (kv) are the real ones in a part of
// the runs; a model runs beside each, which says what must be found after a crash and what must be answered, and runs
// alone in the rest. What the goroutines, sockets and files around them do (raft/node, raft/transport) is modelled
// after their contracts, and tested with them.
//
// How it is laid out: world.go (one run), queue.go and random.go (time and chance), plan.go (what a seed draws),
// process.go, store.go and apply.go (one member around its core), exit.go (how it ends itself), clock.go (its time), disk*.go and
// machine*.go (what survives), network.go, nemesis.go (faults; rot.go and full.go those of disks), operator.go (membership), client.go,
// history.go and revisions.go (clients, linearizability and the past), oracle*.go (invariants), liveness.go (the end),
// campaign.go and report.go (many seeds), shrink.go (smaller failures). direct*.go is a world
// in which someone else says what happens; scenario/ plays written stories in it. Bugs that the simulation
// must catch are in mutant.go (in the shell) and mutants/ (in the core, the log and the state machine).
package sim
