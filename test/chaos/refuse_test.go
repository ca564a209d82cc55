//go:build linux

package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/test/loopback"
)

// writeSome puts keys through a node and returns them with their values.
func (c *cluster) writeSome(t *testing.T, n *node, prefix string, count int) map[string]string {
	t.Helper()
	cl := newClient(true)
	defer cl.close()
	out := map[string]string{}
	for i := range count {
		key, value := fmt.Sprintf("%s%04d", prefix, i), fmt.Sprintf("value %d of %s", i, prefix)
		eventually(t, patience, "PUT "+key, func() error {
			if r := cl.do(context.Background(), n, http.MethodPut, key, value, nil); r.outcome != answered {
				return fmt.Errorf("%v: %s", r.outcome, r.text)
			}
			return nil
		})
		out[key] = value
	}
	return out
}

// mustHold checks that all nodes hold what was acknowledged.
func (c *cluster) mustHold(t *testing.T, acknowledged map[string]string) {
	t.Helper()
	held := c.converge(convergenceTimeout)
	for key, value := range acknowledged {
		if x, there := held[key]; !there || string(x.Value) != value {
			t.Errorf("acknowledged: %q = %q; held: %q (there: %v)", key, value, x.Value, there)
		}
	}
}

// damage changes a file and returns what undoes it.
func damage(t *testing.T, path string, change func([]byte) []byte) (undo func()) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	after := change(bytes.Clone(before))
	if bytes.Equal(before, after) {
		t.Fatalf("nothing was changed in %s", path)
	}
	replace(t, path, after)
	return func() { replace(t, path, before) }
}

func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// hide moves a file or directory out of the way and returns what brings it back.
func hide(t *testing.T, path string) (undo func()) {
	t.Helper()
	hidden := filepath.Join(t.TempDir(), "hidden")
	if err := os.Rename(path, hidden); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.RemoveAll(path), os.Rename(hidden, path)); err != nil {
			t.Fatal(err)
		}
	}
}

// A node that finds its disk damaged, newer than itself or not its own says so with the file's name, changes nothing,
// and goes on once the damage is undone.
func TestDamagedDirectoriesAreRefused(t *testing.T) {
	c := newCluster(t, 1, t.TempDir())
	n := c.nodes[0]
	c.start(n)
	acknowledged := c.writeSome(t, n, "kept/", 40)
	c.kill(n)

	wal := n.segments()[0]
	raw, err := os.ReadFile(wal)
	if err != nil {
		t.Fatal(err)
	}
	frames, _ := segment(raw).frames()
	middle := frames[len(frames)/2]
	identity, static, db := filepath.Join(n.dataDir, "identity"), filepath.Join(n.dataDir, "static"), filepath.Join(n.dataDir, "member", "kv", "kv.db")
	seal := func(b []byte) []byte {
		sum := crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:segmentHeaderBytes])
		binary.BigEndian.PutUint32(b[12:], sum)
		return b
	}
	// newer makes a sealed file (magic, format, length, checksum; then the document) one of format 2, with the right checksum.
	newer := func(b []byte) []byte {
		head, document, _ := bytes.Cut(b, []byte("\n"))
		words := strings.Fields(string(head))
		start := fmt.Sprintf("%s 2 %s", words[0], words[2])
		sum := crc32.Update(crc32.Checksum([]byte(start), castagnoli), castagnoli, document)
		return append(fmt.Appendf(nil, "%s %08x\n", start, sum), document...)
	}
	flip := func(at int64) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	const boltMetaMagic, pageBytes = 16, 4096
	for _, x := range []struct {
		name  string
		do    func(t *testing.T) func()
		words []string
	}{
		{"bit flip in the log", func(t *testing.T) func() { return damage(t, wal, flip(middle+frameHeaderBytes+3)) },
			[]string{wal, fmt.Sprintf("offset %d", middle), "Nothing was changed", "remove this member from the cluster"}},
		{"magic of the log", func(t *testing.T) func() { return damage(t, wal, flip(2)) }, []string{wal, "offset 0", "rkv-wal", "rkw-wal"}},
		{"newer log", func(t *testing.T) func() {
			return damage(t, wal, func(b []byte) []byte { b[11] = 2; return seal(b) })
		}, []string{wal, "format 2", "format 1"}},
		{"log of another member", func(t *testing.T) func() {
			return damage(t, wal, func(b []byte) []byte { b[39] ^= 1; return seal(b) })
		}, []string{wal, "belongs to cluster"}},
		{"magic of the identity", func(t *testing.T) func() { return damage(t, identity, flip(2)) }, []string{identity, "raftkv-identity", "offset 0"}},
		{"newer identity", func(t *testing.T) func() { return damage(t, identity, newer) }, []string{identity, "version 2", "version 1"}},
		{"bit flip in the identity", func(t *testing.T) func() { return damage(t, identity, flip(60)) }, []string{identity, "checksum"}},
		{"no identity", func(t *testing.T) func() { return hide(t, identity) }, []string{n.dataDir, "identity", "--data-dir"}},
		{"newer table of the static cluster", func(t *testing.T) func() { return damage(t, static, newer) }, []string{static, "version 2", "version 1"}},
		{"magic of the state", func(t *testing.T) func() {
			return damage(t, db, func(b []byte) []byte {
				b[boltMetaMagic] ^= 1
				b[pageBytes+boltMetaMagic] ^= 1
				return b
			})
		}, []string{db, "remove the member from the cluster"}},
		{"no log", func(t *testing.T) func() { return hide(t, filepath.Dir(wal)) }, []string{filepath.Dir(wal)}},
		{"no state", func(t *testing.T) func() { return hide(t, filepath.Dir(db)) }, []string{filepath.Dir(db)}},
		{"neither log nor state", func(t *testing.T) func() {
			state, log := hide(t, filepath.Dir(db)), hide(t, filepath.Dir(wal))
			return func() { state(); log() }
		}, []string{filepath.Join(n.dataDir, "member")}},
		{"no member's directory", func(t *testing.T) func() { return hide(t, filepath.Join(n.dataDir, "member")) },
			[]string{filepath.Join(n.dataDir, "member"), "empty --data-dir"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			n.t = t
			undo := x.do(t)
			defer undo()
			before := fingerprints(t, n.dataDir)
			n.mustRefuse(x.words...)
			if d := difference(before, fingerprints(t, n.dataDir)); d != "" {
				t.Errorf("the refusal changed something: %s", d)
			}
		})
	}
	n.t = t
	c.start(n)
	c.mustHold(t, acknowledged)
}

// A directory speaks for one name of one cluster, to one process at a time.
func TestDirectoriesOfOthersAreRefused(t *testing.T) {
	mine, other := newCluster(t, 1, t.TempDir()), newCluster(t, 1, t.TempDir(), "--initial-cluster-token=another")
	n, foreign := mine.nodes[0], other.nodes[0]
	mine.start(n)
	other.start(foreign)
	acknowledged := mine.writeSome(t, n, "mine/", 20)
	other.writeSome(t, foreign, "other/", 1)

	second := nodeLike(t, n)
	second.dataDir = n.dataDir
	second.mustRefuse("the data directory is in use", filepath.Join(n.dataDir, "LOCK"), "--data-dir")
	mine.mustHold(t, acknowledged)

	mine.kill(n)
	other.kill(foreign)
	for _, x := range []struct {
		name   string
		change func(*node)
		words  []string
	}{
		{"another name", func(n *node) { n.name = "z"; n.flags = renamed(n.flags, "a=", "z=") }, []string{n.dataDir, `"a"`, `"z"`}},
		{"another token", func(n *node) { n.flags = append(n.flags, "--initial-cluster-token=third") }, []string{n.dataDir, "--initial-cluster-token"}},
		{"the member's data of another cluster", func(n *node) {
			// Someone has copied only what looks like the data.
			exchange(t, filepath.Join(n.dataDir, "member"), filepath.Join(foreign.dataDir, "member"))
		}, []string{filepath.Join(n.dataDir, "member"), "cluster"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			changed := nodeLike(t, n)
			changed.dataDir = n.dataDir
			x.change(changed)
			before := fingerprints(t, n.dataDir)
			changed.mustRefuse(x.words...)
			if d := difference(before, fingerprints(t, n.dataDir)); d != "" {
				t.Errorf("the refusal changed something: %s", d)
			}
		})
	}
	exchange(t, filepath.Join(n.dataDir, "member"), filepath.Join(foreign.dataDir, "member"))
	mine.start(n)
	mine.mustHold(t, acknowledged)
}

// nodeLike is a node of the same name and flags at other addresses, with a log of its own.
func nodeLike(t *testing.T, n *node) *node {
	t.Helper()
	return &node{
		t: t, name: n.name, logPath: filepath.Join(t.TempDir(), "log"), flags: slices.Clone(n.flags),
		peer: loopback.MustAddress(t), client: loopback.MustAddress(t), metrics: loopback.MustAddress(t),
	}
}

func renamed(flags []string, from, to string) []string {
	for i, f := range flags {
		flags[i] = strings.Replace(f, "--initial-cluster="+from, "--initial-cluster="+to, 1)
	}
	return flags
}

// exchange swaps two directories.
func exchange(t *testing.T, a, b string) {
	t.Helper()
	aside := a + ".aside"
	for _, x := range [][2]string{{a, aside}, {b, a}, {aside, b}} {
		if err := os.Rename(x[0], x[1]); err != nil {
			t.Fatal(err)
		}
	}
}
