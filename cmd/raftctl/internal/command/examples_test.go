package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// environmentAsRaftctl makes this test program raftctl itself, for tests that need one that shells can call.
const environmentAsRaftctl = "RAFTCTL_TEST_AS_RAFTCTL"

// beRaftctl runs the command of the arguments.
func beRaftctl() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return Run(ctx, Environment{Name: "raftctl", Version: "test", In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}, os.Args[1:])
}

// asRaftctl is an environment in which raftctl is this program.
func asRaftctl(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "raftctl")); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), environmentAsRaftctl+"=1")
}

// aRevision stands in examples for whatever revision there is.
var aRevision = regexp.MustCompile(`\b42(00)?\b`)

// The examples of all commands about keys and nodes are run as they stand, in a shell, in their order, on real nodes. Only addresses, revisions and times are
// others, and what goes on until it is stopped is told to end.
func TestExamplesDoWhatTheyShow(t *testing.T) {
	var endpoints []string
	for _, n := range nodes(t) {
		endpoints = append(endpoints, n.client)
	}
	folder := t.TempDir()
	for name, content := range map[string]string{
		"photo.jpg": "\xff\xd8\xff", "lock.txn": "if\n missing lock\nthen\n put lock me\nelse\n get lock\n",
		"lock.json": `{"if": [{"key": "lock", "target": "version", "relation": "=", "number": "0"}], "then": [{"put": {"key": "lock", "value": "me"}}]}`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root := Root(Environment{Name: "raftctl", Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }})
	env := append(asRaftctl(t), EnvEndpoints+"="+strings.Join(endpoints, ","))
	ran := 0
	run := func(line string, ofNodes bool) {
		t.Helper()
		ran++
		if !strings.Contains(line, "--timeout") {
			line = strings.ReplaceAll(line, "raftctl ", "raftctl --timeout=60s ")
		}
		once := func() error {
			cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
			cmd.Dir, cmd.Env = folder, env
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w\n%s", line, err, out)
			}
			return nil
		}
		if ofNodes && !strings.Contains(line, "move-leader") { // an election makes it fail
			undisturbed(t, "", once)
		} else if err := once(); err != nil {
			t.Error(err)
		}
	}
	prepare := func(path string) {
		switch path {
		case "raftctl get", "raftctl watch", "raftctl compact", "raftctl hash":
			raftctl(t, "put", "greeting", "hello")
			raftctl(t, "put", "photo", "x")
		case "raftctl lease grant":
			_ = attempt(t, "", "lease", "revoke", "5f3a")
		case "raftctl put", "raftctl lease keep-alive", "raftctl lease timetolive", "raftctl lease revoke":
			_ = attempt(t, "", "lease", "grant", "1h", "--id", "5f3a") // it may be there
		case "raftctl lease":
			_ = attempt(t, "", "lease", "revoke", "5f3a")
		case "raftctl snapshot", "raftctl snapshot save":
			_ = os.Remove(filepath.Join(folder, "backup.snapshot"))
		}
	}
	everyCommand(root, func(c *cobra.Command) {
		top := c
		for top.HasParent() && top.Parent() != root {
			top = top.Parent()
		}
		if c == root || top.GroupID != groupKeys && top.GroupID != groupNodes && c.Name() != "version" {
			return // those need a cluster in Kubernetes
		}
		prepare(c.CommandPath())
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			if strings.Contains(line, "--cluster") || strings.Contains(line, "raftctl status demo") {
				continue
			}
			for i, e := range endpoints {
				line = strings.ReplaceAll(line, fmt.Sprintf("10.0.0.%d:2379", i+1), e)
			}
			if strings.Contains(line, "42") {
				revision := decode[struct{ Revision string }](t, raftctl(t, "put", "greeting", "hello", "-o", "json")).Revision
				line = aRevision.ReplaceAllString(line, revision)
			}
			switch {
			case c.Name() == "watch" && !strings.Contains(line, "--events"):
				raftctl(t, "put", "jobs/a", "1")
				line += " --events 1"
				if !strings.Contains(line, "--revision") {
					line += " --revision " + decode[struct{ Revision string }](t, raftctl(t, "put", "jobs/a", "1", "-o", "json")).Revision
					line = strings.Replace(line, "greeting", "jobs/a", 1)
				}
			case c.Name() == "watch":
				line += " --revision " + decode[struct{ Revision string }](t, raftctl(t, "put", "greeting", "hello", "-o", "json")).Revision
			case strings.Contains(line, "lease keep-alive") && !strings.Contains(line, "--once"):
				line += " --once"
			case c.Name() == "bench":
				line += " --calls 20 --warm-up 0s --keys 20 --callers 4"
			case strings.Contains(line, "save") && !strings.Contains(line, "--timeout"):
				line += " --timeout 60s"
			}
			run(line, top.GroupID == groupNodes)
		}
	})
	if ran < 45 {
		t.Errorf("only %d examples were run", ran)
	}
	for _, leave := range []string{"greeting", "photo", "lock"} {
		raftctl(t, "del", leave)
	}
	raftctl(t, "del", "--prefix", "jobs/")
	raftctl(t, "del", "--hex", "00ff")
	_ = attempt(t, "", "lease", "revoke", "5f3a")
}

// fieldsOf are the names of all fields in a document of JSON, each with those that it is in.
func fieldsOf(v any, above string, into map[string]bool) {
	switch x := v.(type) {
	case map[string]any:
		for name, inner := range x {
			into[above+name] = true
			fieldsOf(inner, above+name+".", into)
		}
	case []any:
		for _, inner := range x {
			fieldsOf(inner, above, into)
		}
	}
}

// Programs rely on these names: they are added to, and never taken away or changed.
func TestFieldsOfJSONStayAsTheyAre(t *testing.T) {
	folder := t.TempDir()
	snapshot := filepath.Join(folder, "a.snapshot")
	const item = "key value createRevision modRevision version"
	within := func(above, names string) string {
		var out []string
		for name := range strings.FieldsSeq(names) {
			out = append(out, above+"."+name)
		}
		return above + " " + strings.Join(out, " ")
	}
	_ = attempt(t, "", "lease", "revoke", "fe1d")
	for _, x := range []struct{ line, in, want string }{
		{"lease grant 1h --id fe1d", "", "id ttlSeconds"},
		{"put fields/a 1 --lease fe1d", "", "revision"},
		{"put fields/a 2 --lease fe1d --prev", "", "revision " + within("prev", item+" lease")},
		{"put fields/b 1", "", "revision"},
		{"get fields/b", "", "revision more " + within("items", item)},
		{"get fields/b --keys-only", "", "revision more " + within("items", "key createRevision modRevision version")},
		{"get --prefix fields/ --count-only", "", "revision count"},
		{"txn", "then\n put fields/b 2 prev\n get fields/a\n get prefix fields/none count-only\n txn\n then\n  del fields/a prev\n end\n",
			"revision succeeded " + within("results", "operation "+within("prev", item)+" "+within("range", "revision more count "+within("items", item+" lease"))+
				" "+within("txn", "revision succeeded "+within("results", "operation deleted "+within("prev", item+" lease"))))},
		{"put fields/a 3 --lease fe1d", "", "revision"},
		{"watch fields/a --revision 1 --events 1 --prev", "", "type revision " + item + " lease"},
		{"lease timetolive fe1d --keys", "", "id ttlSeconds remainingSeconds keys"},
		{"lease list", "", "leases"},
		{"lease keep-alive fe1d --once", "", "id ttlSeconds"},
		{"lease revoke fe1d", "", "id"},
		{"del fields/b --prev", "", "revision deleted " + within("prev", item)},
		{"compact REVISION", "", "revision compactedRevision"},
		{"bench put --calls 10 --keys 10 --callers 2 --warm-up 0s", "", "kind callers seconds calls callsPerSecond meanMilliseconds p50Milliseconds p90Milliseconds p99Milliseconds maxMilliseconds failed"},
		{"member list", "", within("members", "id name role peerAddress clientAddress")},
		{"status", "", within("nodes", "endpoint clusterID memberID name version role leader term revision compactedRevision committedIndex appliedIndex fileBytes usedBytes quotaBytes")},
		{"health", "", "healthy readMilliseconds " + within("nodes", "endpoint name healthy")},
		{"move-leader", "", "leader id"},
		{"snapshot save " + snapshot, "", "clusterID revision compactedRevision versions leases index term members format bytes"},
		{"snapshot status " + snapshot, "", "clusterID revision compactedRevision versions leases index term members format bytes"},
		{"alarm list", "", "alarms"},
		{"alarm disarm", "", "alarms"},
		{"defrag", "", within("nodes", "endpoint fileBytesBefore fileBytesAfter")},
		{"hash", "", "agree " + within("nodes", "endpoint memberID hash revision compactedRevision")},
		{"version", "", "version go platform"},
	} {
		if strings.HasPrefix(x.line, "watch") || strings.Contains(x.line, "REVISION") {
			revision := decode[struct{ Revision string }](t, raftctl(t, "put", "fields/now", "1", "-o", "json")).Revision
			x.line = strings.ReplaceAll(x.line, "REVISION", revision)
			if strings.HasPrefix(x.line, "watch") {
				got := decode[struct {
					Items []struct{ ModRevision string }
				}](t, raftctl(t, "get", "fields/a", "-o", "json"))
				x.line = strings.ReplaceAll(x.line, "--revision 1", "--revision "+got.Items[0].ModRevision)
			}
		}
		arguments, out := append(strings.Fields(x.line), "-o", "json"), ""
		switch arguments[0] {
		case "member", "status", "health", "hash": // which an election makes fail
			says(t, func(all string) bool { out = all; return true }, arguments...)
		default:
			out = raftctlIn(t, x.in, arguments...)
		}
		d := json.NewDecoder(strings.NewReader(out))
		var document any
		if err := d.Decode(&document); err != nil || d.More() {
			t.Errorf("%s: not one document of JSON: %v", x.line, err)
			continue
		}
		got, want := map[string]bool{}, strings.Fields(x.want)
		fieldsOf(document, "", got)
		for _, name := range want {
			if !got[name] {
				t.Errorf("%s: there is no %s", x.line, name)
			}
			delete(got, name)
		}
		for name := range got {
			if !slices.Contains([]string{"nodes.problem", "nodes.problems"}, name) { // a busy machine may have one
				t.Errorf("%s: %s is not in the list", x.line, name)
			}
		}
	}
	raftctl(t, "del", "--prefix", "fields/")
}
