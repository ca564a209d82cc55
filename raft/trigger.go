package raft

// Triggers of a Transition: what brought a change of role about. They are few, so that they can label a metric.
const (
	TriggerElectionTimeout = "election timeout"
	TriggerSoleVoter       = "no other member votes"
	TriggerHandedOver      = "leadership was handed over to this member"
	TriggerPreVoteWon      = "the pre-vote was won"
	TriggerElectionWon     = "the election was won"
	TriggerElectionLost    = "the election was lost"
	TriggerHigherCandidate = "a candidate of a higher term"
	TriggerHigherLeader    = "a leader of a higher term"
	TriggerHigherTerm      = "a member of a higher term"
	TriggerLeaderKnown     = "a leader of the same term"
	TriggerLeaderSilent    = "no word of the leader within an election timeout"
	TriggerLeaderGone      = "the leader's process has ended"
	TriggerQuorumSilent    = "no quorum answered within an election timeout"
	TriggerTransferred     = "leadership was handed over as asked"
	TriggerStorageStalled  = "leadership was handed over because the own disk stands still"
	TriggerRemoved         = "the member has no vote any more"
)
