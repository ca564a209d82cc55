package server

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/kv/store"
	"github.com/raftkv/raftkv/raft"
	"github.com/raftkv/raftkv/server/admin"
)

// loseNewestVersion takes the newest version of a key out of the store of a node that does not run, as a bug or a broken disk might: all
// checksums are in order.
func (i *instance) loseNewestVersion(key string) {
	i.t.Helper()
	disk, err := store.NewDirectory(filepath.Join(i.dataDir, "member", "kv"), store.DirectoryOptions{MustExist: true})
	if err != nil {
		i.t.Fatal(err)
	}
	s, err := disk.Open()
	if err != nil {
		i.t.Fatal(err)
	}
	v, err := s.View()
	if err != nil {
		i.t.Fatal(err)
	}
	// Package kv's layout: in bucket 1 key, 0, 1, inverted revision; in bucket 2 revision, number of the write.
	prefix := append([]byte(key), 0, 1)
	k, _ := v.Iterate(1).Seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		i.t.Fatalf("%s has no version of %s", i.name, key)
	}
	var b store.Batch
	b.Delete(1, slices.Clone(k))
	b.Delete(2, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, ^binary.BigEndian.Uint64(k[len(prefix):])), 0))
	for _, end := range []func() error{v.Close, func() error { return s.Commit(&b) }, s.Close} {
		if err := end(); err != nil {
			i.t.Fatal(err)
		}
	}
}

// TestANodeWhoseStoreHasLostAWriteIsFencedAndRebuilt: found at the next write of the key, by whoever leads; the others serve all the time.
func TestANodeWhoseStoreHasLostAWriteIsFencedAndRebuilt(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	nodes[0].mustPut("k", "1")
	nodes[0].mustPut("k", "2")
	victim := others(nodes, leaderOf(t, nodes))[0]
	before := victim.awaitReady()
	victim.mustStop()
	victim.loseNewestVersion("k")
	victim.start()
	victim.awaitReady()
	rest := others(nodes, victim)
	rest[0].mustPut("k", "3")

	fenced := victim.await("the fence", func(s admin.Status) bool { return s.State == admin.StateEmpty && s.Fenced != "" })
	if fenced.Ready || fenced.MemberID != 0 || fenced.Incarnation == before.Incarnation || !strings.Contains(fenced.NotReady, "set aside in") {
		t.Errorf("%+v", fenced)
	}
	if r, err := victim.request(http.MethodGet, "/v1/kv/k?serializable=true", ""); err != nil || r.code != http.StatusServiceUnavailable {
		t.Errorf("a fenced node answers %+v, %v", r, err)
	}
	corrupt := admin.Alarm{Member: before.MemberID, Type: "CORRUPT"}
	for _, i := range rest {
		i.await("the alarm, while it serves", func(s admin.Status) bool { return s.Ready && slices.Contains(s.Alarms, corrupt) })
	}

	id := change(t, rest, raft.Change{Kind: raft.ChangeAddLearner, Member: victim.member(fenced.Incarnation)})
	victim.await("catching up", func(s admin.Status) bool { return s.MemberID == id && s.Ready })
	change(t, rest, raft.Change{Kind: raft.ChangePromote, ID: id})
	change(t, rest, raft.Change{Kind: raft.ChangeRemove, ID: before.MemberID})
	for _, i := range nodes {
		i.await("the end of the alarm", func(s admin.Status) bool { return s.Ready && len(s.Alarms) == 0 && s.Fenced == "" })
		i.mustGet("k", "3")
	}
}
