package member

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/server/backend"
)

// quotaPause is how often the size of the store is looked at. What is written in between may pass the quota.
const quotaPause = time.Second

// quota refuses to let the store grow past its size. It is each node's own: what a node refuses another may still take, and what is
// in the log is always applied.
type quota struct {
	mostBytes int64
	usedBytes atomic.Int64
}

// note takes down how large the store is.
func (q *quota) note(s kv.Stats, logger *slog.Logger) {
	used := s.UsedBytes + int64(s.OverlayBytes)
	before := q.usedBytes.Swap(used)
	if (before > q.mostBytes) != (used > q.mostBytes) {
		logger.Warn("the store has crossed its quota", "usedBytes", used, "quotaBytes", q.mostBytes, "takesWrites", used <= q.mostBytes)
	}
}

// check refuses commands that put something.
func (q *quota) check(c kv.Command) error {
	used := q.usedBytes.Load()
	if used <= q.mostBytes || c.Kind != kv.CommandTxn || !puts(c.Txn) {
		return nil
	}
	return fmt.Errorf("%w: %d of %d bytes are used: delete keys, lower --auto-compaction-retention, or raise --quota-backend-bytes, on all nodes", backend.ErrNoSpace, used, q.mostBytes)
}

func puts(t *kv.Txn) bool {
	for _, ops := range [][]kv.Op{t.Success, t.Failure} {
		for i := range ops {
			if ops[i].Kind == kv.OpPut || ops[i].Kind == kv.OpTxn && puts(ops[i].Txn) {
				return true
			}
		}
	}
	return false
}
