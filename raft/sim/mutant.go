package sim

// mutant is a bug that tests put into the model of the shell, to prove that the simulation finds it. Only tests of
// this package can choose one.
type mutant int

const (
	// ackBeforeSync reports requests as stored when they were only written.
	ackBeforeSync mutant = iota + 1
	// forgetHardState never stores term and vote.
	forgetHardState
	// answerBeforeCommit tells clients that a proposal is done when it was appended.
	answerBeforeCommit
	// applyTwice applies a command again when it was proposed again.
	applyTwice
	// readWithoutAsking answers reads from the local state at once.
	readWithoutAsking
	// wipedKeepsID lets an empty directory go on under its old member ID.
	wipedKeepsID
	// forgetMembership installs snapshots without their membership.
	forgetMembership
	// stateBeforeLog puts snapshots in force before the log says that it starts behind them.
	stateBeforeLog
	// cutPastState compacts the log up to what was applied, durably or not.
	cutPastState
	// tellLearnersOnly lets voters that were away find out by themselves who was added meanwhile.
	tellLearnersOnly
)
