package etcdclients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestAFullStore takes no puts, but all that makes room, and takes puts again when there is some.
func TestAFullStore(t *testing.T) {
	mine := own(t, 1, "--quota-backend-bytes=16777216", "--auto-compaction-retention=0")
	ctx, c := within(t), mine.dial(t)
	value := strings.Repeat("x", 1<<20)
	put := func() error {
		_, err := c.Put(ctx, "k", value)
		return err
	}
	eventually(t, "the store is full", func() bool {
		err := put()
		if err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatal(err)
		}
		return err != nil
	})
	eventually(t, "the alarm is up", func() bool {
		r := must(c.AlarmList(ctx))(t)
		return len(r.Alarms) == 1 && r.Alarms[0].Alarm == pb.AlarmType_NOSPACE
	})
	if r := must(c.Get(ctx, "k"))(t); len(r.Kvs) != 1 {
		t.Error("a read of a full store")
	}
	if s := must(c.Status(ctx, mine.nodes[0].client))(t); len(s.Errors) == 0 || s.DbSizeQuota != 16<<20 {
		t.Errorf("the status of a full store: %v", s)
	}
	head := must(c.Delete(ctx, "k"))(t).Header.Revision
	_ = must(c.Compact(ctx, head, clientv3.WithCompactPhysical()))(t)
	eventually(t, "there is room again, and the alarm is down", func() bool {
		err := put()
		return err == nil && len(must(c.AlarmList(ctx))(t).Alarms) == 0
	})
}

// TestANodeThatIsStopped in order loses nobody: its streams end, its clients go on elsewhere, and it does not wait for them.
func TestANodeThatIsStopped(t *testing.T) {
	t.Parallel()
	mine := own(t, members)
	ctx, leader := within(t), mine.leader(t)
	endpoints := []*node{leader}
	for _, n := range mine.nodes {
		if n != leader {
			endpoints = append(endpoints, n)
		}
	}
	c := mine.dial(t, endpoints...)
	lease := must(c.Grant(ctx, 3))(t)
	alive := must(c.KeepAlive(ctx, lease.ID))(t)
	w := c.Watch(clientv3.WithRequireLeader(ctx), "k", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	_ = next(ctx, t, w)
	_ = must(c.Put(ctx, "k", "before", clientv3.WithLease(lease.ID)))(t)
	began := time.Now()
	leader.end(syscall.SIGTERM)
	if code := leader.process.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with code %d", code)
	}
	t.Logf("it stopped within %v", time.Since(began))
	eventually(t, "another leads", func() bool {
		_, err := c.Put(ctx, "k", "after", clientv3.WithLease(lease.ID))
		return err == nil
	})
	got := events(ctx, t, w, 2)
	if got[0] != "PUT =before" || got[len(got)-1] != "PUT =after" {
		t.Errorf("the watch saw %v", got)
	}
	// The client renews three times in a lease's time.
	for range 4 {
		if r, open := <-alive; !open || r.TTL != lease.TTL {
			t.Fatalf("the lease was not kept: %+v", r)
		}
	}
	if r := must(c.Get(ctx, "k"))(t); r.Count != 1 {
		t.Error("the key of a lease that was renewed is gone")
	}
}

// TestMembership through etcd's API, asked of a member that does not lead.
func TestMembership(t *testing.T) {
	mine := own(t, members)
	ctx, leader := within(t), mine.leader(t)
	var others []*node
	for _, n := range mine.nodes {
		if n != leader {
			others = append(others, n)
		}
	}
	c := mine.dial(t, others[0])
	var victim *pb.Member
	for _, m := range must(c.MemberList(ctx))(t).Members {
		if m.Name == others[1].name {
			victim = m
		}
	}
	if _, err := c.MemberPromote(ctx, victim.ID); !errors.Is(err, rpctypes.ErrMemberNotLearner) {
		t.Errorf("the promotion of a voter: %v", err)
	}
	if r := must(c.MemberRemove(ctx, victim.ID))(t); len(r.Members) != members-1 {
		t.Errorf("after the removal: %v", r.Members)
	}
	if r := must(c.MemberList(ctx))(t); len(r.Members) != members-1 {
		t.Errorf("after the removal: %v", r.Members)
	}
	_ = must(c.Put(ctx, "k", "v"))(t)
}

// TestTheLeaderIsRemoved by a follower that was asked to: the answer of a leader that removes itself may be lost on its way.
func TestTheLeaderIsRemoved(t *testing.T) {
	t.Parallel()
	mine := own(t, members)
	ctx, leader := within(t), mine.leader(t)
	for _, n := range mine.nodes {
		if n == leader {
			continue
		}
		c := mine.dial(t, n)
		id := must(c.Status(ctx, n.client))(t).Leader
		if r := must(c.MemberRemove(ctx, id))(t); len(r.Members) != members-1 {
			t.Errorf("after the removal: %v", r.Members)
		}
		break
	}
}

// TestManagedMembership: where a token guards the members, this port does not change them.
func TestManagedMembership(t *testing.T) {
	token := t.TempDir() + "/token"
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	mine := own(t, 1, "--admin-token-file="+token)
	ctx, c := within(t), mine.dial(t)
	id := must(c.MemberList(ctx))(t).Members[0].ID
	for what, call := range map[string]func() error{
		"add":     func() error { _, err := c.MemberAdd(ctx, []string{"http://127.0.0.1:1"}); return err },
		"remove":  func() error { _, err := c.MemberRemove(ctx, id); return err },
		"update":  func() error { _, err := c.MemberUpdate(ctx, id, []string{"http://127.0.0.1:1"}); return err },
		"promote": func() error { _, err := c.MemberPromote(ctx, id); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestWithoutAQuorum: what needs one is refused in time, what does not is answered.
func TestWithoutAQuorum(t *testing.T) {
	t.Parallel()
	mine := own(t, members)
	c := mine.dial(t, mine.nodes[0])
	_ = must(c.Put(within(t), "k", "v"))(t)
	eventually(t, "the node has it", func() bool {
		return must(c.Get(within(t), "k", clientv3.WithSerializable()))(t).Count == 1
	})
	for _, n := range mine.nodes[1:] {
		n.end(syscall.SIGKILL)
	}
	ctx, cancel := context.WithTimeout(within(t), patience/2)
	defer cancel()
	eventually(t, "no leader is known", func() bool {
		return must(c.Status(ctx, mine.nodes[0].client))(t).Leader == 0
	})
	if r := must(c.Get(ctx, "k", clientv3.WithSerializable()))(t); r.Count != 1 {
		t.Errorf("%v", r)
	}
	_, err := c.Put(ctx, "k", "w")
	var refused rpctypes.EtcdError
	if !errors.As(err, &refused) || fmt.Sprint(refused.Code()) != "Unavailable" {
		t.Errorf("a put: %v", err)
	}
	eventually(t, "who needs a leader is turned away", func() bool {
		w := c.Watch(clientv3.WithRequireLeader(ctx), "k")
		r := next(ctx, t, w)
		return errors.Is(r.Err(), rpctypes.ErrNoLeader)
	})
}
