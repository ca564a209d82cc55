package etcdclients

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestANodeStartsAsKubernetesStartsEtcd for its integration tests: on a socket, with a peer port that the system chooses, flags of one dash, and no
// name; then without a peer port, as many a script does, on the socket that a kill has left.
func TestANodeStartsAsKubernetesStartsEtcd(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "socket") // a path short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "etcd.sock")
	n := &node{name: "default", client: "unix://" + socket, log: filepath.Join(dir, "log"), args: []string{
		"--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", "unix://" + socket,
		"--advertise-client-urls", "http://127.0.0.111:0", "--listen-peer-urls", "http://127.0.0.1:0", "-log-level", "info",
		"--quota-backend-bytes", "8589934592",
	}}
	for _, want := range []int{0, 1} {
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		if err := n.serves(); err != nil {
			t.Fatal(err)
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{n.client}, DialTimeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		if r := must(c.Get(within(t), "k"))(t); len(r.Kvs) != want {
			t.Errorf("%d keys, want %d", len(r.Kvs), want)
		}
		_ = must(c.Put(within(t), "k", "v"))(t)
		_ = c.Close()
		n.end(syscall.SIGKILL)
		if _, err := os.Stat(socket); err != nil {
			t.Errorf("the socket is gone: %v", err)
		}
		n.args = []string{"--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", "unix://" + socket, "--strict-reconfig-check=false"}
	}
	// A socket that somebody serves is not taken away from it.
	l, err := net.Listen("unix", filepath.Join(dir, "taken"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	other := &node{name: "default", log: filepath.Join(dir, "other.log"), args: []string{"--data-dir", filepath.Join(dir, "other"), "--listen-client-urls", "unix://" + l.Addr().String()}}
	if err := other.start(); err != nil {
		t.Fatal(err)
	}
	defer other.end(syscall.SIGKILL)
	if err := other.serves(); err == nil {
		t.Error("a socket that is served was taken")
	}
	if conn, err := net.Dial("unix", l.Addr().String()); err != nil {
		t.Errorf("the socket that was served: %v", err)
	} else {
		_ = conn.Close()
	}
}

// TestTheOnlyMemberIsNotRemoved, with etcd's refusal.
func TestTheOnlyMemberIsNotRemoved(t *testing.T) {
	mine := own(t, 1)
	ctx, c := within(t), mine.dial(t)
	id := must(c.MemberList(ctx))(t).Members[0].ID
	if _, err := c.MemberRemove(ctx, id); !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
		t.Errorf("the removal of the only member: %v", err)
	}
	_ = must(c.Put(ctx, "k", "v"))(t)
}

// TestAnswersAboutMaintenance that clients of etcd compare: what was never compacted, and a defragmentation, which is told with nothing.
func TestAnswersAboutMaintenance(t *testing.T) {
	mine := own(t, 1)
	ctx, c := within(t), mine.dial(t)
	head := must(c.Put(ctx, "k", "v"))(t).Header.Revision
	if r := must(c.HashKV(ctx, mine.nodes[0].client, 0))(t); r.CompactRevision != -1 || r.HashRevision != head || r.Hash == 0 {
		t.Errorf("before a compaction: %v", r)
	}
	_ = must(c.Compact(ctx, head, clientv3.WithCompactPhysical()))(t)
	if r := must(c.HashKV(ctx, mine.nodes[0].client, 0))(t); r.CompactRevision != head {
		t.Errorf("after a compaction of %d: %v", head, r)
	}
	if r := must(c.Defragment(ctx, mine.nodes[0].client))(t); r.Header != nil {
		t.Errorf("a defragmentation: %v", r)
	}
}
