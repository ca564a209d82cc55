package etcdclients

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// invitation is what `etcdctl member add` prints.
type invitation struct {
	id, peer    string
	environment []string
}

var (
	addedLine = regexp.MustCompile(`(?m)^Member +([0-9a-f]+) added (as learner )?to cluster`)
	etcdLines = regexp.MustCompile(`(?m)^(ETCD_[A-Z_]+)="(.*)"$`)
)

// invite adds a member by its URL.
func (c *cluster) invite(ctx context.Context, t *testing.T, name, peer string, flags ...string) invitation {
	t.Helper()
	out, err := c.etcdctl(ctx, "", append([]string{"member", "add", name, "--peer-urls=http://" + peer}, flags...)...)
	found := addedLine.FindStringSubmatch(out)
	if err != nil || found == nil || (found[2] != "") != (len(flags) > 0) {
		t.Fatalf("member add: %v\n%s", err, out)
	}
	i := invitation{id: found[1], peer: peer}
	for _, x := range etcdLines.FindAllStringSubmatch(out, -1) {
		i.environment = append(i.environment, x[1]+"="+x[2])
	}
	if len(i.environment) != 4 {
		t.Fatalf("member add does not say how to start it:\n%s", out)
	}
	return i
}

// follow makes the node that an invitation is for, without starting it.
func (c *cluster) follow(t *testing.T, i invitation, name string) *node {
	dir, client := t.TempDir(), freeAddress()
	n := &node{name: name, client: client, log: filepath.Join(dir, "log"), environment: i.environment, args: []string{
		"--data-dir=" + filepath.Join(dir, name), "--listen-peer-urls=http://" + i.peer,
		"--listen-client-urls=http://" + client, "--advertise-client-urls=http://" + client,
	}}
	c.nodes = append(c.nodes, n)
	return n
}

// row waits until `etcdctl member list` has a line like that for a member.
func (c *cluster) row(ctx context.Context, t *testing.T, id, want string) {
	t.Helper()
	pattern := regexp.MustCompile(`(?m)^` + id + `, ` + want + `$`)
	var out string
	defer func() {
		if t.Failed() {
			t.Log(out)
		}
	}()
	eventually(t, id+", "+want, func() bool {
		var err error
		out, err = c.etcdctl(ctx, "", "member", "list")
		return err == nil && pattern.MatchString(out)
	})
}

func (n *node) mustStart(t *testing.T) {
	t.Helper()
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
}

func (n *node) mustSay(t *testing.T, line string) {
	t.Helper()
	if err := n.says(line); err != nil {
		t.Fatal(err)
	}
}

// TestAMemberIsAddedByItsURL as etcd's handbook has it, with a newcomer that is killed at each of its steps, and then loses its directory.
func TestAMemberIsAddedByItsURL(t *testing.T) {
	t.Parallel()
	mine, ctx := own(t, members), context.Background()
	added := mine.invite(ctx, t, "m3", freeAddress())
	mine.row(ctx, t, added.id, `unstarted, , http://`+added.peer+`, , true`)
	for what, x := range map[string]struct {
		arguments []string
		want      error
	}{
		"added twice":             {[]string{"member", "add", "m4", "--peer-urls=http://" + added.peer}, rpctypes.ErrPeerURLExist},
		"added at a member's URL": {[]string{"member", "add", "m4", "--peer-urls=" + flagOf(mine.nodes[0], "--listen-peer-urls")}, rpctypes.ErrPeerURLExist},
		"promoted too early":      {[]string{"member", "promote", added.id}, rpctypes.ErrMemberLearnerNotReady},
	} {
		if out, err := mine.etcdctl(ctx, "", x.arguments...); err == nil || !strings.Contains(out, x.want.Error()) {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	n := mine.follow(t, added, "m3")
	for _, step := range []string{"listening", "claimed the place", "a leader has added this node", "ready to serve"} {
		n.mustStart(t)
		// What was done before it was killed is not done again, and not said.
		eventually(t, step, func() bool {
			text, err := os.ReadFile(n.log)
			return err == nil && (strings.Contains(string(text), step) || strings.Contains(string(text), "opened log and state"))
		})
		n.end(syscall.SIGKILL)
	}
	n.mustStart(t)
	n.mustSay(t, readyLine)
	mine.row(ctx, t, added.id, `started, m3, http://`+added.peer+`, http://`+n.client+`, false`)
	_ = must(mine.dial(t, n).Put(within(t), "k", "v"))(t)

	// Another directory at the same URL is nobody, however often it asks.
	n.end(syscall.SIGKILL)
	if err := os.RemoveAll(flagOf(n, "--data-dir")); err != nil {
		t.Fatal(err)
	}
	n.mustStart(t)
	n.mustSay(t, "has been started with another data directory")
	mine.row(ctx, t, added.id, `started, m3, http://`+added.peer+`, http://`+n.client+`, false`)
	if out, err := mine.etcdctl(ctx, "", "member", "remove", added.id); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again := mine.invite(ctx, t, "m3", added.peer)
	if again.id == added.id {
		t.Error("an ID was given twice")
	}
	n.mustSay(t, readyLine)
	mine.row(ctx, t, again.id, `started, m3, http://`+added.peer+`, http://`+n.client+`, false`)
	if r := must(mine.dial(t, n).Get(within(t), "k"))(t); r.Count != 1 {
		t.Error("a write is lost")
	}
}

// flagOf is the value of a node's flag.
func flagOf(n *node, name string) string {
	for _, a := range n.args {
		if value, found := strings.CutPrefix(a, name+"="); found {
			return value
		}
	}
	return ""
}

// TestALearnerIsAddedByItsURL while leaders die. It stays one until it is promoted.
func TestALearnerIsAddedByItsURL(t *testing.T) {
	t.Parallel()
	mine, ctx := own(t, members), context.Background()
	added := mine.invite(ctx, t, "m3", freeAddress(), "--learner")
	first := mine.leader(t)
	first.end(syscall.SIGKILL)
	n := mine.follow(t, added, "m3")
	n.mustStart(t)
	n.mustSay(t, readyLine) // it asks the members that are left
	mine.row(ctx, t, added.id, `started, m3, http://`+added.peer+`, http://`+n.client+`, true`)
	eventually(t, "the learner is promoted", func() bool {
		out, err := mine.etcdctl(ctx, "", "member", "promote", added.id)
		if err != nil && !strings.Contains(out, rpctypes.ErrMemberLearnerNotReady.Error()) {
			t.Fatalf("%v\n%s", err, out)
		}
		return err == nil
	})
	mine.row(ctx, t, added.id, `started, m3, http://`+added.peer+`, http://`+n.client+`, false`)
	first.mustStart(t)
	first.mustSay(t, readyLine)
	// With the new one three of four votes are there.
	for _, x := range mine.nodes {
		if x != n && x != first {
			x.end(syscall.SIGKILL)
			break
		}
	}
	c := mine.dial(t, n)
	eventually(t, "three of four votes are a quorum", func() bool {
		_, err := c.Put(within(t), "k", "v")
		return err == nil
	})
}

// TestAMemberThatIsNotStarted costs nobody the quorum, and is taken away again. Who starts for it then waits.
func TestAMemberThatIsNotStarted(t *testing.T) {
	t.Parallel()
	mine, ctx := own(t, 1), context.Background()
	c := mine.dial(t)
	added := mine.invite(ctx, t, "m1", freeAddress())
	other := mine.invite(ctx, t, "m2", freeAddress())
	_ = must(c.Put(within(t), "k", "v"))(t)
	mine.nodes[0].end(syscall.SIGKILL)
	mine.nodes[0].mustStart(t)
	mine.nodes[0].mustSay(t, readyLine)
	_ = must(c.Put(within(t), "k", "w"))(t)
	mine.row(ctx, t, added.id, `unstarted, , http://`+added.peer+`, , true`)
	if out, err := mine.etcdctl(ctx, "", "member", "remove", added.id); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n := mine.follow(t, added, "m1")
	n.mustStart(t)
	n.mustSay(t, "somebody to add a member with the address")
	second := mine.follow(t, other, "m2")
	second.mustStart(t)
	second.mustSay(t, readyLine)
	mine.row(ctx, t, other.id, `started, m2, http://`+other.peer+`, http://`+second.client+`, false`)
	if r := must(mine.dial(t, second).Get(within(t), "k"))(t); string(r.Kvs[0].Value) != "w" {
		t.Errorf("%v", r)
	}
}
