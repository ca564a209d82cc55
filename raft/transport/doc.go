// Package transport moves raft's messages and snapshots between members over persistent rpc connections.
//
// A Transport does not own a listener: New registers its services on the peer port's rpc.Server, beside those of others. To each
// member it keeps two connections: control, for all small messages, and bulk, for append messages, so that heartbeats and votes never
// wait behind entries (appends that carry none go the same way, since they must not overtake the others). A third one is
// opened when Caller is first used, for other services between peers, and one for each snapshot.
//
// # What it promises
//
//   - Send never blocks. Each connection has a queue bounded in messages and bytes; what does not fit, or cannot be sent because the member is not
//     connected, is dropped and counted, and Events.Unreachable is called. Raft tolerates loss. Messages to one member on one
//     connection arrive in order or not at all.
//   - Connections carry an identity (Hello): cluster, member ID and incarnation of both ends, and the feature levels. The receiving side's
//     Gate decides; Decide is the rule. A refusal has a Reason and says what to do. The dialing side hears of it by Events.Refused.
//   - A message is delivered only if its From and To are those that the connection was accepted for.
//   - A snapshot arrives whole or not at all: chunks and the whole stream have checksums and lengths, and a stream that stands still is given up.
//     When its connection breaks it goes on over another from what the receiver has staged; both sides wait for that for a bounded time
//     (SnapshotResumeTimeout, SnapshotKeepTimeout). What is staged does not outlive the receiver's process. Snapshots that are sent share one
//     bound of bytes per second, and Stats shows how far each is.
//   - The address of a member is resolved at each dial; redials are at most DefaultMaxBackoff of package rpc apart, and happen at once when
//     that member itself connects to this one.
//
// # What it does not
//
// It does not repeat messages, nor snapshots from their beginning, and does not decide who is a member.
package transport
