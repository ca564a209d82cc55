// Package powerloss cuts the power of whole running nodes. raft/wal and kv/store are tested over disks in memory; here
// it is the program itself, with bbolt's maps and all, that runs on a file system of the test's own (mount), which
// remembers every operation (disk).
//
// Clients write to a static cluster and note at which operation of the disk each of their writes was sent and was
// acknowledged. Afterwards the power is cut at the operations' boundaries, in thought: for each of them the
// images that the disk may hold then are made, with what was not synced lost, kept, torn or shuffled, and opened by
// the code that a node opens its directory with. What is found must hold everything that was acknowledged before the
// cut, nothing that was sent after it, and of each client's writes a first part. For some cuts the program itself is
// started on the image. In a cluster of three the power is cut for all at once, and the member of any majority that
// can win an election must hold all of this.
//
// The nodes are compiled with smaller segments, flushes and steps of growth than they are shipped with, so that a run of seconds
// goes through all of them; what never happened in a run fails it. The same way bugs are put in, which must be caught.
//
// The tests run in a mount namespace of their own, so that whatever happens nothing stays mounted. They need
// /dev/fuse and root, or a kernel that gives users namespaces of their own.
package powerloss
