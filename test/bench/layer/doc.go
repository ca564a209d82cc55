//go:build linux

// Command layer measures the whole consensus layer beside other libraries: raftkv's (raft/node, raft/wal, raft/transport),
// hashicorp/raft with raft-wal, and dragonboat v4. Each is three processes on loopback, which are this program run anew; every
// entry is on stable storage of a majority before its caller hears of it, and the state machines are in memory.
//
// Callers run in the leader's process, each with one proposal of 256 bytes in flight. All systems are up all the time and take
// turns cell by cell, so that a noisy machine disturbs them alike; compare the ratios.
//
// What the libraries promise differs: raftkv applies a repeated proposal once (sessions), which is in its figures; hashicorp/raft
// has no such thing, and dragonboat runs with sessions off (NoOPSession), as its own benchmarks do.
package main
