package status

import "context"

// Store tells how large a node's store is.
type Store interface {
	// StoreSize is false while the store is not open, or its file is being replaced.
	StoreSize(context.Context) (StoreSize, bool)
}

// StoreSize is what the store's file takes, what it would take without what is free for use again, and what that may be before puts are refused.
type StoreSize struct{ FileBytes, UsedBytes, QuotaBytes int64 }

var (
	descStoreFile  = describe("store_file_bytes", "What the store's file takes on disk.")
	descStoreUsed  = describe("store_used_bytes", "What it would take without what is free for use again.")
	descStoreQuota = describe("store_quota_bytes", "What may be used before puts are refused.")
)

func collectStore(ctx context.Context, s Store, gauge gaugeFunc) {
	size, ok := s.StoreSize(ctx)
	if !ok {
		return
	}
	gauge(descStoreFile, float64(size.FileBytes))
	gauge(descStoreUsed, float64(size.UsedBytes))
	gauge(descStoreQuota, float64(size.QuotaBytes))
}
