// Package wal is the write-ahead log of a member: what raft.StoreRequest asks for, on stable storage.
//
// It promises that what Append returned nil for is found again by Open after any loss of power, that nothing else is
// found but, perhaps, a first part of the batch that was being stored, and that damage is told from a half-finished
// write: the one is refused with nothing changed, the other is cut off. A batch is one write and one fdatasync (more
// only past 16 MiB). It assumes that the disk writes a sector of 512 bytes whole or not at all, that fdatasync means it, and
// that the directory above Open's is durable. It does not promise to notice that the last write is gone without a
// trace, or that bits have rotted in the last write in such a way that a torn write may look the same.
//
// # Layout
//
// The log is a row of segment files of a fixed size, numbered without a gap. A segment has a header (whose it is,
// its number), a state frame (all that the segments before it said about anything but entries, and where the one
// before it ended) and batch frames. Each write is one frame, so a torn write is exactly one bad frame with nothing
// behind it. A frame's checksum covers identity, segment number and offset: what a recycled file held before is never
// taken for a frame. Every write ends with a blank frame header, so the end is plain in a recycled file too.
//
// Recovery plays the records in order. An entry takes the place of all entries at or after its index, so a
// truncation is not a record of its own. An install record moves the start to the snapshot and says whether the
// entries behind it were kept. A start record says from which entry and which segment on the log is needed.
//
// # Crash states
//
// Power is lost at some point; names and sectors that were not synced are there or not, in any combination.
//
// During an append: the frame at the end is whole, missing or torn. Whole: it is played, as a part of what was asked
// for. Missing: its header is blank. Torn: Open truncates the file there, preallocates it anew and syncs. That is
// told from damage thus: behind a torn write no frame was ever written, so any later frame that fits its place means
// damage. In a file that was all zeros, a sector that is missing is zero: a bad frame with no such sector is
// damage. In a recycled file this last test is not possible, and the blank header may be missing behind a whole frame, when that
// ends with the sector before, or the file held the same bytes as its end; a header of which one or two bits have flipped is damage there too.
//
// After an append whose process died, or whose fdatasync failed, without a loss of power: the frame is in the
// page cache and looks stored, but may not be, and after a failed fdatasync another one has nothing to do. So Open writes
// the last frame once more, the same bytes to the same place, and syncs before it lets anyone rely on it. One
// frame is enough: no frame is written before the one ahead of it was synced. For the same reason a Log that failed once
// does nothing any more.
//
// During a roll to the next segment: a spare file gets header, state and batch in one write and is synced while it
// still has a spare's name; then it is renamed and the directory synced. Before the rename is durable the file is a
// spare, which Open removes. After it, all up to the first batch was synced. So a segment whose header or state is
// bad is always damage, and so is a segment that does not end where the next one says. Only the last one has a tail.
//
// During Compact: a start record that names the first segment needed is synced before any file is touched. From
// then on any of the older segments may be there or not: Open takes the unbroken row at the end, checks that it begins
// at or before the segment that is needed, and removes the rest. If the record was lost, no file was touched.
//
// During the reuse of a segment: it gets its spare's name, and the directory is synced, before a byte of it is
// overwritten. So no file with a segment's name ever holds another segment's content.
//
// During Open: cutting off a torn tail and writing the last frame again lead only to states like the one found, and
// so does removing spares and old segments. Opening again does the rest.
//
// When the disk fills up: blocks are reserved when a segment is prepared, so it shows before a batch is half
// written. The file that could not be prepared is removed; the log is as it was.
package wal
