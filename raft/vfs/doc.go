// Package vfs is the small file system that the write-ahead log stands on, so that a crash is a test case.
//
// OS is the real one. It promises what a database needs and os.File does not say: Sync is fdatasync where
// there is one, Preallocate reserves blocks so that a later write inside them does not find the disk full,
// SyncDir makes creations, renames and removals durable, and Lock keeps a second process out.
//
// Mem is a disk in memory, deterministic by its seed. It holds what was not synced apart: Crash drops, keeps or
// tears it at sector boundaries, and loses or keeps directory entries that were not synced, in any combination.
// Faults are put in by a hook (errors, stalls), by CutPowerAfter, SetCapacity and FlipBit. A failed Sync marks the data
// clean without storing it, like Linux does: a second Sync that succeeds says nothing about it.
//
// What neither promises: atomic writes of more than one sector, any order among writes between two syncs, or
// that a name survives a crash before its directory was synced. Users that need these build them.
package vfs
