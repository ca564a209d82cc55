// Package member runs one member of a cluster: it puts the log, the state machine, the transport and the consensus shell together,
// and is the backend of the front ends.
//
// A Door is the peer port's side of it. It is there before the node is a member, when it only listens for a member that names this
// directory's incarnation, and stays until the identity changes.
//
// A Member reports, and leaves to its owner, what it cannot decide: that it was removed (Removed), and that its disk or state
// failed (Fatal). It promises that nothing it acknowledges is lost when it is killed at any moment.
package member
