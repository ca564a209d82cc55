package etcdclients

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// withTime is an environment in which etcdctl waits longer than the seconds that it waits by itself, which a busy machine may need.
func withTime(more ...string) []string {
	return append(os.Environ(), append(more, "ETCDCTL_DIAL_TIMEOUT="+patience.String(), "ETCDCTL_COMMAND_TIMEOUT="+patience.String())...)
}

// etcdctl runs etcd's own command.
func (c *cluster) etcdctl(ctx context.Context, input string, arguments ...string) (string, error) {
	x := exec.CommandContext(ctx, programs.etcdctl, arguments...)
	x.Env = withTime("ETCDCTL_ENDPOINTS=" + strings.Join(c.endpoints(), ","))
	x.Stdin = strings.NewReader(input)
	out, err := x.CombinedOutput()
	return string(out), err
}

func TestEtcdctl(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	eventually(t, "the members know each other's addresses for clients", func() bool {
		for _, m := range must(c.MemberList(ctx))(t).Members {
			if len(m.ClientURLs) == 0 {
				return false
			}
		}
		return true
	})
	key := name
	var lease string
	for _, x := range []struct {
		arguments, input, want string
	}{
		{"put KEY 1", "", "^OK\n$"},
		{"put KEY2 --prev-kv", "two", "^OK\n"},
		{"get KEY", "", "^KEY\n1\n$"},
		{"get --prefix KEY --keys-only", "", "^KEY\n\nKEY2\n\n$"},
		{"get KEY --consistency=s --print-value-only", "", "^1\n$"},
		{"get --prefix KEY --count-only -w fields", "", `"Count" : 2`},
		{"txn", "value(\"KEY\") = \"1\"\n\nput KEY 2\nget KEY\n\nput KEY wrong\n\n", "^SUCCESS\n\nOK\n\nKEY\n2\n$"},
		{"del --prefix KEY2", "", "^1\n$"},
		{"lease grant 60", "", "granted with TTL\\(60s\\)"},
		{"put KEYleased v --lease=LEASE", "", "^OK\n$"},
		{"lease timetolive LEASE --keys", "", "attached keys\\(\\[KEYleased\\]\\)"},
		{"lease list", "", "LEASE"},
		{"lease keep-alive --once LEASE", "", "keepalived with TTL\\(60\\)"},
		{"lease revoke LEASE", "", "revoked"},
		{"get KEYleased", "", "^$"},
		{"member list", "", "started, m0, http://127[.\\d]+:\\d+, http://127[.\\d]+:\\d+, false"},
		{"endpoint status -w json", "", `"version":"3`},
		{"endpoint health", "", "(?s)(is healthy.*){3}"},
		{"endpoint hashkv", "", ":\\d+, \\d+, \\d+\n"},
		{"alarm list", "", "^$"},
		{"defrag", "", "(?s)(Finished defragmenting.*){3}"},
		{"lock KEYlock echo held", "", "held"},
		{"version", "", "etcdctl version: 3.6"},
	} {
		fill := strings.NewReplacer("KEY", key, "LEASE", lease)
		out, err := shared.etcdctl(ctx, fill.Replace(x.input), strings.Fields(fill.Replace(x.arguments))...)
		if err != nil || !regexp.MustCompile(fill.Replace(x.want)).MatchString(out) {
			t.Errorf("etcdctl %s: %v\n%s\nwanted %s", x.arguments, err, out, fill.Replace(x.want))
		}
		if x.arguments == "lease grant 60" && err == nil {
			lease = strings.Fields(out)[1]
		}
	}
}

// TestEtcdctlWatchAndElect are commands that go on until they are ended.
func TestEtcdctlWatchAndElect(t *testing.T) {
	name := fresh(t)
	c := shared.dial(t)
	first := must(c.Put(within(t), name, "before"))(t)
	for _, x := range []struct {
		arguments []string
		want      string
	}{
		{[]string{"watch", name, "--rev", "1"}, "before"},
		{[]string{"elect", name + "election", "me"}, "me"},
	} {
		ctx, cancel := context.WithCancel(within(t))
		p := exec.CommandContext(ctx, programs.etcdctl, x.arguments...)
		p.Env = withTime("ETCDCTL_ENDPOINTS=" + strings.Join(shared.endpoints(), ","))
		out := must(p.StdoutPipe())(t)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		found := false
		for lines := bufio.NewScanner(out); !found && lines.Scan(); {
			found = lines.Text() == x.want
		}
		if !found {
			t.Errorf("etcdctl %v does not say %q (put at revision %d)", x.arguments, x.want, first.Header.Revision)
		}
		cancel()
		_ = p.Wait()
	}
}

// failedHandOver is what etcdctl says of a hand-over that failed, or was asked of one who does not lead any more.
var failedHandOver = regexp.MustCompile("etcdserver: (request timed out|not leader|no leader)|no leader endpoint given")

// TestEtcdctlMaintenance has a cluster of its own, whose history and leader change.
func TestEtcdctlMaintenance(t *testing.T) {
	ctx := within(t)
	mine := own(t, members)
	run := func(want string, arguments ...string) string {
		t.Helper()
		out, err := mine.etcdctl(ctx, "", arguments...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("etcdctl %v: %v\n%s", arguments, err, out)
		}
		return out
	}
	run("OK", "put", "k", "1")
	run("OK", "put", "k", "2")
	run("compacted revision 3", "compact", "3")
	if out, err := mine.etcdctl(ctx, "", "get", "k", "--rev=2"); err == nil || !strings.Contains(out, "required revision has been compacted") {
		t.Errorf("a read of what is gone: %v\n%s", err, out)
	}
	// On a busy machine a hand-over may fail, and says so, and there may be another election behind it.
	leader := mine.leader(t)
	eventually(t, "the leader has moved", func() bool {
		before := mine.term(ctx, t)
		leader = mine.leader(t)
		target := ""
		for _, m := range mine.members(ctx, t) {
			if m.Name != leader.name {
				target = m.id()
			}
		}
		out, err := mine.etcdctl(ctx, "", "move-leader", target)
		switch {
		case err != nil && failedHandOver.MatchString(out):
			return false
		case err != nil || !strings.Contains(out, "Leadership transferred from"):
			t.Fatalf("etcdctl move-leader: %v\n%s", err, out)
		case mine.leader(t) != leader:
			return true
		}
		if after := mine.term(ctx, t); after <= before+1 {
			t.Fatalf("the leader stayed (the term was %d and is %d)\n%s", before, after, out)
		}
		return false
	})
	path := filepath.Join(t.TempDir(), "snapshot")
	x := exec.CommandContext(ctx, programs.etcdctl, "--endpoints="+leader.client, "snapshot", "save", path)
	x.Env = withTime()
	if out, err := x.CombinedOutput(); err != nil || !strings.Contains(string(out), "Snapshot saved") {
		t.Errorf("snapshot: %v\n%s", err, out)
	}
	if s := must(os.Stat(path))(t); s.Size()%512 != 32 {
		t.Errorf("a snapshot of %d bytes has no checksum at its end", s.Size())
	}
}

type member struct {
	ID         uint64
	Name       string
	ClientURLs []string
}

func (m member) id() string { return strconv.FormatUint(m.ID, 16) }

func (c *cluster) members(ctx context.Context, t *testing.T) []member {
	t.Helper()
	out, err := c.etcdctl(ctx, "", "member", "list", "-w", "json")
	var list struct {
		Members []member
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil || len(list.Members) != len(c.nodes) {
		t.Fatalf("member list: %v\n%s", err, out)
	}
	return list.Members
}
