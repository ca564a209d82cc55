// Package plan decides what the operator does next with one cluster: a pure function from an Observation to a
// Decision of at most one risky Step, the role of each pod, and what to tell the user. It has no clock, no I/O and no
// client, so every situation is a row of a table test and the whole operator runs in a simulation.
//
// It promises:
//
//   - A cluster is bootstrapped once: only when every wanted pod answers "empty" and no claim that may hold data is
//     unaccounted for, and then only the incarnation that was recorded first.
//   - A member is added as a learner, promoted once it has caught up, and removed before its pod goes.
//   - A step that takes a vote or a pod away leaves a quorum of voters that the leader hears from. (A cluster of
//     two voters cannot lose one for a moment without losing its quorum; its pods are restarted all the same, one by
//     one, each when both are healthy.)
//   - Pods that run are restarted one at a time, the leader last, after it handed its office over.
//   - Where a person must decide, nothing risky is done: the Decision says Stalled, why, and what to do.
//
// It relies on the caller for the truth of the Observation: a risky Step must be planned on a live read, and carries the
// configuration index that it was decided on.
package plan
