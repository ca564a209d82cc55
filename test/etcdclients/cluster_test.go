package etcdclients

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	members = 3
	// patience is how long a test waits for what must happen; a machine that is busy needs more than a cluster does.
	patience = 60 * time.Second
	pause    = 20 * time.Millisecond
	// progressFlag lets watches that ask for it tell how far they are soon.
	progressFlag = "--watch-progress-notify-interval=300ms"
	// readyLine is what drivers made for etcd wait for.
	readyLine = "ready to serve client requests"
)

// node is one process.
type node struct {
	name, client, log string
	args, environment []string
	process           *exec.Cmd
	exited            chan struct{}
}

// cluster is a few nodes on loopback.
type cluster struct {
	nodes []*node
}

// startCluster starts a cluster of new nodes, with flags that etcd has too, and waits until all serve.
func startCluster(dir string, size int, flags ...string) (*cluster, error) {
	var addresses []string
	for range 2 * size {
		addresses = append(addresses, freeAddress())
	}
	var initial []string
	for i := range size {
		initial = append(initial, fmt.Sprintf("m%d=http://%s", i, addresses[2*i]))
	}
	c := &cluster{}
	for i := range size {
		name, peer, client := fmt.Sprintf("m%d", i), "http://"+addresses[2*i], "http://"+addresses[2*i+1]
		n := &node{name: name, client: addresses[2*i+1], log: filepath.Join(dir, name+".log"), args: append([]string{
			"--name=" + name, "--data-dir=" + filepath.Join(dir, name), "--initial-cluster=" + strings.Join(initial, ","),
			"--initial-cluster-token=etcdclients", "--initial-cluster-state=new",
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		}, flags...)}
		c.nodes = append(c.nodes, n)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			c.stop()
			return nil, err
		}
	}
	for _, n := range c.nodes {
		if err := n.serves(); err != nil {
			c.logs(os.Stderr)
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

// lastPort counts the ports that were given away.
var lastPort atomic.Uint32

// freeAddress returns an address that nobody else is given, as package test/loopback does, which is not part of this module.
func freeAddress() string {
	const firstPort = 20_000
	pid := uint32(os.Getpid())
	ip := net.IPv4(127, byte(64|pid>>16&63), byte(pid>>8), byte(pid))
	return net.JoinHostPort(ip.String(), fmt.Sprint(firstPort+lastPort.Add(1)))
}

func (n *node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	n.process = exec.Command(programs.node, n.args...)
	n.process.Stdout, n.process.Stderr = log, log
	n.process.Env = append(os.Environ(), n.environment...)
	if err := n.process.Start(); err != nil {
		return err
	}
	n.exited = make(chan struct{})
	go func(p *exec.Cmd, exited chan struct{}) {
		_ = p.Wait()
		close(exited)
	}(n.process, n.exited)
	return nil
}

// serves waits for the line that says so.
func (n *node) serves() error { return n.says(readyLine) }

// says waits for a line in the log of this run.
func (n *node) says(line string) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pause) {
		text, err := os.ReadFile(n.log)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte(line)) {
			return nil
		}
		select {
		case <-n.exited:
			return fmt.Errorf("%s ended at its start", n.name)
		default:
		}
	}
	return fmt.Errorf("%s does not say %q", n.name, line)
}

// end sends a signal and waits for the process.
func (n *node) end(s syscall.Signal) {
	if n.exited == nil {
		return
	}
	_ = n.process.Process.Signal(s)
	select {
	case <-n.exited:
	case <-time.After(patience):
		_ = n.process.Process.Kill()
		<-n.exited
	}
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.end(syscall.SIGKILL)
	}
}

// races returns what the race detector said of a node.
func (c *cluster) races() string {
	for _, n := range c.nodes {
		text, _ := os.ReadFile(n.log)
		if i := bytes.Index(text, []byte("WARNING: DATA RACE")); i >= 0 {
			return n.name + ": " + string(text[i:])
		}
	}
	return ""
}

func (c *cluster) logs(w io.Writer) {
	const most = 8 << 10
	for _, n := range c.nodes {
		text, _ := os.ReadFile(n.log)
		_, _ = fmt.Fprintf(w, "--- log of %s\n%s\n", n.name, text[max(0, len(text)-most):])
	}
}

func (c *cluster) endpoints() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.client)
	}
	return out
}

// own starts a cluster for one test.
func own(t *testing.T, size int, flags ...string) *cluster {
	t.Helper()
	c, err := startCluster(filepath.Join(t.TempDir(), "nodes"), size, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stop()
		if found := c.races(); found != "" {
			t.Error(found)
		}
		if t.Failed() {
			var b strings.Builder
			c.logs(&b)
			t.Log(b.String())
		}
	})
	return c
}

// dial returns a client of some nodes, all if none is named.
func (c *cluster) dial(t *testing.T, nodes ...*node) *clientv3.Client {
	t.Helper()
	endpoints := c.endpoints()
	if len(nodes) > 0 {
		endpoints = nil
		for _, n := range nodes {
			endpoints = append(endpoints, n.client)
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// leader is the node that leads.
func (c *cluster) leader(t *testing.T) *node {
	t.Helper()
	ctx := within(t)
	client := c.dial(t)
	var found *node
	eventually(t, "a leader is known", func() bool {
		for _, n := range c.nodes {
			s, err := client.Status(ctx, n.client)
			if err == nil && s.Leader == s.Header.MemberId {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

// term is the highest that a node knows.
func (c *cluster) term(ctx context.Context, t *testing.T) (highest uint64) {
	t.Helper()
	client := c.dial(t)
	for _, n := range c.nodes {
		highest = max(highest, must(client.Status(ctx, n.client))(t).RaftTerm)
	}
	return highest
}

var runs atomic.Uint64

// fresh is a name for a test's keys that no other test and no earlier run has used, and that no other begins with.
func fresh(t *testing.T) string { return fmt.Sprintf("%d-%s", runs.Add(1), t.Name()) }

// within is a context that ends when a test has waited too long.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// must fails the test at an error: must(call())(t).
func must[T any](out T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}
