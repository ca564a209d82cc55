package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/raftkv/raftkv/replica"
	"github.com/raftkv/raftkv/rpc"
)

// Item is one thing to do.
type Item struct {
	ID   uint64 `json:"id"`
	Text string `json:"text"`
	Done bool   `json:"done"`
}

// List is the replicated state: things to do, in the order in which they came.
type List struct{ Items []Item }

// order is a command: an item to add, or one that is done.
type order struct {
	Add  string `json:"add,omitempty"`
	Done uint64 `json:"done,omitempty"`
}

// Apply answers each order with the item that it is about, or with nothing when there is none.
func (l *List) Apply(batch []replica.Command) [][]byte {
	answers := make([][]byte, len(batch))
	for i, c := range batch {
		var o order
		if json.Unmarshal(c.Data, &o) != nil {
			continue
		}
		at := slices.IndexFunc(l.Items, func(x Item) bool { return x.ID == o.Done })
		switch {
		case o.Add != "":
			at = len(l.Items)
			l.Items = append(l.Items, Item{ID: c.Index, Text: o.Add})
		case at >= 0:
			l.Items[at].Done = true
		default:
			continue
		}
		answers[i], _ = json.Marshal(l.Items[at])
	}
	return answers
}

// Snapshot writes the list.
func (l *List) Snapshot(w io.Writer) error { return json.NewEncoder(w).Encode(l.Items) }

// Restore reads it.
func (l *List) Restore(r io.Reader) error {
	l.Items = nil
	return json.NewDecoder(r).Decode(&l.Items)
}

// Service is what clients ask, of any replica.
type Service struct {
	Add  func(context.Context, *Item) (*Item, error)
	Done func(context.Context, *Item) (*Item, error)
	Show func(context.Context, *struct{}) (*List, error)
}

const serviceName = "todo"

// serve offers the list on the replica's port, beside what the replicas say to each other.
func serve(l *List) func(*replica.Replica, *rpc.Server) error {
	return func(r *replica.Replica, s *rpc.Server) error {
		propose := func(ctx context.Context, o order) (*Item, error) {
			command, err := json.Marshal(o)
			if err != nil {
				return nil, err
			}
			answer, err := r.Propose(ctx, command)
			switch {
			case errors.Is(err, replica.ErrUnknown):
				return nil, rpc.Errorf(rpc.CodeDeadline, "%v: look at the list", err)
			case err != nil:
				return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
			case answer == nil:
				return nil, rpc.Errorf(rpc.CodeNotFound, "there is no item %d", o.Done)
			}
			item := new(Item)
			return item, json.Unmarshal(answer, item)
		}
		return rpc.Register(s, serviceName, Service{
			Add:  func(ctx context.Context, i *Item) (*Item, error) { return propose(ctx, order{Add: i.Text}) },
			Done: func(ctx context.Context, i *Item) (*Item, error) { return propose(ctx, order{Done: i.ID}) },
			Show: func(ctx context.Context, _ *struct{}) (*List, error) {
				out := new(List)
				return out, r.Read(ctx, func() { out.Items = slices.Clone(l.Items) })
			},
		})
	}
}

// Dial connects to the replica at an address, and again whenever that is lost.
func Dial(address string) (*Service, io.Closer, error) {
	peer, stub := rpc.NewPeer(rpc.PeerOptions{Address: address}), new(Service)
	return stub, peer, rpc.Bind(peer, serviceName, stub)
}

// Open runs a replica of the list. cluster names all of them: a=127.0.0.1:7001,b=127.0.0.1:7002,...
func Open(dir, name, cluster string) (*replica.Replica, error) {
	list := new(List)
	cfg := replica.Config{Dir: dir, Name: name, StateMachine: list, Services: serve(list)}
	for _, m := range strings.Split(cluster, ",") {
		who, where, _ := strings.Cut(m, "=")
		cfg.InitialCluster = append(cfg.InitialCluster, replica.Member{Name: who, PeerAddress: where})
		if who == name {
			cfg.Listen = where
		}
	}
	if cfg.Listen == "" {
		return nil, fmt.Errorf("-cluster does not name %q", name)
	}
	return replica.Open(cfg)
}
