//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

const (
	members = 3
	// startTimeout bounds how long a cluster may take to have a leader and all members.
	startTimeout = 60 * time.Second
)

// caller is one client with one request in flight at a time.
type caller interface {
	put(ctx context.Context, key string, value []byte) error
	get(ctx context.Context, key string, serializable bool) error
}

// system is one of the stores that are compared: a cluster of processes and how to speak to it.
type system interface {
	name() string
	processes() []*loopback.Process
	// leader returns the index of the member that the others follow, once all that run do.
	leader(ctx context.Context) (int, error)
	// term is the leader's.
	term(ctx context.Context) (uint64, error)
	// caughtUp returns nil when the member serves and has what the leader has.
	caughtUp(ctx context.Context, member int) error
	// endpoint is where a member takes etcd's API over gRPC.
	endpoint(member int) string
	// connect makes callers of one member; close ends their connections.
	connect(member, callers int) (made []caller, close func(), err error)
	// probe puts one key at a member, once. Any number may be on their way at one time.
	probe(ctx context.Context, member int, key string, value []byte) error
}

// launch starts all members of a system and waits for it to be whole.
func launch(s system) error {
	for _, p := range s.processes() {
		if err := os.MkdirAll(p.Dir, 0o700); err != nil {
			return err
		}
		if err := p.Start(); err != nil {
			return err
		}
	}
	_, err := settled(s)
	return err
}

// settled waits until the system has a leader and no member lags, and returns the leader.
func settled(s system) (leader int, err error) {
	err = loopback.Eventually(context.Background(), startTimeout, func(ctx context.Context) error {
		var err error
		if leader, err = s.leader(ctx); err != nil {
			return err
		}
		for i := range members {
			if err := s.caughtUp(ctx, i); err != nil {
				return fmt.Errorf("member %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		for i, p := range s.processes() {
			err = fmt.Errorf("%w\n--- the log of %s's member %d ends with\n%s", err, s.name(), i, p.LogTail())
		}
		return 0, fmt.Errorf("%s does not settle: %w", s.name(), err)
	}
	return leader, nil
}

func shutDown(s system) {
	for _, p := range s.processes() {
		p.Stop()
	}
}

// totals adds up what all members have used.
func totals(s system) (loopback.Usage, error) {
	var sum loopback.Usage
	for _, p := range s.processes() {
		u, err := p.Usage()
		if err != nil {
			return loopback.Usage{}, err
		}
		sum.CPU += u.CPU
		sum.ResidentBytes += u.ResidentBytes
		sum.AnonymousBytes += u.AnonymousBytes
	}
	return sum, nil
}

func memberDir(root, name string, i int) (dir, logPath string) {
	dir = filepath.Join(root, fmt.Sprintf("%s-%d", name, i))
	return dir, dir + ".log"
}
