package member

import (
	"context"
	"errors"
	"time"

	"github.com/raftkv/raftkv/kv"
)

// A member reads its whole store now and then: what rots where nobody reads would else be found when it is needed, and perhaps on a quorum
// of the members by then. Damage, whoever finds it, fails the state machine: it refuses reads from then on, and the member stops at once. The
// message says what to do.

const (
	// DefaultVerifyPause is between two passes. The first comes after a firstVerify-th of it, so that members that are started often are
	// read too, but not while they start.
	DefaultVerifyPause = 24 * time.Hour
	firstVerify        = 24
	// verifyStepPause is between two steps of a pass, each of at most a thousand records: a pass takes a small part of one processor.
	verifyStepPause = 50 * time.Millisecond
)

func (o Options) verifyPause() time.Duration {
	if o.VerifyPause > 0 {
		return o.VerifyPause
	}
	return DefaultVerifyPause
}

// verifyStore makes passes until the context ends or damage is found.
func (m *Member) verifyStore(ctx context.Context) {
	pause := m.options.verifyPause() / firstVerify
	for sleep(ctx, pause) == nil {
		pause = m.options.verifyPause()
		began := time.Now()
		read, err := m.machine.Verify(ctx, func(ctx context.Context) error { return sleep(ctx, verifyStepPause) })
		var corrupt *kv.CorruptError
		switch {
		case errors.As(err, &corrupt):
			m.options.Logger.Error("the store is damaged", "error", err)
			return
		case err != nil:
			return // the member stops, or has failed and says so itself
		}
		m.options.Logger.Info("the whole store was read and is sound", "records", read.Records, "took", time.Since(began))
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
