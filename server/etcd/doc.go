// Package etcd serves the etcd v3 API over gRPC: KV, Watch, Lease, Lock, Election, Cluster, Maintenance, and of Auth only the
// answer that it is off. A program that speaks to etcd speaks to a node by changing an address.
//
// Messages, codes and texts of refusals are those that etcd's clients act on; they come from etcd's own api module. Each service
// translates between them and backend.Store, and decides nothing itself.
//
// The messages of Lock and Election are not in that module but in etcd's server, which is too much to depend on: v3lockpb and
// v3electionpb have the same names and numbers, made from .proto files of our own by `go -C server/etcd/generate run .`. A program that
// links etcd's server too would register them twice, and stop at its start.
//
// What differs from etcd: a member that was added is a learner until it has caught up, and its ID is bound to the first data directory that claims it
// (package server/joining). Where the node has an admin token no member can be changed from
// here. A snapshot is in
// raftkv's own checked format. Downgrade is not implemented.
package etcd
