// Package identity keeps a node's data directory and whom it speaks for.
//
// A member ID belongs to one incarnation of a data directory: a random number that is drawn when the directory is first used
// and that never changes while the directory speaks for anyone. The layout:
//
//	LOCK                   held by the running process
//	identity               incarnation, name, and, once it is a member, cluster ID and member ID
//	member/                the member's log and state
//	member.new/            the same while it is being prepared; it means nothing yet
//	removed-<member>-<n>/  what a removed member left; never read again, never deleted
//	successor/             identity and member/ of the new cluster's member that takes this one's place
//	successor.new/         the same while it is being prepared; it means nothing yet
//	unfinished             stands while a directory is filled from a snapshot (OpenUnfinished): no node opens it then
//	static                 a static cluster's table (package bootstrap)
//	invitation             what the directory was invited to be (package server/joining); it counts for one incarnation
//
// # What a crash can leave
//
// The directory's own name, and those of the directories above it that a node makes, are synced before anything is put into it, and at each start (makeDir).
// Every file is replaced as a whole (package sealedfile) and every rename is followed by a sync of its directories. Becoming a
// member is: prepare member.new and sync it; write the identity with the member ID, which is the moment that counts; rename
// member.new to member. So at a start
//
//   - no identity and nothing else: a new directory. An incarnation is drawn.
//   - no identity but other files: refused. Nobody can tell whose data this is.
//   - an identity without a member ID: empty. member.new was never in force and is thrown away.
//   - an identity with a member ID and member: the member.
//   - an identity with a member ID and only member.new: the rename is made up for.
//   - an identity with a member ID and no data, but a removed-* directory that holds the data of this incarnation: the member
//     was removed and the crash came before the new incarnation was written; that is made up for.
//   - an identity with a member ID and no data anywhere: refused. Log and vote are lost, and starting without them could break
//     promises that this member made.
//
// A removed member's directory is set aside thus: make removed-*, copy the identity into it, rename member into it, write the
// identity with a new incarnation.
//
// A member that founds a new cluster from its own state (Succeed) prepares successor.new and syncs it; renames it to successor, which
// is the moment that counts; sets the old member's data aside; writes the successor's identity; renames successor/member to member; removes
// successor. At a start with a successor directory whatever of this is missing is made up for; a successor.new is thrown away.
//
// A refusal changes nothing in the directory but the lock file.
package identity
