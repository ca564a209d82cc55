//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/raftkv/raftkv/client"
)

// nativeSystem can be spoken to by its own client too.
type nativeSystem interface {
	// connectNative makes callers of one member that share a number of clients, each with one connection.
	connectNative(member, callers, clients int) (made []caller, close func(), err error)
}

// nativeCaller is one of the callers that share a client.
type nativeCaller struct{ client *client.Client }

func (c nativeCaller) put(ctx context.Context, key string, value []byte) error {
	_, err := c.client.Put(ctx, key, value)
	return err
}

func (c nativeCaller) get(ctx context.Context, key string, serializable bool) error {
	var err error
	if serializable {
		_, err = c.client.Get(ctx, key, client.WithSerializable())
	} else {
		_, err = c.client.Get(ctx, key)
	}
	return err
}

func (r *raftkv) connectNative(member, callers, clients int) ([]caller, func(), error) {
	var opened []*client.Client
	closeAll := func() {
		for _, c := range opened {
			_ = c.Close() // it has nothing to report
		}
	}
	for range clients {
		c, err := client.Open(client.Config{Endpoints: []string{r.Clients[member]}, StaticEndpoints: true})
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		opened = append(opened, c)
	}
	var out []caller
	for i := range callers {
		out = append(out, nativeCaller{opened[i%clients]})
	}
	return out, closeAll, nil
}

// nativeKeys is how many keys are put natively.
const nativeKeys = 100_000

// nativePutWorkload is a put through the system's own client, if it has one.
func nativePutWorkload(callers, clients int) workload {
	w := putWorkload(callers)
	w.name = fmt.Sprintf("put, %d callers on %d native connections", callers, clients)
	w.nativeClients, w.keys = clients, nativeKeys
	return w
}

func nativeGetWorkload(callers int, serializable bool) workload {
	w := getWorkload(callers, serializable)
	w.name += " on 1 native connection"
	w.nativeClients = 1
	return w
}
