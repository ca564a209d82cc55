// Package disk is a disk in memory that remembers everything that was ever done to it, in order.
//
// Disk is what its users see: what was written can be read at once. Its log of operations says what a power cut may
// take away again: Replay walks along that log, and at each point of it makes images of what the disk may hold when
// the power comes back. It promises no more than a disk does: a sector of 512 bytes is written whole or not at all;
// what was written before a sync of a file that has returned is there; a name is there when its directory was synced after
// it was made. All else may be there or not, each sector in any of the states that it had since the last sync, each name
// by itself, whatever the order was in which they were written. A rename is atomic.
package disk
