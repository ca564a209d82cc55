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
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/raft"
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
	ctx, cancel := context.WithCancel(context.Background())
	group.stop = cancel
	group.nodes, err = startNodes(group.dir, &group.ended, ctx, ctx, ctx)
	return err
}

// startNodes starts a cluster of as many nodes as there are contexts, each until its own ends.
func startNodes(dir string, running *sync.WaitGroup, contexts ...context.Context) (nodes []node, err error) {
	var peers, members []string
	// The names are those of a RaftCluster's pods, so that the tests of port-forwards can use these nodes.
	for i := range contexts {
		n := node{name: fmt.Sprintf("demo-%d", i)}
		peer, err := loopback.Address()
		if err == nil {
			n.client, err = loopback.Address()
		}
		if err == nil {
			n.metrics, err = loopback.Address()
		}
		if err != nil {
			return nil, err
		}
		peers = append(peers, peer)
		members = append(members, n.name+"=http://"+peer)
		nodes = append(nodes, n)
	}
	ended := make(chan error, len(nodes))
	for i, n := range nodes {
		f := config.Flags()
		if err := f.Parse([]string{
			"--name=" + n.name, "--data-dir=" + filepath.Join(dir, n.name), "--listen-peer-urls=http://" + peers[i], "--listen-client-urls=http://" + n.client,
			"--listen-metrics-urls=http://" + n.metrics, "--initial-cluster=" + strings.Join(members, ","), "--log-level=error",
			// A RaftCluster's nodes tell each other these.
			"--advertise-client-urls=http://" + n.name + ".demo-peers." + namespaceName + ".svc:2379",
		}); err != nil {
			return nodes, err
		}
		cfg, err := config.Load(f, nil)
		if err != nil {
			return nodes, err
		}
		running.Go(func() { ended <- server.Run(contexts[i], cfg, server.Options{Version: "test", Log: os.Stderr}) })
	}
	for _, n := range nodes {
		if err := ready(n, ended); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
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

// eventually waits for what a busy machine may keep back.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}

// calm is a moment in which all nodes know the same leader and hold all that was written.
type calm struct {
	leader      string
	term        raft.Term
	generations []uint64 // of what each node says of itself: they move with elections, and where a node misses its leader for a moment
}

// settled waits for such a moment.
func settled(t *testing.T) (c calm) {
	t.Helper()
	eventually(t, "a leader that all know", func() bool {
		c = calm{}
		all := make([]admin.Status, len(nodes(t)))
		for i, n := range nodes(t) {
			s, err := n.status()
			if err != nil || !s.Ready {
				return false
			}
			if s.Leader == s.MemberID {
				c.leader, c.term = n.name, s.Term
			}
			all[i] = s
			c.generations = append(c.generations, s.Generation)
		}
		for _, s := range all {
			if s.Leader != all[0].Leader || s.Term != c.term || s.Applied < all[0].Commit || all[0].Applied < s.Commit {
				return false
			}
		}
		return c.leader != ""
	})
	return c
}

// undisturbed makes a check under a leader, any if none is named. On a busy machine an election may come at any time, and then it is made again: without one an
// error counts at once.
func undisturbed(t *testing.T, leader string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if leader != "" {
			lead(t, leader)
		}
		before := settled(t)
		err := fmt.Errorf("%s leads no more", leader)
		if leader == "" || before.leader == leader {
			if err = check(); err == nil {
				return
			}
			if after := settled(t); slices.Equal(after.generations, before.generations) {
				t.Fatal(err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("one election after the other; the last time: %v", err)
		}
		t.Logf("once more, since an election came: %v", err)
	}
}

// says runs a command on the nodes, which ends well unless an election comes, and compares what it says.
func says(t *testing.T, want func(out string) bool, arguments ...string) {
	t.Helper()
	undisturbed(t, "", func() error {
		if s := attempt(t, "", arguments...); s.code != ExitOK || !want(s.out) {
			return fmt.Errorf("raftctl %s ends with %d: %s%s", strings.Join(arguments, " "), s.code, s.out, s.err)
		}
		return nil
	})
}

var leads = regexp.MustCompile(`^(demo-\d) \([0-9a-f]+\) leads\n$`)

// lead has a member lead.
func lead(t *testing.T, member string) {
	t.Helper()
	handOver(t, member, func() said { return attempt(t, "", "move-leader", member) })
}

// handOver runs a command that hands the leadership to a member, any other if none is named. It asks again by itself where a hand-over fails, as on a busy machine. It may be that another has won
// the election, or that whoever was asked knows no leader for a moment; but who it says leads, does, unless there was one more election.
func handOver(t *testing.T, to string, run func() said) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		before := settled(t)
		s := run()
		after := settled(t)
		named := ""
		if m := leads.FindStringSubmatch(s.out); m != nil {
			named = m[1]
		}
		switch {
		case s.code != ExitOK || named == "" && s.out != "the leadership was handed over\n":
			t.Fatalf("the hand-over to %q ends with %d: %s%s", to, s.code, s.out, s.err)
		case named != "" && named == after.leader && (to == "" || named == to):
			return
		case named != "" && named != after.leader && after.term <= before.term+1, time.Now().After(deadline):
			t.Fatalf("the hand-over to %q says %q (before: %+v, after: %+v)", to, s.out, before, after)
		}
		t.Logf("once more, since an election came: %q", s.out)
	}
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
