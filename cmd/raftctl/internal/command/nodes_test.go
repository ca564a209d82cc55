package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/test/loopback"
)

func TestStatusHealthAndMembers(t *testing.T) {
	raftctl(t, "put", "status/a", "1")
	says(t, func(out string) bool {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return len(lines) == 4 && strings.Count(out, " leader ") == 1 && strings.Count(out, " follower ") == 2 && strings.Count(out, "demo-") == 3
	}, "status")
	says(t, func(out string) bool {
		return strings.Count(out, " leader ") == 1 && strings.Contains(out, "demo-1.demo-peers."+namespaceName+".svc:2379")
	}, "member", "list")
	says(t, func(out string) bool {
		return strings.Count(out, " yes ") == 3 && strings.Contains(out, "a linearizable read took ")
	}, "health")
	type health struct {
		Healthy bool
		Nodes   []struct {
			Healthy bool
			Problem string
		}
	}
	gone := loopback.MustAddress(t)
	env := map[string]string{EnvEndpoints: nodes(t)[0].client + "," + gone}
	for _, command := range []string{"health", "status"} {
		undisturbed(t, "", func() error {
			s := with{env: env}.run(t.Context(), "--timeout=60s", command, "-o", "json")
			if s.code != ExitFailed || s.err != "" {
				t.Fatalf("%s with a node that is not there ends with %d: %s", command, s.code, s.err)
			}
			if got := decode[health](t, s.out); command == "health" && (!got.Healthy || got.Nodes[0].Healthy == got.Nodes[1].Healthy) {
				return fmt.Errorf("health: %+v", got)
			}
			return nil
		})
	}
}

func TestMoveLeader(t *testing.T) {
	for _, to := range []string{"demo-0", "demo-2"} {
		lead(t, to)
	}
	before := settled(t)
	handOver(t, "", func() said { return attempt(t, "", "move-leader") })
	if after := settled(t); after.leader == before.leader && after.term <= before.term+1 {
		t.Errorf("the leader stayed: %+v, then %+v", before, after)
	}
	if s := attempt(t, "", "move-leader", "demo-7"); s.code != ExitNotFound || !strings.Contains(s.err, "demo-7") {
		t.Errorf("to nobody: %+v", s)
	}
}

func TestSnapshots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.snapshot")
	revision := decode[struct{ Revision string }](t, raftctl(t, "put", "snapshot/a", "1", "-o", "json")).Revision
	type summary struct{ Revision, Bytes, Versions string }
	saved := decode[summary](t, raftctl(t, "snapshot", "save", path, "-o", "json"))
	if saved.Revision < revision || saved.Versions == "0" {
		t.Errorf("saved %+v, revision %s was acknowledged before", saved, revision)
	}
	if got := decode[summary](t, raftctl(t, "snapshot", "status", path, "-o", "json")); got != saved {
		t.Errorf("the file holds %+v, %+v was saved", got, saved)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := attempt(t, "", "snapshot", "save", path); s.code != ExitUsage || !strings.Contains(s.err, "--force") {
		t.Errorf("a second save: %+v", s)
	}
	raftctl(t, "put", "snapshot/b", strings.Repeat("x", 1000))
	raftctl(t, "snapshot", "save", "--force", path, "--from", nodes(t)[1].client)
	if later, err := os.ReadFile(path); err != nil || bytes.Equal(later, content) {
		t.Errorf("--force did not replace the file: %v", err)
	}
	content[len(content)/2]++
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := attempt(t, "", "snapshot", "status", path); s.code != ExitFailed || !strings.Contains(s.err, "the snapshot is refused") {
		t.Errorf("a damaged file: %+v", s)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("beside the file there is %v, %v", left, err)
	}
	gone := filepath.Join(t.TempDir(), "no", "folder")
	if s := attempt(t, "", "snapshot", "save", gone); s.code != ExitUsage {
		t.Errorf("no folder: %+v", s)
	}
}

// What is left of a cluster that has lost its quorum can still be saved.
func TestASnapshotOfAMemberWithoutAQuorum(t *testing.T) {
	dir := t.TempDir()
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	others, stop := context.WithCancel(t.Context())
	defer stop()
	all, err := startNodes(dir, &running, t.Context(), others, others)
	if err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) said {
		return with{env: map[string]string{EnvEndpoints: all[0].client}}.run(t.Context(), arguments...)
	}
	if s := run("--timeout=60s", "put", "a", "1"); s.code != ExitOK {
		t.Fatalf("%+v", s)
	}
	stop()
	eventually(t, "the loss of the quorum", func() bool { return run("--timeout=1s", "get", "a").code != ExitOK })
	path := filepath.Join(dir, "a.snapshot")
	if s := run("--timeout=1s", "snapshot", "save", path); s.code == ExitOK {
		t.Errorf("without a quorum it is not known what was acknowledged: %+v", s)
	}
	if s := run("--timeout=60s", "snapshot", "save", "--serializable", path); s.code != ExitOK || !strings.Contains(s.out, "is saved and checked") {
		t.Errorf("with --serializable: %+v", s)
	}
}

func TestASnapshotThatLacksWhatWasAcknowledgedIsNotSaved(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "whole")
	raftctl(t, "put", "snapshot/c", "1")
	raftctl(t, "snapshot", "save", path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
	found, err := saveFile(filepath.Join(folder, "again"), false, 0, write)
	if err != nil {
		t.Fatal(err)
	}
	for what, save := range map[string]func(string) error{
		"lags": func(path string) error {
			_, err := saveFile(path, false, found.Revision+1, write)
			return err
		},
		"was damaged": func(path string) error {
			_, err := saveFile(path, false, 0, func(w io.Writer) error {
				_, err := w.Write(content[:len(content)-1])
				return err
			})
			return err
		},
		"broke off": func(path string) error {
			_, err := saveFile(path, false, 0, func(io.Writer) error { return errSilent })
			return err
		},
		"came too late": func(path string) error {
			_, err := saveFile(path, false, 0, func(w io.Writer) error {
				return errors.Join(write(w), os.WriteFile(path, []byte("mine"), 0o600))
			})
			return err
		},
	} {
		path := filepath.Join(folder, what)
		if err := save(path); err == nil {
			t.Errorf("a snapshot that %s was saved", what)
		}
		if b, err := os.ReadFile(path); what == "came too late" && string(b) != "mine" || what != "came too late" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a snapshot that %s left %q, %v", what, b, err)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 3 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

func TestHashAlarmAndDefrag(t *testing.T) {
	raftctl(t, "put", "hash/a", "1")
	type hashes struct {
		Agree bool
		Nodes []struct{ Hash, Error string }
	}
	if got := decode[hashes](t, raftctl(t, "hash", "-o", "json")); !got.Agree || len(got.Nodes) != 3 || got.Nodes[0].Hash == "" {
		t.Errorf("hash says %+v", got)
	}
	if out := raftctl(t, "alarm", "list"); out != "no alarm is up\n" {
		t.Errorf("alarm list says %q", out)
	}
	if out := raftctl(t, "alarm", "disarm", "--member", "demo-1"); out != "no alarm is up any more\n" {
		t.Errorf("alarm disarm says %q", out)
	}
	if out := raftctl(t, "defrag"); strings.Count(out, "MB") != 6 {
		t.Errorf("defrag says %q", out)
	}
}

func TestNodesThatDifferAreNamed(t *testing.T) {
	h := func(endpoint string, hash uint32, revision, compacted uint64) answer[client.Hash] {
		return answer[client.Hash]{endpoint: endpoint, value: client.Hash{Hash: hash, Revision: revision, CompactedRevision: compacted}}
	}
	for what, x := range map[string]struct {
		answers []answer[client.Hash]
		differ  bool
	}{
		"all agree":                       {[]answer[client.Hash]{h("a", 1, 7, 2), h("b", 1, 7, 2)}, false},
		"compacted further":               {[]answer[client.Hash]{h("a", 1, 7, 2), h("b", 3, 7, 4)}, false},
		"one does not answer":             {[]answer[client.Hash]{h("a", 1, 7, 2), {endpoint: "b", err: errSilent}}, false},
		"the third differs":               {[]answer[client.Hash]{h("a", 1, 7, 2), h("b", 1, 7, 2), h("c", 9, 7, 2)}, true},
		"two that are not at one another": {[]answer[client.Hash]{h("a", 1, 7, 2), h("b", 3, 7, 4), h("c", 4, 7, 4)}, true},
	} {
		if got := disagreement(x.answers); (got != "") != x.differ {
			t.Errorf("%s: %q", what, got)
		}
	}
}

func TestBench(t *testing.T) {
	type result struct {
		Calls, Failed   int64
		CallsPerSecond  float64
		P50Milliseconds float64
		P99Milliseconds float64
	}
	for _, kind := range benchKinds {
		got := decode[result](t, raftctl(t, "bench", kind, "--warm-up", "10ms", "--duration", "60s", "--calls", "200", "--callers", "8", "--keys", "150", "-o", "json"))
		if got.Calls != 200 || got.Failed != 0 || got.CallsPerSecond <= 0 || got.P99Milliseconds < got.P50Milliseconds {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	if out := raftctl(t, "get", "--prefix", benchPrefix, "--count-only"); out != "0\n" {
		t.Errorf("%s keys are left", strings.TrimSpace(out))
	}
}

func TestNobodyThere(t *testing.T) {
	gone := loopback.MustAddress(t)
	s := with{}.run(t.Context(), "--endpoints", gone, "--timeout", "200ms", "get", "a")
	if s.code != ExitFailed || !strings.Contains(s.err, "nothing was done") || !strings.Contains(s.err, "--endpoints") {
		t.Errorf("a read: %+v", s)
	}
	began := time.Now()
	if s = (with{}).run(t.Context(), "--endpoints", gone, "--timeout", "200ms", "put", "a", "b"); s.code != ExitFailed || time.Since(began) > patience {
		t.Errorf("a write that reached nobody: %+v", s)
	}
}
