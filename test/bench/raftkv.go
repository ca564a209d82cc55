//go:build linux

package main

import (
	"context"
	"errors"

	"github.com/raftkv/raftkv/test/bench/loopback"
)

// raftkv is three raftkv-node processes with their default settings, spoken to over REST.
type raftkv struct{ *loopback.Raftkv }

func newRaftkv(program, root string, profiled bool) (*raftkv, error) {
	r, err := loopback.NewRaftkv(program, members, func(i int) (dir, logPath string) { return memberDir(root, "raftkv", i) }, profiled)
	return &raftkv{r}, err
}

func (r *raftkv) name() string                   { return "raftkv" }
func (r *raftkv) processes() []*loopback.Process { return r.Nodes }
func (r *raftkv) endpoint(member int) string     { return r.Clients[member] }

func (r *raftkv) leader(ctx context.Context) (int, error) { return r.Leader(ctx) }

func (r *raftkv) term(ctx context.Context) (uint64, error) {
	leader, err := r.leader(ctx)
	if err != nil {
		return 0, err
	}
	s, err := r.Status(ctx, leader)
	return uint64(s.Term), err
}

func (r *raftkv) caughtUp(ctx context.Context, member int) error {
	s, err := r.Status(ctx, member)
	if err != nil {
		return err
	}
	if !s.Ready {
		return errors.New(s.NotReady)
	}
	return nil
}

func (r *raftkv) connect(member, callers int) ([]caller, func(), error) {
	var out []caller
	var opened []*restCaller
	closeAll := func() {
		for _, c := range opened {
			c.close()
		}
	}
	for range callers {
		c, err := dialREST(r.Clients[member])
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		opened, out = append(opened, c), append(out, c)
	}
	return out, closeAll, nil
}

func (r *raftkv) probe(ctx context.Context, member int, key string, value []byte) error {
	return probeREST(ctx, r.Clients[member], key, value)
}
