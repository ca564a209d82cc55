package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/raftkv/raftkv/client"
)

func Example() {
	c, err := client.Open(client.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	if _, err := c.Put(ctx, "greeting", []byte("hello")); err != nil {
		if errors.Is(err, client.ErrUnknown) {
			log.Fatal("it may have been written, once")
		}
		log.Fatal(err) // it was surely not written
	}
	found, err := c.Get(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(found.KV.Value))
}

func ExampleClient_Txn() {
	c, err := client.Open(client.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	result, err := c.Txn().
		If(client.Missing(client.Key("lock"))).
		Then(client.OpPut("lock", []byte("mine"))).
		Else(client.OpGet("lock")).
		Commit(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	if !result.Succeeded {
		fmt.Printf("held by %s\n", result.Results[0].Range.Items[0].Value)
	}
}

// A copy of a range that is kept up to date: read it, and watch from behind the revision that it was read at.
func ExampleClient_Watch() {
	c, err := client.Open(client.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx := context.Background()
	for {
		all, err := c.Range(ctx, client.Prefix("config/"))
		if err != nil {
			log.Fatal(err)
		}
		settings := map[string]string{}
		for _, kv := range all.Items {
			settings[string(kv.Key)] = string(kv.Value)
		}
		w, err := c.Watch(ctx, client.Prefix("config/"), client.WithRevision(all.Revision+1))
		if err != nil {
			log.Fatal(err)
		}
		for event, err := range w.Events(ctx) {
			if errors.Is(err, client.ErrCompacted) {
				break // it was away for too long: read anew
			}
			if err != nil {
				log.Fatal(err)
			}
			if event.Type == client.EventDelete {
				delete(settings, string(event.KV.Key))
			} else {
				settings[string(event.KV.Key)] = string(event.KV.Value)
			}
		}
		w.Close()
	}
}

func ExampleClient_KeepAlive() {
	c, err := client.Open(client.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx := context.Background()
	lease, err := c.Grant(ctx, 10*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Put(ctx, "workers/me", nil, client.WithLease(lease.ID)); err != nil {
		log.Fatal(err)
	}
	alive := c.KeepAlive(lease.ID)
	defer alive.Close()
	<-alive.Done()
	log.Fatal(alive.Err()) // the lease is lost, and the key with it
}
