//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/raftkv/raftkv/server/admin"
)

const (
	members     = 3
	stopTimeout = 30 * time.Second
	pollPause   = 20 * time.Millisecond
	// clockTicksPerSecond is the unit of the times in /proc/PID/stat, the same on every Linux that Go knows.
	clockTicksPerSecond = 100
)

// node is one member's process.
type node struct {
	program      string
	args, env    []string
	log, profile string
	cmd          *exec.Cmd
}

func (n *node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd = exec.Command(n.program, n.args...)
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return n.cmd.Start()
}

func (n *node) stop() {
	if n.cmd == nil || n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	kill := time.AfterFunc(stopTimeout, func() { _ = n.cmd.Process.Kill() })
	defer kill.Stop()
	_ = n.cmd.Wait() // how it ended is of no interest
}

// cpu is the processor time of the process since its start; 0 if it has ended.
func (n *node) cpu() time.Duration {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid), "stat"))
	if err != nil {
		return 0
	}
	// The second field is the program's name in brackets, which may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[min(11, len(fields)):min(13, len(fields))] { // utime and stime of proc(5)
		t, _ := strconv.Atoi(f)
		ticks += time.Duration(t)
	}
	return ticks * time.Second / clockTicksPerSecond
}

func (n *node) logTail() string {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

type cluster struct {
	nodes            []*node
	clients, metrics []string
}

func startCluster(program, root string, profiled bool) (*cluster, error) {
	const each = 4
	free, err := freeAddresses(each * members)
	if err != nil {
		return nil, err
	}
	var initial []string
	for i := range members {
		initial = append(initial, fmt.Sprintf("m%d=http://%s", i, free[each*i]))
	}
	c := &cluster{}
	for i := range members {
		a := free[each*i:]
		dir, log := memberPath(root, i)
		n := &node{program: program, log: log, args: []string{
			fmt.Sprintf("--name=m%d", i), "--data-dir=" + dir, "--initial-cluster=" + strings.Join(initial, ","),
			"--listen-peer-urls=http://" + a[0], "--listen-client-urls=http://" + a[1], "--listen-metrics-urls=http://" + a[2],
			"--quota-backend-bytes=" + strconv.Itoa(16<<30),
		}}
		if profiled {
			n.profile = a[3]
			n.env = []string{"PROFILE_ADDRESS=" + a[3]}
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		c.nodes, c.clients, c.metrics = append(c.nodes, n), append(c.clients, a[1]), append(c.metrics, a[2])
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.stop()
	}
}

// freeAddresses are below those that the kernel gives to outgoing connections, so that a member finds its own free when it comes back.
func freeAddresses(n int) ([]string, error) {
	const first, count, attempts = 20_000, 12_000, 1000
	var out []string
	for range attempts {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(count)))
		if err != nil {
			continue
		}
		defer l.Close() // all are held until all are there, so that they differ
		if out = append(out, l.Addr().String()); len(out) == n {
			return out, nil
		}
	}
	return nil, errors.New("no free ports between 20000 and 32000")
}

func (c *cluster) status(ctx context.Context, member int) (admin.Status, error) {
	var s admin.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.metrics[member]+"/v1/status", nil)
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

func (c *cluster) leader(ctx context.Context) (int, error) {
	for i := range members {
		if s, err := c.status(ctx, i); err == nil && s.Role == "leader" && s.Ready {
			return i, nil
		}
	}
	return 0, errors.New("no member leads")
}

// settle waits until all members are ready.
func (c *cluster) settle(ctx context.Context) (leader int, err error) {
	err = eventually(ctx, settleTimeout, func(ctx context.Context) error {
		for i := range members {
			s, err := c.status(ctx, i)
			if err != nil || !s.Ready {
				return fmt.Errorf("member %d is not ready: %s %w", i, s.NotReady, err)
			}
		}
		leader, err = c.leader(ctx)
		return err
	})
	return leader, err
}

func eventually(ctx context.Context, within time.Duration, condition func(context.Context) error) error {
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

// profileSeconds is how long a catch-up is profiled.
const profileSeconds = 8

// profile writes processor profiles of the two members, if that was asked for.
func (c *cluster) profile(ctx context.Context, path string, leader, follower int) <-chan error {
	done := make(chan error, 1)
	if path == "" {
		done <- nil
		return done
	}
	fetch := func(member int, to string) error {
		return eventually(ctx, settleTimeout, func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.nodes[member].profile, profileSeconds), nil)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			file, err := os.Create(to)
			if err != nil {
				return err
			}
			_, err = io.Copy(file, response.Body)
			return errors.Join(err, file.Close())
		})
	}
	go func() {
		second := make(chan error, 1)
		go func() { second <- fetch(follower, path+".follower") }()
		done <- errors.Join(fetch(leader, path+".leader"), <-second)
	}()
	return done
}
