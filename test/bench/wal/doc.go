//go:build linux

// Command wal measures raftkv's write-ahead log (raft/wal) beside a bare file that the same bytes are appended to with an fdatasync,
// and beside github.com/hashicorp/raft-wal and raft-boltdb, on the same disk: each stores the same entries, batch by batch, and
// every batch is on stable storage before the next begins. They take turns batch by batch, so that a noisy disk disturbs all alike.
package main
