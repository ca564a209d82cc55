//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/raftkv/raftkv/test/bench/loopback"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	dialTimeout = 5 * time.Second
	// callersPerConnection is what etcd's own figures are made with: 1000 clients on 100 connections.
	callersPerConnection = 10
)

// etcd is three etcd processes with their default settings, spoken to by etcd's own client.
type etcd struct {
	nodes     []*loopback.Process
	endpoints []string
	observers []*clientv3.Client // one of each member
}

func newEtcd(program, root string) (*etcd, error) {
	free, err := loopback.FreeAddresses(2 * members)
	if err != nil {
		return nil, err
	}
	e := &etcd{}
	var cluster []string
	for i := range members {
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s", i, free[2*i]))
	}
	for i := range members {
		peer, client := "http://"+free[2*i], "http://"+free[2*i+1]
		dir, logPath := memberDir(root, e.name(), i)
		e.nodes = append(e.nodes, &loopback.Process{Program: program, Dir: dir, LogPath: logPath, Args: []string{
			fmt.Sprintf("--name=m%d", i), "--data-dir=" + dir, "--initial-cluster=" + strings.Join(cluster, ","),
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client, "--log-level=warn",
		}})
		e.endpoints = append(e.endpoints, free[2*i+1])
	}
	for i := range members {
		c, err := e.dial(i)
		if err != nil {
			return nil, err
		}
		e.observers = append(e.observers, c)
	}
	return e, nil
}

func (e *etcd) name() string                   { return "etcd" }
func (e *etcd) processes() []*loopback.Process { return e.nodes }
func (e *etcd) endpoint(member int) string     { return e.endpoints[member] }

func (e *etcd) dial(member int) (*clientv3.Client, error) { return dialEtcd(e.endpoints[member]) }

func (e *etcd) status(ctx context.Context, member int) (*clientv3.StatusResponse, error) {
	const patience = time.Second // so that one member that is away does not use up all of the time
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return e.observers[member].Status(ctx, e.endpoints[member])
}

func (e *etcd) leader(ctx context.Context) (int, error) {
	for i := range members {
		if s, err := e.status(ctx, i); err == nil && s.Leader == s.Header.MemberId {
			return i, nil
		}
	}
	return 0, errors.New("no member leads")
}

func (e *etcd) term(ctx context.Context) (uint64, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return 0, err
	}
	s, err := e.status(ctx, leader)
	if err != nil {
		return 0, err
	}
	return s.RaftTerm, nil
}

// maxLag is in entries; while nothing is written a member that is whole lags by none.
const maxLag = 2

func (e *etcd) caughtUp(ctx context.Context, member int) error {
	leader, err := e.leader(ctx)
	if err != nil {
		return err
	}
	led, err := e.status(ctx, leader)
	if err != nil {
		return err
	}
	s, err := e.status(ctx, member)
	if err != nil {
		return err
	}
	if s.Leader != led.Header.MemberId || s.RaftAppliedIndex+maxLag < led.RaftIndex {
		return fmt.Errorf("it has applied %d entries of %d and follows %x", s.RaftAppliedIndex, led.RaftIndex, s.Leader)
	}
	return nil
}

func (e *etcd) connect(member, callers int) ([]caller, func(), error) {
	var clients []*clientv3.Client
	closeAll := func() {
		for _, c := range clients {
			_ = c.Close() // the connections are of no use any more, whatever it says
		}
	}
	for range max(1, callers/callersPerConnection) {
		c, err := e.dial(member)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	var out []caller
	for i := range callers {
		out = append(out, etcdCaller{clients[i%len(clients)]})
	}
	return out, closeAll, nil
}

func (e *etcd) close() {
	for _, c := range e.observers {
		_ = c.Close() // the connections are of no use any more, whatever it says
	}
}

type etcdCaller struct{ client *clientv3.Client }

func (c etcdCaller) put(ctx context.Context, key string, value []byte) error {
	_, err := c.client.Put(ctx, key, string(value))
	return err
}

func (c etcdCaller) get(ctx context.Context, key string, serializable bool) error {
	var options []clientv3.OpOption
	if serializable {
		options = append(options, clientv3.WithSerializable())
	}
	r, err := c.client.Get(ctx, key, options...)
	if err == nil && len(r.Kvs) != 1 {
		return fmt.Errorf("%q: %d keys were found", key, len(r.Kvs))
	}
	return err
}

func (e *etcd) probe(ctx context.Context, member int, key string, value []byte) error {
	_, err := e.observers[member].Put(ctx, key, string(value))
	return err
}
