// Package store is the small ordered store that the state machine keeps its records in: byte-string keys in a few
// buckets, consistent views for reading, and atomic, durable commits for writing.
//
// There are two implementations: Directory, a bbolt file, and Memory, which forgets at Crash all that was not
// committed and so lets a simulation lose power.
//
// A Store has one writer at a time and any number of readers. A View never sees a commit that came after it, and neither
// waits for commits nor makes them wait; but space that was freed after a view was opened cannot be used again before
// the view is closed, so views are to be short.
package store
