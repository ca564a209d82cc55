package command

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/raftkv/raftkv/client"
)

// nodeWait is how long one node may take to answer what is asked of each: one that does not answer leaves time for what comes after.
func (a *app) nodeWait() time.Duration { return a.timeout / 2 }

// answer is what one node said.
type answer[T any] struct {
	endpoint string
	value    T
	err      error
}

// each asks all nodes that were named at the same time, in the order of their addresses.
func each[T any](ctx context.Context, c *client.Client, wait time.Duration, ask func(context.Context, string) (T, error)) []answer[T] {
	endpoints := c.Endpoints()
	slices.Sort(endpoints)
	out := make([]answer[T], len(endpoints))
	var asking sync.WaitGroup
	for i, e := range endpoints {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, wait)
			defer cancel()
			value, err := ask(ctx, e)
			out[i] = answer[T]{e, value, err}
		})
	}
	asking.Wait()
	return out
}

// errorText is an error for a row.
func errorText(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "does not answer"
	}
	return withoutPrefix(err)
}
