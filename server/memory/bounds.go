// Package memory fits what a node may hold in memory to what it is given.
package memory

import (
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/backend/local"
)

// Enough is the memory, in bytes, with which every bound has its default: they come to some 1.5 GiB, if all of them are reached at once.
const Enough = 2 << 30

// Bounds are the bounds of a whole node that grow with its memory, in bytes.
type Bounds struct {
	// Log is for the part of the log that is kept in memory.
	Log node.LogBounds
	// Range is for one range, Ranges for what all ranges that are read at one time may read.
	Range, Ranges int
	// Answers is for the answers of REST, the JSON gateway, gRPC and the native protocol that were not taken yet.
	Answers int
	// Watches is for the events that all watches hold for their consumers.
	Watches int
	// Batch is for what the transactions of a batch of entries return, until their callers have it.
	Batch int
}

// Fit returns the bounds for a node that may use so many bytes of memory: in proportion to it, but never so little that ordinary requests are refused.
// A limit that is not positive stands for none.
func Fit(limit int64) Bounds {
	part := func(whole, least int) int {
		if limit <= 0 || limit >= Enough {
			return whole
		}
		return max(int(int64(whole)*(limit>>20)/(Enough>>20)), least)
	}
	return Bounds{
		// The hard bound stays above raft's for what is not committed, without which a leader could not finish what it has begun.
		Log:     node.LogBounds{Compact: part(node.MaxLogBytes, 32<<20), Held: part(node.HeldLogBytes, 64<<20), Hard: part(node.HardLogBytes, 96<<20)},
		Range:   part(local.DefaultMaxRangeBytes, 32<<20),
		Ranges:  part(local.DefaultReadingBytes, 32<<20),
		Answers: part(answers.DefaultMaxBytes, 32<<20),
		Watches: part(watch.DefaultHeldBytes, 16<<20),
		Batch:   part(kv.DefaultMaxBatchReadBytes, kv.MaxTxnReadBytes),
	}
}
