package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/server"
	"github.com/raftkv/raftkv/server/admin"
	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/test/loopback"
)

// patience bounds what a test waits for.
const patience = 60 * time.Second

// group is a cluster of three real nodes in this process, made once for all tests of the package. Tests write below prefixes of their own.
var group struct {
	once  sync.Once
	dir   string
	stop  context.CancelFunc
	ended sync.WaitGroup
	nodes []node
	err   error
}

type node struct{ name, client, metrics string }

func TestMain(m *testing.M) {
	if os.Getenv(environmentAsRaftctl) != "" {
		os.Exit(beRaftctl())
	}
	code := m.Run()
	if group.stop != nil {
		group.stop()
		group.ended.Wait()
	}
	for _, dir := range []string{group.dir, environment.dir} {
		if err := os.RemoveAll(dir); dir != "" && err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if err := stopAPIServer(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// nodes are the cluster's, all of them ready.
func nodes(t *testing.T) []node {
	t.Helper()
	group.once.Do(func() { group.err = startGroup() })
	if group.err != nil {
		t.Fatal(group.err)
	}
	return group.nodes
}

func startGroup() (err error) {
	if group.dir, err = os.MkdirTemp("", "raftctl-test-"); err != nil {
		return err
	}
	var peers, members []string
	// The names are those of a RaftCluster's pods, so that the tests of port-forwards can use these nodes.
	for i := range 3 {
		n := node{name: fmt.Sprintf("demo-%d", i)}
		peer, err := loopback.Address()
		if err == nil {
			n.client, err = loopback.Address()
		}
		if err == nil {
			n.metrics, err = loopback.Address()
		}
		if err != nil {
			return err
		}
		peers = append(peers, peer)
		members = append(members, n.name+"=http://"+peer)
		group.nodes = append(group.nodes, n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	group.stop = cancel
	ended := make(chan error, len(group.nodes))
	for i, n := range group.nodes {
		f := config.Flags()
		if err := f.Parse([]string{
			"--name=" + n.name, "--data-dir=" + filepath.Join(group.dir, n.name), "--listen-peer-urls=http://" + peers[i], "--listen-client-urls=http://" + n.client,
			"--listen-metrics-urls=http://" + n.metrics, "--initial-cluster=" + strings.Join(members, ","), "--log-level=error",
			// A RaftCluster's nodes tell each other these.
			"--advertise-client-urls=http://" + n.name + ".demo-peers." + namespaceName + ".svc:2379",
		}); err != nil {
			return err
		}
		cfg, err := config.Load(f, nil)
		if err != nil {
			return err
		}
		group.ended.Go(func() { ended <- server.Run(ctx, cfg, server.Options{Version: "test", Log: os.Stderr}) })
	}
	for _, n := range group.nodes {
		if err := ready(n, ended); err != nil {
			return err
		}
	}
	return nil
}

func ready(n node, ended <-chan error) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-ended:
			return fmt.Errorf("a node ended at once: %w", err)
		default:
		}
		if s, err := n.status(); err == nil && s.Ready {
			return nil
		}
	}
	return errors.New(n.name + " does not become ready")
}

func (n node) status() (s admin.Status, err error) {
	r, err := http.Get("http://" + n.metrics + "/v1/status")
	if err != nil {
		return s, err
	}
	defer func() { _ = r.Body.Close() }()
	return s, json.NewDecoder(r.Body).Decode(&s)
}

// said is what a run of raftctl wrote, and its exit code.
type said struct {
	out, err string
	code     int
}

// with is the environment of a run.
type with struct {
	name, in string
	env      map[string]string
}

// run runs raftctl as it is, without endpoints of the test's.
func (w with) run(ctx context.Context, arguments ...string) said {
	var out, errOut bytes.Buffer
	if w.name == "" {
		w.name = "raftctl"
	}
	code := Run(ctx, Environment{
		Name: w.name, Version: "test", In: strings.NewReader(w.in), Out: &out, Err: &errOut, Getenv: func(name string) string { return w.env[name] },
	}, arguments)
	return said{out.String(), errOut.String(), code}
}

// raftctl runs a command on the nodes. It must end with exit code 0.
func raftctl(t *testing.T, arguments ...string) string {
	t.Helper()
	return raftctlIn(t, "", arguments...)
}

func raftctlIn(t *testing.T, in string, arguments ...string) string {
	t.Helper()
	s := attempt(t, in, arguments...)
	if s.code != ExitOK {
		t.Fatalf("raftctl %s ends with %d: %s%s", strings.Join(arguments, " "), s.code, s.out, s.err)
	}
	return s.out
}

// attempt runs a command on the nodes.
func attempt(t *testing.T, in string, arguments ...string) said {
	t.Helper()
	var endpoints []string
	for _, n := range nodes(t) {
		endpoints = append(endpoints, n.client)
	}
	return with{in: in, env: map[string]string{EnvEndpoints: strings.Join(endpoints, ", ")}}.run(t.Context(), append([]string{"--timeout=60s"}, arguments...)...)
}

// eventually waits for what a busy machine may keep back: a member is silent for a moment, a hand-over fails, or an election comes at any time.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// says runs a command on the nodes until it ends well and what it says is as it should be.
func says(t *testing.T, want func(out string) bool, arguments ...string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s := attempt(t, "", arguments...)
		if s.code == ExitOK && want(s.out) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("raftctl %s ends with %d: %s%s", strings.Join(arguments, " "), s.code, s.out, s.err)
		}
	}
}

// lead has a member lead.
func lead(t *testing.T, member string) {
	t.Helper()
	says(t, func(out string) bool { return strings.HasPrefix(out, member+" (") }, "move-leader", member)
}

// decode reads JSON that a command wrote.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}
