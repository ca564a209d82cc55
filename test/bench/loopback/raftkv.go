//go:build linux

package loopback

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

// Raftkv is members of raftkv.
type Raftkv struct {
	Nodes []*Process
	// Clients and Metrics are the addresses of the members' ports.
	Clients, Metrics []string
	// Profiles are the addresses of Go's profiles, which only the program of test/bench/profiled has.
	Profiles []string
}

// NewRaftkv prepares members with their default settings and some flags besides, at addresses that are free now. Where each has its directory
// and its log, place says.
func NewRaftkv(program string, members int, place func(i int) (dir, logPath string), profiled bool, flags ...string) (*Raftkv, error) {
	free, err := FreeAddresses(4 * members)
	if err != nil {
		return nil, err
	}
	r := &Raftkv{}
	var cluster []string
	for i := range members {
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s", i, free[4*i]))
	}
	for i := range members {
		peer, client, metrics, profile := free[4*i], free[4*i+1], free[4*i+2], free[4*i+3]
		dir, logPath := place(i)
		p := &Process{Program: program, Dir: dir, LogPath: logPath, Args: append([]string{
			fmt.Sprintf("--name=m%d", i), "--data-dir=" + dir, "--initial-cluster=" + strings.Join(cluster, ","),
			"--listen-peer-urls=http://" + peer, "--listen-client-urls=http://" + client, "--listen-metrics-urls=http://" + metrics,
		}, flags...)}
		if profiled {
			p.Env = []string{"PROFILE_ADDRESS=" + profile}
			r.Profiles = append(r.Profiles, profile)
		}
		r.Nodes = append(r.Nodes, p)
		r.Clients, r.Metrics = append(r.Clients, client), append(r.Metrics, metrics)
	}
	return r, nil
}

// Status is what a member says of itself.
func (r *Raftkv) Status(ctx context.Context, member int) (admin.Status, error) {
	var s admin.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Metrics[member]+"/v1/status", nil)
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

// Leader is the member that leads and serves.
func (r *Raftkv) Leader(ctx context.Context) (int, error) {
	for i := range r.Nodes {
		if s, err := r.Status(ctx, i); err == nil && s.Role == "leader" && s.Ready {
			return i, nil
		}
	}
	return 0, errors.New("no member leads")
}

// Profile writes the processor profile of a member over the next seconds.
func (r *Raftkv) Profile(member, seconds int, to io.Writer) error {
	response, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.Profiles[member], seconds))
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
