// Package replica makes any state machine a replicated one: an application opens a Replica in each of its processes and gets the log,
// elections, transport, membership, linearizable reads and exactly-once commands with it. The store of this repository is one such
// application, examples/todo another.
//
// # In short
//
//	list := new(todo) // Apply, Snapshot, Restore
//	r, err := replica.Open(replica.Config{
//		Dir: "/var/lib/todo", Name: "a", Listen: "10.0.0.1:2380", StateMachine: list,
//		InitialCluster: []replica.Member{{Name: "a", PeerAddress: "10.0.0.1:2380"}, ...}, // the same on all
//	})
//	answer, err := r.Propose(ctx, command)             // on any replica; returns what Apply answered
//	err = r.Read(ctx, func() { fmt.Println(list.items) }) // linearizable, on any replica
//	err = r.Stop(ctx)
//
// # What it promises
//
//   - A command whose Propose returned an answer is applied, once, on all replicas and in one order; a quorum has it on stable storage. After
//     ErrUnavailable, ErrBusy, ErrTooLarge and ErrStopped it surely is not, after ErrUnknown nobody knows.
//   - Exactly once needs nothing of the application: each process opens a session through the log and numbers its commands; the bounded
//     table of sessions is saved with the state. Of answers of less than 128 bytes (session.MaxResultBytes) a repeat gets the first one.
//   - A state machine in memory is enough. It is saved to the data directory when SnapshotEntries were applied, the log is cut behind that,
//     and a restart restores it and applies the rest of the log. Replicas that are far behind, and new ones, get the saved state.
//     A state machine with a durable store of its own implements Machine instead.
//   - A data directory speaks for one member of one cluster. A new one never votes in the place of one that was lost: it is added (Add)
//     under a new ID, catches up, and only then votes. The directory of a removed member is set aside, not deleted.
//   - Damage on disk is refused with the file, the offset and what to do, and nothing is changed. A failed disk ends the replica (Done, Err).
//
// # What it does not
//
// It neither encrypts nor authenticates: hand it listeners and a Dial that do. It does not decide who should be a member, and asks nobody
// but the given peers. Reads cost a round of messages, shared by all that wait.
//
// # Inside
//
// replica.go and life.go are the life of a data directory, from empty to removed; member.go puts log, state machine and package raft/node
// together; door.go decides who may connect; memory.go, image.go and transfer.go keep a StateMachine's state and sessions.
package replica
