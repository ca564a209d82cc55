package memory

import (
	"math"
	"reflect"
	"testing"

	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/kv/watch"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/raft/node"
	"github.com/raftkv/raftkv/server/answers"
	"github.com/raftkv/raftkv/server/backend/local"
)

func TestWithMemoryEnoughBoundsAreTheDefaults(t *testing.T) {
	want := Bounds{
		Log:   node.LogBounds{Compact: node.MaxLogBytes, Held: node.HeldLogBytes, Hard: node.HardLogBytes},
		Range: local.DefaultMaxRangeBytes, Ranges: local.DefaultReadingBytes, Answers: answers.DefaultMaxBytes, Watches: watch.DefaultHeldBytes, Batch: kv.DefaultMaxBatchReadBytes,
	}
	for _, limit := range []int64{math.MinInt64, -1, 0, Enough, Enough + 1, math.MaxInt64} {
		if got := Fit(limit); got != want {
			t.Errorf("Fit(%d) = %+v, want %+v", limit, got, want)
		}
	}
}

// What is held at most should leave room for the rest of the process, however little there is, as far as the least that a node needs lets it.
func TestBoundsFollowTheLimit(t *testing.T) {
	for _, limit := range []int64{460 << 20, 512 << 20, 1 << 30, 1843 << 20} {
		b := Fit(limit)
		if sum := b.Log.Hard + b.Ranges + b.Answers + b.Watches; int64(sum) > limit*3/5 {
			t.Errorf("with %d MiB the node may hold %d MiB", limit>>20, sum>>20)
		}
	}
}

func TestBoundsKeepTheirOrderAndLeast(t *testing.T) {
	before := reflect.ValueOf(Fit(1))
	for limit := int64(1); limit < 2*Enough; limit = limit*5/4 + 1 {
		b := Fit(limit)
		if l := b.Log; l.Compact > l.Held || l.Held > l.Hard || l.Hard <= raft.DefaultMaxUncommittedBytes {
			t.Errorf("with %d bytes the log's bounds are %+v", limit, l)
		}
		if b.Batch < kv.MaxTxnReadBytes {
			t.Errorf("with %d bytes one transaction may not return what it may: %+v", limit, b)
		}
		if least := 2 * raft.DefaultMaxEntryBytes; min(b.Range, b.Ranges, b.Answers, b.Watches) < least {
			t.Errorf("with %d bytes one request may not fit: %+v", limit, b)
		}
		now := reflect.ValueOf(b)
		for i := range now.NumField() {
			if f := now.Field(i); f.CanInt() && f.Int() < before.Field(i).Int() {
				t.Errorf("with %d bytes %s is less than with fewer", limit, now.Type().Field(i).Name)
			}
		}
		before = now
	}
}
