//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	members = 3
	// quotaFlag leaves room for whatever is written.
	quotaFlag = "--quota-backend-bytes=17179869184"
	// profileSeconds is how long a catch-up is profiled.
	profileSeconds = 8
)

type cluster struct{ *loopback.Raftkv }

func startCluster(program, root string, profiled bool) (*cluster, error) {
	place := func(i int) (dir, log string) { return memberPath(root, i) }
	r, err := loopback.NewRaftkv(program, members, place, profiled, quotaFlag)
	if err != nil {
		return nil, err
	}
	c := &cluster{r}
	for _, n := range c.Nodes {
		if err := errors.Join(os.MkdirAll(n.Dir, 0o700), n.Start()); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) stop() {
	for _, n := range c.Nodes {
		n.Stop()
	}
}

// settle waits until all members are ready.
func (c *cluster) settle(ctx context.Context) (leader int, err error) {
	err = loopback.Eventually(ctx, settleTimeout, func(ctx context.Context) error {
		for i := range members {
			s, err := c.Status(ctx, i)
			if err != nil || !s.Ready {
				return fmt.Errorf("member %d is not ready: %s %w", i, s.NotReady, err)
			}
		}
		leader, err = c.Leader(ctx)
		return err
	})
	return leader, err
}

// profile writes processor profiles of the two members, if that was asked for.
func (c *cluster) profile(ctx context.Context, path string, leader, follower int) <-chan error {
	done := make(chan error, 1)
	if path == "" {
		done <- nil
		return done
	}
	fetch := func(member int, to string) error {
		return loopback.Eventually(ctx, settleTimeout, func(context.Context) error {
			file, err := os.Create(to)
			if err != nil {
				return err
			}
			return errors.Join(c.Profile(member, profileSeconds, file), file.Close())
		})
	}
	go func() {
		second := make(chan error, 1)
		go func() { second <- fetch(follower, path+".follower") }()
		done <- errors.Join(fetch(leader, path+".leader"), <-second)
	}()
	return done
}
