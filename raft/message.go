package raft

import "strconv"

// MessageType tells what a message asks or answers.
type MessageType uint8

const (
	// MsgPreVote asks whether an election in Term would be won (thesis §9.6). It changes no term.
	MsgPreVote MessageType = iota + 1
	// MsgPreVoteResponse answers MsgPreVote.
	MsgPreVoteResponse
	// MsgVote is RequestVote (§5.2).
	MsgVote
	// MsgVoteResponse answers MsgVote.
	MsgVoteResponse
	// MsgAppend is AppendEntries (§5.3).
	MsgAppend
	// MsgAppendResponse answers MsgAppend and MsgSnapshot once what it acknowledges is on stable storage.
	MsgAppendResponse
	// MsgHeartbeat carries the leader's authority, its commit index and the number of the current read
	// round. It is answered from memory, never behind a disk.
	MsgHeartbeat
	// MsgHeartbeatResponse answers MsgHeartbeat.
	MsgHeartbeatResponse
	// MsgSnapshot says that the state machine's snapshot was streamed and is staged at the receiver (§7).
	// The sender's shell streams the bytes; the receiver's shell steps this message when all are there.
	MsgSnapshot
	// MsgReadIndex asks the leader for an index that a linearizable read must wait for (thesis §6.4).
	MsgReadIndex
	// MsgReadIndexResponse answers MsgReadIndex.
	MsgReadIndexResponse
	// MsgTimeoutNow asks the receiver to start an election at once (thesis §3.10).
	MsgTimeoutNow
)

var messageTypeNames = [...]string{
	MsgPreVote: "pre-vote", MsgPreVoteResponse: "pre-vote-response",
	MsgVote: "vote", MsgVoteResponse: "vote-response",
	MsgAppend: "append", MsgAppendResponse: "append-response",
	MsgHeartbeat: "heartbeat", MsgHeartbeatResponse: "heartbeat-response",
	MsgSnapshot: "snapshot", MsgReadIndex: "read-index", MsgReadIndexResponse: "read-index-response",
	MsgTimeoutNow: "timeout-now",
}

func (t MessageType) String() string {
	if int(t) < len(messageTypeNames) && t != 0 {
		return messageTypeNames[t]
	}
	return "message-type-" + strconv.Itoa(int(t))
}

// Message is what members say to each other. Which fields mean something depends on Type:
//
//	type                 Index, LogTerm              Commit        Context     other
//	pre-vote, vote       last entry of the sender                              Transfer
//	(their responses)                                                          Reject
//	append               entry before Entries        leader's                  Entries
//	append-response      match; if Reject: Index is
//	                     the refused one, Hint and
//	                     LogTerm are where to look                             Reject, Hint
//	heartbeat            tick at which it left, +1;  min(commit,   read round
//	                     0: no lease is wanted       match)
//	heartbeat-response   that of the heartbeat;                    read round  Hint: the promise in
//	                     0: nothing is promised                                microseconds
//	snapshot             snapshot's last entry                                 Snapshot
//	read-index                                                     request
//	read-index-response  index to wait for                         request     Reject
type Message struct {
	Type     MessageType
	From, To NodeID
	Term     Term
	Index    Index
	LogTerm  Term
	Commit   Index
	Context  uint64
	Hint     Index
	Reject   bool
	// Transfer marks an election that the leader asked for: the vote is not withheld for the leader's sake.
	Transfer bool
	Entries  []Entry
	Snapshot *SnapshotMeta
}
