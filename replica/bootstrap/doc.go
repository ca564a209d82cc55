// Package bootstrap makes the first members of a cluster: what a first member's state is, and how the nodes of a static cluster
// agree on who they are.
//
// # A static cluster
//
// The nodes named by --initial-cluster each know all names and addresses, and a token. IDs are derived from token and names, so
// they are known too; the incarnations of the data directories are not. Every node asks every other one, over the peer port, and
// goes through three states, each of which begins with a durable write:
//
//	asking    until all others have answered in one round; then it stores the table of names, IDs, incarnations and addresses
//	stored    until all others have answered that they have stored the identical table, or one that it has formed
//	formed    the node is a member; the table is kept to answer those that are behind
//
// A stored table never changes. So once any node has formed, all have stored the same table, and every node that still speaks for
// its incarnation in it will form the same cluster. A node whose data directory is lost before that leaves the others with a table
// that can never be agreed on: nobody votes, and the log lines say which directories to start over with. A directory that is lost
// later answers with an incarnation that is not in the table: it forms nothing, and waits to be added as a new member.
//
// The package does not authenticate: whoever reaches the peer port is trusted to be the node that was asked for.
package bootstrap
