package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/test/loopback"
)

const patience = 60 * time.Second

// Several clients share a list, each through another replica, while the leader is killed and comes back.
func TestClientsShareAListWhileTheLeaderIsKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	names := []string{"a", "b", "c"}
	var cluster, addresses []string
	for _, name := range names {
		address := loopback.MustAddress(t)
		addresses = append(addresses, address)
		cluster = append(cluster, name+"="+address)
	}
	dir := t.TempDir()
	replicas := make([]*replica.Replica, len(names))
	open := func(i int) {
		for ; ; time.Sleep(10 * time.Millisecond) {
			var err error
			if replicas[i], err = Open(filepath.Join(dir, names[i]), names[i], strings.Join(cluster, ",")); err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range names {
		open(i)
	}
	defer func() {
		for _, r := range replicas {
			_ = r.Stop(ctx)
		}
	}()

	const clients, each = 6, 20
	var working sync.WaitGroup
	var mu sync.Mutex
	added := map[uint64]string{}
	half := make(chan struct{}, clients)
	for c := range clients {
		working.Go(func() {
			list, conn, err := Dial(addresses[c%len(addresses)])
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for i := range each {
				item := add(ctx, t, list, fmt.Sprintf("client %d, item %d", c, i))
				mu.Lock()
				added[item.ID] = item.Text
				mu.Unlock()
				if i == each/2 {
					half <- struct{}{}
				}
				if i%2 == 0 {
					done(ctx, t, list, item)
				}
			}
		})
	}
	for range clients {
		<-half
	}
	for i, r := range replicas {
		if r.Status().Leads() {
			killed, cancel := context.WithCancel(ctx)
			cancel() // no time for a hand-over
			if err := r.Stop(killed); err != nil {
				t.Error(err)
			}
			open(i)
			break
		}
	}
	working.Wait()

	for _, address := range addresses {
		list, conn, err := Dial(address)
		if err != nil {
			t.Fatal(err)
		}
		all, err := list.Show(ctx, &struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]Item{}
		for _, x := range all.Items {
			seen[x.ID] = x
		}
		for id, text := range added {
			var c, i int
			if _, err := fmt.Sscanf(text, "client %d, item %d", &c, &i); err != nil {
				t.Fatal(err)
			}
			if x := seen[id]; x.Text != text || x.Done != (i%2 == 0) {
				t.Errorf("%s: item %d is %+v, want %q", address, id, x, text)
			}
		}
		_ = conn.Close()
	}
	if len(added) != clients*each {
		t.Errorf("%d items were added", len(added))
	}
}

// add asks until it is answered; after an unknown outcome the item may be there twice, and the client goes on with the last.
func add(ctx context.Context, t *testing.T, list *Service, text string) *Item {
	for {
		item, err := list.Add(ctx, &Item{Text: text})
		if err == nil {
			return item
		}
		if ctx.Err() != nil {
			t.Errorf("%s: %v", text, err)
			return &Item{}
		}
	}
}

func done(ctx context.Context, t *testing.T, list *Service, item *Item) {
	for {
		_, err := list.Done(ctx, item)
		if err == nil {
			return
		}
		if ctx.Err() != nil || rpc.CodeOf(err) == rpc.CodeNotFound {
			t.Errorf("done %d: %v", item.ID, err)
			return
		}
	}
}
