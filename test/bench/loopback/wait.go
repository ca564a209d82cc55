package loopback

import (
	"context"
	"time"
)

// pollPause is the time between two answers.
const pollPause = 20 * time.Millisecond

// Eventually asks until the answer is nil or the time is over.
func Eventually(ctx context.Context, within time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
