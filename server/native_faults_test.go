package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/client/wire"
	"github.com/raftkv/raftkv/kv"
	"github.com/raftkv/raftkv/raft/session"
	"github.com/raftkv/raftkv/rpc"
	"github.com/raftkv/raftkv/rpc/rpctest"
)

// over has a client go through a network that has faults.
func over(n *rpctest.Network) func(*client.Config) {
	return func(c *client.Config) {
		c.Dial = n.Dialer(nil)
		c.AttemptTimeout = time.Second
		c.ConnectionsPerMember = 2
	}
}

// disturb stops the leader, over and over, each time until another leads, and cuts the clients' connections.
func disturb(t *testing.T, nodes []*instance, network *rpctest.Network, rounds int) {
	t.Helper()
	for range rounds {
		leader := leaderOf(t, nodes)
		network.Cut()
		leader.mustStop()
		leaderOf(t, others(nodes, leader))
		network.Cut()
		leader.start()
		leader.awaitReady()
	}
}

// Every write is numbered by its key's version: a write that is made twice, or not at all, shows.
func TestWritesAreMadeOnceThroughAllThatIsLost(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	network := rpctest.NewNetwork(7)
	network.Set(rpctest.Faults{DelayMax: 2 * time.Millisecond, CutChance: 0.002, FlipChance: 0.001})
	c := openClient(t, nodes, over(network))
	ctx := testContext(t)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var writes atomic.Int64
	for w := range 16 {
		writers.Go(func() {
			key := fmt.Sprintf("counter-%d", w)
			for version := uint64(1); ; version++ {
				select {
				case <-stop:
					return
				default:
				}
				var err error
				if version%3 == 0 {
					_, err = c.Txn().If(client.Version(client.Key(key), version-1).Is()).Then(client.OpPut(key, nil)).Commit(ctx)
				} else {
					_, err = c.Put(ctx, key, nil)
				}
				if err != nil {
					t.Errorf("%s, write %d: %v", key, version, err)
					return
				}
				got, err := c.Get(ctx, key)
				if err != nil || got.KV.Version != version {
					t.Errorf("%s has version %d after %d acknowledged writes; %v", key, got.KV.Version, version, err)
					return
				}
				writes.Add(1)
			}
		})
	}
	disturb(t, nodes, network, 4)
	for writes.Load() < 100 && !t.Failed() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	close(stop)
	writers.Wait()
	t.Logf("%d writes", writes.Load())
}

// A write that is under way for several times the time of an attempt is made, and once, also if its connection is cut meanwhile.
func TestLargeWritesOverSlowLinesAreMadeOnce(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	network := rpctest.NewNetwork(5)
	const size, bytesPerSecond, writers, writes = 512 << 10, 1 << 20, 2, 2
	c := openClient(t, nodes, func(c *client.Config) {
		c.AttemptTimeout = 250 * time.Millisecond
		dial := network.Dialer(nil)
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return rpctest.Uplink(conn, bytesPerSecond), nil
		}
	})
	ctx := testContext(t)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			key := fmt.Sprintf("large-%d", w)
			for version := range uint64(writes) {
				if _, err := c.Put(ctx, key, make([]byte, size)); err != nil {
					t.Errorf("%s, write %d: %v", key, version+1, err)
					return
				}
				if w == 0 && version == 0 {
					network.Cut() // in the middle of what the others write
				}
				got, err := c.Get(ctx, key, client.WithKeysOnly())
				if err != nil || got.KV.Version != version+1 {
					t.Errorf("%s has version %d after %d acknowledged writes; %v", key, got.KV.Version, version+1, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestAWatchTellsEverythingOnceThroughAllThatIsLost(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	network := rpctest.NewNetwork(11)
	network.Set(rpctest.Faults{DelayMax: 2 * time.Millisecond, CutChance: 0.002})
	writer := openClient(t, nodes)
	c := openClient(t, nodes, over(network))
	ctx := testContext(t)
	var watches []*client.Watcher
	for range 4 {
		w, err := c.Watch(ctx, client.Prefix("w/"), client.WithPrevKV())
		if err != nil {
			t.Fatal(err)
		}
		watches = append(watches, w)
	}
	var mu sync.Mutex
	var revisions []uint64
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				// Two events of one revision.
				r, err := writer.Txn().Then(client.OpPut(fmt.Sprintf("w/%d", i), nil), client.OpPut(fmt.Sprintf("w/%d/%d", i, n), nil)).Commit(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				revisions = append(revisions, r.Revision)
				mu.Unlock()
			}
		})
	}
	disturb(t, nodes, network, 3)
	close(stop)
	writers.Wait()
	last, err := writer.Put(ctx, "w/end", nil)
	if err != nil {
		t.Fatal(err)
	}
	var want []uint64
	slices.Sort(revisions)
	for _, r := range revisions {
		want = append(want, r, r)
	}
	want = append(want, last.Revision)
	for i, w := range watches {
		var got []uint64
		for e, err := range w.Events(ctx) {
			if err != nil {
				t.Fatalf("watch %d after %d of %d events: %v", i, len(got), len(want), err)
			}
			if got = append(got, e.KV.ModRevision); e.KV.ModRevision >= last.Revision {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("watch %d told %d events, %d were written", i, len(got), len(want))
		}
		if r := w.Revision(); r != last.Revision {
			t.Errorf("watch %d is at revision %d, want %d", i, r, last.Revision)
		}
	}
	t.Logf("%d events", len(want))
}

func TestAWatchOfWhatIsCompactedSaysSo(t *testing.T) {
	nodes := staticCluster(t, "a")
	c := openClient(t, nodes)
	ctx := testContext(t)
	var last client.PutResult
	for range 5 {
		var err error
		if last, err = c.Put(ctx, "k", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Compact(ctx, last.Revision, false); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(ctx, client.Key("k"), client.WithRevision(2))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Next(ctx)
	var compacted *client.CompactedError
	if !errors.As(err, &compacted) || compacted.Revision != last.Revision || !errors.Is(err, client.ErrCompacted) {
		t.Errorf("%v", err)
	}
	if _, err := c.Watch(ctx, client.Span("b", "a")); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("a watch of nothing: %v", err)
	}
}

// A consumer that does not read costs no more than its buffer, and has everything when it reads.
func TestASlowWatchIsBoundedAndMissesNothing(t *testing.T) {
	nodes := staticCluster(t, "a")
	c := openClient(t, nodes)
	ctx := testContext(t)
	w, err := c.Watch(ctx, client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	const writes, size = 200, 100 << 10 // 20 MB, five times what is kept
	value := make([]byte, size)
	var first, last uint64
	for i := range writes {
		r, err := c.Put(ctx, "k", value)
		if err != nil {
			t.Fatal(err)
		}
		if last = r.Revision; i == 0 {
			first = r.Revision
		}
	}
	next := first
	for e, err := range w.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if e.KV.ModRevision != next || len(e.KV.Value) != size {
			t.Fatalf("revision %d with %d bytes came, want %d", e.KV.ModRevision, len(e.KV.Value), next)
		}
		if next++; next > last {
			break
		}
	}
}

// expireSessions opens so many sessions that all others are forgotten.
func expireSessions(t *testing.T, i *instance) {
	t.Helper()
	conn, err := rpc.Dial(testContext(t), i.client, rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var service wire.Service
	if err := rpc.Bind(conn, wire.ServiceName, &service); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var failures atomic.Int64
	for worker := range 256 {
		all.Go(func() {
			for n := worker; n < session.MaxSessions+16; n += 256 {
				r, err := service.OpenSession(testContext(t), &wire.SessionRequest{Origin: 1 << 40, Nonce: uint64(n + 1)})
				if err != nil || r.Status != wire.StatusOK {
					failures.Add(1)
				}
			}
		})
	}
	all.Wait()
	if failures.Load() > 0 {
		t.Fatalf("%d sessions could not be opened", failures.Load())
	}
}

func TestARetryInAnExpiredSessionIsUnknown(t *testing.T) {
	nodes := staticCluster(t, "a")
	network := rpctest.NewNetwork(3)
	c := openClient(t, nodes, over(network), func(c *client.Config) { c.AttemptTimeout, c.ConnectionsPerMember = 2*patience, 1 })
	witness := openClient(t, nodes)
	ctx := testContext(t)
	if _, err := c.Put(ctx, "k", []byte("first")); err != nil {
		t.Fatal(err)
	}
	// A session that has expired between two writes is of no consequence.
	expireSessions(t, nodes[0])
	if _, err := c.Put(ctx, "k", []byte("second")); err != nil {
		t.Fatalf("the first write after the session has expired: %v", err)
	}

	network.Stall(rpctest.In, true)
	outcome := make(chan error, 1)
	go func() {
		_, err := c.Put(ctx, "k", []byte("third"))
		outcome <- err
	}()
	for {
		got, err := witness.Get(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		if string(got.KV.Value) == "third" {
			break
		}
	}
	expireSessions(t, nodes[0])
	network.Cut() // with the answer
	network.Stall(rpctest.In, false)
	if err := <-outcome; !errors.Is(err, client.ErrUnknown) {
		t.Errorf("the retry: %v", err)
	}
	if got, err := witness.Get(ctx, "k"); err != nil || got.KV.Version != 3 {
		t.Errorf("after three writes the version is %d; %v", got.KV.Version, err)
	}
}

// Whatever is written to the client port in the name of the protocol is refused, at no great cost, and the node goes on.
func TestTheNativePortRefusesWhatIsMalformed(t *testing.T) {
	nodes := staticCluster(t, "a")
	address := nodes[0].client
	greeting := func(newest, oldest byte, bodyBytes uint32) []byte {
		b := append([]byte(rpc.Magic), newest, oldest, 0, 0)
		b = binary.BigEndian.AppendUint32(b, 1<<20)
		return binary.BigEndian.AppendUint32(b, bodyBytes)
	}
	for name, bytes := range map[string][]byte{
		"noise behind the magic": append([]byte(rpc.Magic), make([]byte, 64)...),
		"a greeting of 4 GB":     greeting(1, 1, 0xffffffff),
		"a greeting cut short":   greeting(1, 1, 100),
		"unknown versions":       append(greeting(200, 100, 0), 1, 2, 3, 4),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
			_ = conn.(*net.TCPConn).CloseWrite()
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if n, err := io.Copy(io.Discard, conn); n > 4096 || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d bytes came, then %v", n, err)
			}
		})
	}

	conn, err := rpc.Dial(testContext(t), address, rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var service wire.Service
	if err := rpc.Bind(conn, wire.ServiceName, &service); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	put := wire.AppendPut(nil, "k", &wire.Op{})
	for name, batch := range map[string]*wire.WriteBatch{
		"noise":              {Items: []wire.Item{{Body: []byte("\xff\xff\xff\xff\xff")}}},
		"an unknown kind":    {Items: []wire.Item{{Body: []byte{9, 0, 0, 0, 0}}}},
		"a put cut short":    {Items: []wire.Item{{Body: put[:len(put)-1]}}},
		"a put and more":     {Items: []wire.Item{{Body: append(slices.Clone(put), 1)}}},
		"too many":           {Items: slices.Repeat([]wire.Item{{Body: put}}, wire.MaxBatch+1)},
		"more than promised": {Items: []wire.Item{{Body: []byte{byte(wire.OpTxn), 0xff, 0xff, 0xff, 0xff, 0x0f}}}},
	} {
		if _, err := service.Write(ctx, batch); !errors.Is(err, rpc.CodeInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	read := wire.AppendRange(nil, "k", "", &wire.Range{Sort: 99})
	txn := wire.AppendOp(nil, &wire.Op{Kind: wire.OpTxn, Txn: &wire.Txn{Compares: []wire.Compare{{Target: 77}}, Success: []wire.Op{{Kind: wire.OpPut, Key: []byte("k")}}}})
	for name, batch := range map[string]*wire.WriteBatch{
		"a read among writes":        {Items: []wire.Item{{Body: read}}},
		"an unknown target":          {Items: []wire.Item{{Body: txn}}},
		"a session without sequence": {Session: 5, Items: []wire.Item{{Body: put}}},
		"a sequence without session": {Items: []wire.Item{{Sequence: 5, Body: put}}},
	} {
		if a, err := service.Write(ctx, batch); err != nil || len(a.Results) != 1 || a.Results[0].Status != wire.StatusInvalid {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	if a, err := service.Read(ctx, &wire.ReadBatch{Items: []wire.Item{{Body: read}, {Body: put}}}); err != nil ||
		a.Results[0].Status != wire.StatusInvalid || a.Results[1].Status != wire.StatusInvalid {
		t.Errorf("malformed reads: %+v, %v", a, err)
	}
	long := wire.AppendPut(nil, make([]byte, kv.MaxKeyBytes+1), &wire.Op{})
	if a, err := service.Write(ctx, &wire.WriteBatch{Items: []wire.Item{{Body: long}, {Body: put}}}); err != nil ||
		a.Results[0].Status != wire.StatusTooLarge || a.Results[1].Status != wire.StatusOK {
		t.Errorf("a large one beside a good one: %+v, %v", a, err)
	}
}
