// Package joining makes a node the member that `member add` of etcd's API has announced by its peer URL.
//
// The announcement is an invited member (raft.ChangeInvite): a learner with an ID, an address, and nobody behind it. A node with an empty directory that was
// started with --initial-cluster-state=existing asks the members that it was told of for the one invited at its own address, and claims it
// for the incarnation of its directory (raft.ChangeClaim). That goes through the log, and once for each ID: a second process with the
// same address and another directory is refused, so that an ID whose log and vote are lost is never spoken for again. From then
// on the member is like any that was added by its incarnation: the others dial it, and by that it learns who it is. They do so once the claim is committed; until
// then whoever was not told of it is asked again, since the one who was may have been cut off with it.
//
// Who is invited to vote gets its vote when it has caught up, as any learner, and asks for that itself, for as long as it takes. Until it has claimed its place
// the membership says so. From before its claim on a note in its directory does, so that no crash and no change of leaders loses it.
package joining
