package etcdclients

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"
)

func session(t *testing.T, c *clientv3.Client) *concurrency.Session {
	t.Helper()
	s := must(concurrency.NewSession(c, concurrency.WithTTL(5)))(t)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestMutex: one at a time, in turn, and a session that ends lets go.
func TestMutex(t *testing.T) {
	name := fresh(t)
	ctx := within(t)
	var inside, most, turns int
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range 4 {
		s := session(t, shared.dial(t))
		workers.Go(func() {
			for range 5 {
				m := concurrency.NewMutex(s, name)
				if err := m.Lock(ctx); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside, turns = inside+1, turns+1
				most = max(most, inside)
				mu.Unlock()
				mu.Lock()
				inside--
				mu.Unlock()
				if err := m.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	if most != 1 || turns != 20 {
		t.Errorf("%d inside at once, %d turns", most, turns)
	}
	holder, waiter := session(t, shared.dial(t)), session(t, shared.dial(t))
	if err := concurrency.NewMutex(holder, name).Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := concurrency.NewMutex(waiter, name).TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Errorf("a lock that is held: %v", err)
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if err := concurrency.NewMutex(waiter, name).Lock(ctx); err != nil {
		t.Errorf("after the holder's session: %v", err)
	}
}

func TestElection(t *testing.T) {
	name := fresh(t)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	first, second := session(t, shared.dial(t)), session(t, shared.dial(t))
	e1, e2 := concurrency.NewElection(first, name), concurrency.NewElection(second, name)
	if err := e1.Campaign(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	observed := e2.Observe(ctx)
	if r := <-observed; string(r.Kvs[0].Value) != "first" {
		t.Errorf("observed %v", r)
	}
	won := make(chan error, 1)
	go func() { won <- e2.Campaign(ctx, "second") }()
	if err := e1.Proclaim(ctx, "first still"); err != nil {
		t.Fatal(err)
	}
	if r := <-observed; string(r.Kvs[0].Value) != "first still" {
		t.Errorf("observed %v", r)
	}
	if err := e1.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-won; err != nil {
		t.Fatal(err)
	}
	if r := must(e1.Leader(ctx))(t); string(r.Kvs[0].Value) != "second" {
		t.Errorf("the leader is %v", r)
	}
}

// TestSTM: transfers between accounts by many at once keep the sum.
func TestSTM(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	const accounts, start, workers, transfers = 4, 100, 4, 15
	account := func(i int) string { return fmt.Sprint(name, "/", i) }
	for i := range accounts {
		_ = must(c.Put(ctx, account(i), strconv.Itoa(start)))(t)
	}
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range transfers {
				from, to := account((w+i)%accounts), account((w+2*i+1)%accounts)
				_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
					if from == to {
						return nil
					}
					have, _ := strconv.Atoi(s.Get(from))
					others, _ := strconv.Atoi(s.Get(to))
					s.Put(from, strconv.Itoa(have-1))
					s.Put(to, strconv.Itoa(others+1))
					return nil
				}, concurrency.WithAbortContext(ctx), concurrency.WithIsolation(concurrency.Serializable))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	sum := 0
	for _, kv := range must(c.Get(ctx, name+"/", clientv3.WithPrefix()))(t).Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum != accounts*start {
		t.Errorf("the sum is %d", sum)
	}
}

func TestNamespace(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	prefix := name + "/"
	keys, watcher, lessor := namespace.NewKV(c, prefix), namespace.NewWatcher(c, prefix), namespace.NewLease(c, prefix)
	w := watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	_ = next(ctx, t, w)
	lease := must(lessor.Grant(ctx, 60))(t)
	_ = must(keys.Put(ctx, "a", "1", clientv3.WithLease(lease.ID)))(t)
	if r := must(c.Get(ctx, prefix+"a"))(t); r.Count != 1 {
		t.Error("the key is not below its prefix")
	}
	if r := must(keys.Get(ctx, "", clientv3.WithFromKey()))(t); r.Count != 1 || string(r.Kvs[0].Key) != "a" {
		t.Errorf("all keys of the name space: %v", r)
	}
	if r := next(ctx, t, w); len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "a" {
		t.Errorf("a watch of it: %+v", r)
	}
	if r := must(lessor.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))(t); len(r.Keys) != 1 || string(r.Keys[0]) != "a" {
		t.Errorf("its lease: %+v", r)
	}
	if r := must(keys.Txn(ctx).If(clientv3.Compare(clientv3.Version("a"), "=", 1)).Then(clientv3.OpDelete("a")).Commit())(t); !r.Succeeded {
		t.Errorf("its transaction: %v", r)
	}
}

// TestLeasing: a client that caches what it holds leases on sees another's writes.
func TestLeasing(t *testing.T) {
	name := fresh(t)
	ctx := within(t)
	own, other := shared.dial(t), shared.dial(t)
	cached, closeCached, err := leasing.NewKV(own, name+"/leases/")
	if err != nil {
		t.Fatal(err)
	}
	defer closeCached()
	second, closeSecond, err := leasing.NewKV(other, name+"/leases/")
	if err != nil {
		t.Fatal(err)
	}
	defer closeSecond()
	key := name + "/k"
	for i := range 5 {
		value := strconv.Itoa(i)
		_ = must(second.Put(ctx, key, value))(t)
		for range 3 {
			if r := must(cached.Get(ctx, key))(t); string(r.Kvs[0].Value) != value {
				t.Fatalf("read %v after %s was written", r, value)
			}
		}
		if r := must(cached.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", value)).Then(clientv3.OpGet(key)).Commit())(t); !r.Succeeded {
			t.Fatalf("%v", r)
		}
	}
}

func TestMirror(t *testing.T) {
	name := fresh(t)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	c := shared.dial(t)
	prefix := name + "/"
	const keys = 30
	for i := range keys {
		_ = must(c.Put(ctx, fmt.Sprintf("%s%02d", prefix, i), "v"))(t)
	}
	s := mirror.NewSyncer(c, prefix, 0)
	base, failed := s.SyncBase(ctx)
	copied := map[string]string{}
	for r := range base {
		for _, kv := range r.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if len(copied) != keys {
		t.Fatalf("%d keys", len(copied))
	}
	updates := s.SyncUpdates(ctx)
	_ = must(c.Put(ctx, prefix+"new", "v"))(t)
	_ = must(c.Delete(ctx, prefix+"00"))(t)
	for len(copied) != keys || copied[prefix+"new"] == "" {
		for _, e := range next(ctx, t, updates).Events {
			copied[string(e.Kv.Key)] = string(e.Kv.Value)
			if !e.IsCreate() && !e.IsModify() {
				delete(copied, string(e.Kv.Key))
			}
		}
	}
}

// TestOrdering: reads through this package never go back in time, whichever node answers them.
func TestOrdering(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	kv := ordering.NewKV(c.KV, ordering.NewOrderViolationSwitchEndpointClosure(c))
	for i := range 20 {
		_ = must(kv.Put(ctx, name, strconv.Itoa(i)))(t)
		_ = must(kv.Get(ctx, name))(t)
		if r := must(kv.Get(ctx, name, clientv3.WithSerializable()))(t); string(r.Kvs[0].Value) != strconv.Itoa(i) {
			t.Fatalf("read %s after %d", r.Kvs[0].Value, i)
		}
	}
}

func TestNaming(t *testing.T) {
	name := fresh(t)
	ctx, c := within(t), shared.dial(t)
	m := must(endpoints.NewManager(c, name))(t)
	w := must(m.NewWatchChannel(ctx))(t)
	lease := must(c.Grant(ctx, 60))(t)
	for _, address := range []string{"10.0.0.1:80", "10.0.0.2:80"} {
		if err := m.AddEndpoint(ctx, name+"/"+address, endpoints.Endpoint{Addr: address}, clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
	}
	// A list is read from any node's own state.
	eventually(t, "both are listed", func() bool { return len(must(m.List(ctx))(t)) == 2 })
	_ = must(c.Revoke(ctx, lease.ID))(t)
	added, gone := 0, 0
	for timeout := time.After(patience); added != 2 || gone != 2; {
		select {
		case updates := <-w:
			for _, u := range updates {
				switch u.Op {
				case endpoints.Add:
					added++
				case endpoints.Delete:
					gone++
				}
			}
		case <-timeout:
			t.Fatalf("%d added, %d gone", added, gone)
		}
	}
}
