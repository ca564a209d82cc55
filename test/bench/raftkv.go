//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/raftkv/raftkv/server/admin"
)

// raftkv is three raftkv-node processes with their default settings, spoken to over REST.
type raftkv struct {
	nodes            []*process
	clients, metrics []string
	// profiles are the addresses of Go's profiles; the product has none.
	profiles []string
}

func newRaftkv(program, root string, profiled bool) (*raftkv, error) {
	free, err := freeAddresses(4 * members)
	if err != nil {
		return nil, err
	}
	r := &raftkv{}
	var cluster []string
	for i := range members {
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s", i, free[4*i]))
	}
	for i := range members {
		peer, client, metrics, profile := free[4*i], free[4*i+1], free[4*i+2], free[4*i+3]
		dir, logPath := memberDir(root, r.name(), i)
		p := &process{program: program, dir: dir, logPath: logPath, args: []string{
			fmt.Sprintf("--name=m%d", i), "--data-dir=" + dir, "--initial-cluster=" + strings.Join(cluster, ","),
			"--listen-peer-urls=http://" + peer, "--listen-client-urls=http://" + client, "--listen-metrics-urls=http://" + metrics,
		}}
		if profiled {
			p.env = []string{"PROFILE_ADDRESS=" + profile}
			r.profiles = append(r.profiles, profile)
		}
		r.nodes = append(r.nodes, p)
		r.clients, r.metrics = append(r.clients, client), append(r.metrics, metrics)
	}
	return r, nil
}

func (r *raftkv) name() string          { return "raftkv" }
func (r *raftkv) processes() []*process { return r.nodes }

func (r *raftkv) status(ctx context.Context, member int) (admin.Status, error) {
	var s admin.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.metrics[member]+"/v1/status", nil)
	if err != nil {
		return s, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	return s, json.NewDecoder(response.Body).Decode(&s)
}

func (r *raftkv) leader(ctx context.Context) (int, error) {
	for i := range members {
		if s, err := r.status(ctx, i); err == nil && s.Role == "leader" && s.Ready {
			return i, nil
		}
	}
	return 0, errors.New("no member leads")
}

func (r *raftkv) term(ctx context.Context) (uint64, error) {
	leader, err := r.leader(ctx)
	if err != nil {
		return 0, err
	}
	s, err := r.status(ctx, leader)
	return uint64(s.Term), err
}

func (r *raftkv) caughtUp(ctx context.Context, member int) error {
	s, err := r.status(ctx, member)
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
		c, err := dialREST(r.clients[member])
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		opened, out = append(opened, c), append(out, c)
	}
	return out, closeAll, nil
}

// profile writes the processor profile of a member over the next seconds.
func (r *raftkv) profile(member, seconds int, to io.Writer) error {
	response, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.profiles[member], seconds))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the profile was refused: %s", response.Status)
	}
	_, err = io.Copy(to, response.Body)
	return err
}

func (r *raftkv) probe(ctx context.Context, member int, key string, value []byte) error {
	return probeREST(ctx, r.clients[member], key, value)
}
