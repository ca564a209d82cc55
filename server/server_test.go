package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/server/admin"
)

func TestAClusterOfOneOnItsOwn(t *testing.T) {
	node := staticCluster(t, "a")[0]
	node.mustPut("k", "v1")
	node.mustGet("k", "v1")
	before, err := node.status()
	if err != nil || before.Role != "leader" || before.ClusterID == 0 || before.ClusterVersion == 0 || before.MemberID == 0 {
		t.Fatalf("%+v, %v", before, err)
	}
	node.mustStop()
	node.start()
	after := node.awaitReady()
	if after.MemberID != before.MemberID || after.ClusterID != before.ClusterID || after.Incarnation != before.Incarnation {
		t.Errorf("a restart changed the identity: %+v, %+v", before, after)
	}
	node.mustGet("k", "v1")
}

func TestThreeNodesKeepWhatTheyAcknowledged(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	written := map[string]string{}
	put := func(on *instance, n int) {
		key, value := fmt.Sprintf("key-%d", n), fmt.Sprintf("value-%d", n)
		on.mustPut(key, value)
		written[key] = value
	}
	for n := range 30 { // any node takes any request
		put(nodes[n%3], n)
	}
	for _, on := range nodes {
		for key, value := range written {
			on.mustGet(key, value)
		}
	}

	// One after another loses its process and comes back, the leader first.
	first := leaderOf(t, nodes)
	for round, down := range append([]*instance{first}, others(nodes, first)...) {
		down.mustStop()
		rest := others(nodes, down)
		for n := range 5 {
			put(rest[n%2], 100*(round+1)+n)
		}
		down.start()
		down.awaitReady()
	}
	// All at once.
	for _, i := range nodes {
		i.mustStop()
	}
	for _, i := range nodes {
		i.start()
	}
	for _, i := range nodes {
		i.awaitReady()
		for key, value := range written {
			i.mustGet(key, value)
		}
	}
}

func TestWithoutAQuorumRequestsAreRefusedInTime(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	nodes[0].mustPut("k", "v")
	nodes[1].mustStop()
	nodes[2].mustStop()
	nodes[0].await("losing the leader", func(s admin.Status) bool { return !s.Ready })
	r, err := nodes[0].request(http.MethodPut, "/v1/kv/k?timeout=300ms", "w")
	if err != nil || (r.code != http.StatusServiceUnavailable && r.code != http.StatusGatewayTimeout) {
		t.Errorf("a write without a quorum: %v, %v", r, err)
	}
	r, err = nodes[0].request(http.MethodGet, "/v1/kv/k?timeout=300ms", "")
	if err != nil || r.code != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("a read without a quorum: %v, %v", r, err)
	}
	r, err = nodes[0].request(http.MethodGet, "/v1/kv/k?serializable=true", "")
	if err != nil || r.code != http.StatusOK || r.body != "v" {
		t.Errorf("a serializable read without a quorum: %v, %v", r, err)
	}
	if resp, err := http.Get("http://" + nodes[0].metrics + "/livez"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("livez without a quorum: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
}

// operate is a cluster that is built by admin calls, as the operator builds it.
func operate(t *testing.T, names ...string) []*instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var nodes []*instance
	for _, n := range names {
		i := newInstance(t, n)
		i.start()
		nodes = append(nodes, i)
	}
	first := nodes[0]
	s := first.await("being empty", func(s admin.Status) bool { return s.State == admin.StateEmpty })
	request := &admin.BootstrapRequest{ClusterID: 0xc1, Incarnation: s.Incarnation, Member: first.member(s.Incarnation)}
	for done := 0; done < 2; { // it may be repeated
		_, err := first.admin().Bootstrap(ctx, request)
		switch {
		case err == nil:
			done++
		case ctx.Err() != nil || rpc.CodeOf(err) != rpc.CodeUnavailable: // as when a busy machine keeps a node silent for long
			t.Fatal(err)
		}
	}
	other := *request
	other.ClusterID = 0xc2
	if _, err := first.admin().Bootstrap(ctx, &other); rpc.ReasonOf(err) != admin.ReasonNotEmpty {
		t.Errorf("bootstrap of another cluster: %v", err)
	}
	other.Incarnation++
	if _, err := first.admin().Bootstrap(ctx, &other); rpc.ReasonOf(err) != admin.ReasonIncarnation {
		t.Errorf("bootstrap of another incarnation: %v", err)
	}
	first.awaitReady()
	for _, i := range nodes[1:] {
		add(t, nodes, i)
	}
	return nodes
}

// change repeats a membership change until it is done, on whoever leads. One that would endanger the quorum may be made later: a voter that
// a busy machine kept from answering counts again once it has answered.
func change(t *testing.T, nodes []*instance, c raft.Change) raft.NodeID {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		leader := leaderOf(t, nodes)
		s, err := leader.status()
		if err != nil {
			t.Fatal(err)
		}
		resp, err := leader.admin().ChangeMembership(ctx, &admin.ChangeRequest{ConfigIndex: s.ConfigIndex, Changes: []raft.Change{c}})
		if err == nil {
			return resp.IDs[0]
		}
		switch rpc.ReasonOf(err) {
		case admin.ReasonRefused, admin.ReasonIncarnation:
			t.Fatalf("%s: %v", c.Kind, err)
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %v", c.Kind, err)
		}
	}
}

// add takes an empty node in: as a learner, then with a vote.
func add(t *testing.T, nodes []*instance, i *instance) raft.NodeID {
	t.Helper()
	s := i.await("being empty", func(s admin.Status) bool { return s.State == admin.StateEmpty })
	id := change(t, others(nodes, i), raft.Change{Kind: raft.ChangeAddLearner, Member: i.member(s.Incarnation)})
	i.await("catching up", func(s admin.Status) bool { return s.MemberID == id && s.Ready })
	change(t, others(nodes, i), raft.Change{Kind: raft.ChangePromote, ID: id})
	i.await("being a voter", func(s admin.Status) bool { return s.Role != "learner" && s.Ready })
	return id
}

func TestAnOperatorBuildsAClusterAndReplacesAWipedNode(t *testing.T) {
	nodes := operate(t, "demo-0", "demo-1", "demo-2")
	for n := range 20 {
		nodes[n%3].mustPut(fmt.Sprintf("key-%d", n), "v")
	}
	victim := leaderOf(t, nodes)
	old, err := victim.status()
	if err != nil {
		t.Fatal(err)
	}
	victim.mustStop()
	if err := os.RemoveAll(victim.dataDir); err != nil {
		t.Fatal(err)
	}
	victim.start()
	empty := victim.await("being empty", func(s admin.Status) bool { return s.State == admin.StateEmpty })
	if empty.Incarnation == old.Incarnation || empty.MemberID != 0 {
		t.Errorf("a wiped directory speaks for somebody: %+v", empty)
	}
	id := add(t, nodes, victim)
	if id == old.MemberID {
		t.Error("the old ID was used again")
	}
	change(t, nodes, raft.Change{Kind: raft.ChangeRemove, ID: old.MemberID})
	final := leaderOf(t, nodes).awaitReady()
	if len(final.Members) != 3 {
		t.Errorf("members: %+v", final.Members)
	}
	for n := range 20 {
		victim.mustGet(fmt.Sprintf("key-%d", n), "v")
	}
}

func TestARemovedMemberSetsItsDirectoryAsideAndJoinsAgain(t *testing.T) {
	nodes := operate(t, "demo-0", "demo-1", "demo-2")
	nodes[0].mustPut("k", "v")
	leader := leaderOf(t, nodes)
	victim := others(nodes, leader)[0]
	old, err := victim.status()
	if err != nil {
		t.Fatal(err)
	}
	change(t, nodes, raft.Change{Kind: raft.ChangeRemove, ID: old.MemberID})
	empty := victim.await("starting over", func(s admin.Status) bool { return s.State == admin.StateEmpty })
	if empty.Incarnation == old.Incarnation || empty.ClusterID != 0 {
		t.Errorf("after the removal: %+v", empty)
	}
	aside := filepath.Join(victim.dataDir, fmt.Sprintf("removed-%s-1", old.MemberID))
	if _, err := os.Stat(filepath.Join(aside, "member")); err != nil {
		t.Errorf("the removed member's data: %v", err)
	}
	if id := add(t, nodes, victim); id == old.MemberID {
		t.Error("the old ID was used again")
	}
	victim.mustGet("k", "v")
	// The same with a member that is down when it is removed.
	second := others(nodes, leaderOf(t, nodes))[0]
	old, err = second.status()
	if err != nil {
		t.Fatal(err)
	}
	second.mustStop()
	change(t, others(nodes, second), raft.Change{Kind: raft.ChangeRemove, ID: old.MemberID})
	second.start()
	second.await("starting over", func(s admin.Status) bool { return s.State == admin.StateEmpty && s.Incarnation != old.Incarnation })
	add(t, nodes, second)
	second.mustGet("k", "v")
}

func TestTheLeaderHandsOverWhenAsked(t *testing.T) {
	nodes := operate(t, "demo-0", "demo-1", "demo-2")
	ctx := testContext(t)
	undisturbed(t, nodes, 1, func() error {
		leader := leaderOf(t, nodes)
		target := others(nodes, leader)[0]
		s, err := target.status()
		if err != nil {
			return err
		}
		resp, err := leader.admin().TransferLeadership(ctx, &admin.TransferRequest{To: s.MemberID})
		if err != nil || resp.Leader != s.MemberID {
			return fmt.Errorf("handed over: %+v, %w", resp, err)
		}
		// It is heard from before it tells its status.
		if now := target.await("a leader that it knows", func(s admin.Status) bool { return s.Leader != 0 }); now.Role != "leader" {
			return fmt.Errorf("whom leadership was handed to: %+v", now)
		}
		if _, err := leader.admin().TransferLeadership(ctx, &admin.TransferRequest{}); rpc.ReasonOf(err) != admin.ReasonNotLeader {
			return fmt.Errorf("a follower hands leadership over: %w", err)
		}
		stale := &admin.ChangeRequest{ConfigIndex: 1, Changes: []raft.Change{{Kind: raft.ChangeRemove, ID: s.MemberID}}}
		if _, err := target.admin().ChangeMembership(ctx, stale); rpc.ReasonOf(err) != admin.ReasonConfigMoved {
			return fmt.Errorf("a change decided on an old membership: %w", err)
		}
		return nil
	})
}

func TestAWipedStaticNodeWaitsAndIsAdded(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	nodes[0].mustPut("k", "v")
	victim := nodes[2]
	old, err := victim.status()
	if err != nil {
		t.Fatal(err)
	}
	victim.mustStop()
	if err := os.RemoveAll(victim.dataDir); err != nil {
		t.Fatal(err)
	}
	victim.start()
	add(t, nodes, victim)
	change(t, nodes, raft.Change{Kind: raft.ChangeRemove, ID: old.MemberID})
	victim.mustGet("k", "v")
}

func TestAStoppedNodeRefusesWhatIsNotItsOwn(t *testing.T) {
	node := staticCluster(t, "a")[0]
	node.mustPut("k", "v")
	node.mustStop()
	for _, x := range []struct {
		name  string
		flags []string
		spoil func(*testing.T)
		want  string
	}{
		{"another name", []string{"--name=b", "--initial-cluster=b=http://" + node.peer}, nil, `belongs to the node "a"`},
		{"another cluster's token", []string{"--initial-cluster-token=other"}, nil, "another --initial-cluster-token"},
		{"a damaged log", nil, func(t *testing.T) { flipFirst(t, filepath.Join(node.dataDir, "member", "wal", "*.wal")) }, ".wal"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.spoil != nil {
				x.spoil(t)
			}
			cfg, err := node.config(x.flags...)
			if err != nil {
				t.Fatal(err)
			}
			err = Run(context.Background(), cfg, Options{Log: node.log})
			if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), node.dataDir) {
				t.Errorf("got %v, want %q and the path", err, x.want)
			}
		})
	}
}

// flipFirst damages the head of a file.
func flipFirst(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[17] ^= 0x10
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}
