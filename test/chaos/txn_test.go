//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	native "github.com/raftkv/raftkv/client"
)

// Transactions over pairs of keys, by the etcd API on any node and by the native client. A pair is checked as one: its two keys change and are read at one moment.

const (
	pairPrefix  = "pairs/"
	pairClients = 4
	pairSlots   = 3
	pairPause   = 12 * time.Millisecond
)

// dialEtcd connects to a node as etcd's clients do, and is back soon after the node is.
func dialEtcd(t *testing.T, n *node) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(n.client, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: refusedPause, Multiplier: 1, MaxDelay: refusedPause}, MinConnectTimeout: time.Second,
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pairKind is what is asked of a pair.
type pairKind int

const (
	pairRead   pairKind = iota // both keys in one transaction that writes nothing
	pairWrite                  // both keys get one value
	pairSwap                   // the same, if the first key has a value; else both are read
	pairHalf                   // a plain put of the first key
	pairRemove                 // both, as one range
)

func (k pairKind) String() string {
	return [...]string{"read both", "write both", "swap both", "put the first", "delete both"}[k]
}

// pairOperation is one request, as its client saw it.
type pairOperation struct {
	client     int
	kind       pairKind
	pair       string
	value, old string
	call, done time.Duration

	outcome  outcome
	revision uint64 // after a write
	swapped  bool
	seen     [2]string // what was read, of a swap that failed too
	text     string
}

func (o *pairOperation) String() string {
	return fmt.Sprintf("%v..%v client %d: %v %s %q (expecting %q) -> %v %q swapped %v revision %d %s", o.call.Round(time.Millisecond), o.done.Round(time.Millisecond),
		o.client, o.kind, o.pair, o.value, o.old, o.outcome, o.seen, o.swapped, o.revision, o.text)
}

// pairWorkload is a number of clients of pairs.
type pairWorkload struct {
	history *history
	stubs   []pb.KVClient
	// native is what the first of the clients uses.
	native  *native.Client
	stop    context.CancelFunc
	running sync.WaitGroup
	slots   [pairSlots]pairSlot

	mu  sync.Mutex
	all map[string][]*pairOperation
}

// pairSlot is the place of one pair after another.
type pairSlot struct {
	mu                             sync.Mutex
	generation, operations, doubts int
	value                          string // of the first key, as someone saw it last
}

func startPairs(t *testing.T, c *cluster, h *history, seed uint64) *pairWorkload {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &pairWorkload{history: h, stop: cancel, all: map[string][]*pairOperation{}}
	for _, n := range c.nodes {
		w.stubs = append(w.stubs, pb.NewKVClient(dialEtcd(t, n)))
	}
	w.native = openNative(t, c)
	for i := range pairClients {
		random := rand.New(rand.NewPCG(seed, uint64(clientCount+i)))
		w.running.Go(func() { w.client(ctx, i, random) })
	}
	t.Cleanup(w.end)
	return w
}

func (w *pairWorkload) end() {
	w.stop()
	w.running.Wait()
}

func (w *pairWorkload) client(ctx context.Context, number int, random *rand.Rand) {
	pace := time.NewTimer(pairPause)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		o := &pairOperation{client: number, value: fmt.Sprintf("p%d-%d", number, n)}
		slot := random.IntN(pairSlots)
		w.slots[slot].draw(o, slot, random)
		o.call = w.history.now()
		if number == 0 {
			o.doNative(w.native)
		} else {
			o.do(w.stubs[random.IntN(len(w.stubs))])
		}
		o.done = w.history.now()
		w.slots[slot].learn(o)
		w.mu.Lock()
		w.all[o.pair] = append(w.all[o.pair], o)
		w.mu.Unlock()
		pace.Reset(pairPause)
		if o.outcome != answered {
			pace.Reset(refusedPause)
		}
	}
}

func (s *pairSlot) draw(o *pairOperation, number int, random *rand.Rand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operations >= maxOperationsPerKey || s.doubts >= maxUnknownPerKey {
		s.generation, s.operations, s.doubts, s.value = s.generation+1, 0, 0, ""
	}
	o.pair = fmt.Sprintf("%s%d/%05d/", pairPrefix, number, s.generation)
	const percent = 100
	switch x := random.IntN(percent); {
	case x < 35:
		o.kind = pairRead
	case x < 55:
		o.kind = pairWrite
	case x < 80:
		o.kind, o.old = pairSwap, s.value
	case x < 93:
		o.kind = pairHalf
	default:
		o.kind = pairRemove
	}
}

func (s *pairSlot) learn(o *pairOperation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.outcome != refused {
		s.operations++
	}
	if o.outcome == unknown && o.kind != pairRead {
		s.doubts++
	}
	switch {
	case o.outcome != answered:
	case o.kind == pairRead || o.kind == pairSwap && !o.swapped:
		s.value = o.seen[0]
	case o.kind == pairRemove:
		s.value = ""
	default:
		s.value = o.value
	}
}

func (o *pairOperation) keys() (first, second []byte) {
	return []byte(o.pair + "x"), []byte(o.pair + "y")
}

// do asks a node. A request that was begun is finished: what is cut off is of unknown outcome.
func (o *pairOperation) do(kv pb.KVClient) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	first, second := o.keys()
	if o.kind == pairHalf {
		r, err := kv.Put(ctx, &pb.PutRequest{Key: first, Value: []byte(o.value)})
		if o.outcome, o.text = understandStatus(err); err == nil {
			o.revision = uint64(r.Header.Revision)
		}
		return
	}
	r, err := kv.Txn(ctx, o.request(first, second))
	if o.outcome, o.text = understandStatus(err); err != nil {
		return
	}
	o.revision, o.swapped = uint64(r.Header.Revision), r.Succeeded
	if o.kind == pairRead || o.kind == pairSwap && !r.Succeeded {
		for i, x := range r.Responses {
			if kvs := x.GetResponseRange().GetKvs(); len(kvs) == 1 {
				o.seen[i] = string(kvs[0].Value)
			}
		}
	}
}

func (o *pairOperation) request(first, second []byte) *pb.TxnRequest {
	get := func(key []byte) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}
	}
	put := func(key []byte) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte(o.value)}}}
	}
	reads, writes := []*pb.RequestOp{get(first), get(second)}, []*pb.RequestOp{put(first), put(second)}
	switch o.kind {
	case pairRead:
		return &pb.TxnRequest{Success: reads}
	case pairWrite:
		return &pb.TxnRequest{Success: writes}
	case pairRemove:
		all := &pb.DeleteRangeRequest{Key: []byte(o.pair), RangeEnd: []byte(o.pair[:len(o.pair)-1] + "0")} // '0' follows '/'
		return &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: all}}}}
	}
	holds := &pb.Compare{Key: first, Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(o.old)}}
	if o.old == "" {
		holds = &pb.Compare{Key: first, Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Version{}}
	}
	return &pb.TxnRequest{Compare: []*pb.Compare{holds}, Success: writes, Failure: reads}
}

// understandStatus tells what became of a request that ended so.
func understandStatus(err error) (outcome, string) {
	if err == nil {
		return answered, ""
	}
	for _, surely := range []error{rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCRequestTooManyRequests} {
		if errors.Is(err, surely) {
			return refused, err.Error()
		}
	}
	if s, _ := status.FromError(err); strings.Contains(s.Message(), "error while dialing") || strings.Contains(s.Message(), "Error while dialing") {
		return refused, err.Error()
	}
	return unknown, err.Error()
}

// check fails the test unless each pair's operations have an order that explains them.
func (w *pairWorkload) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	operations, outcomes := 0, map[string]int{}
	for pair, all := range w.all {
		for _, o := range all {
			operations++
			outcomes[fmt.Sprintf("%v %v", o.kind, o.outcome)]++
		}
		if err := pairLinearizable(all); err != nil {
			slices.SortFunc(all, func(a, b *pairOperation) int { return int(a.call - b.call) })
			t.Errorf("pair %s: %v; its history:", pair, err)
			for _, o := range all {
				t.Log(o)
			}
		}
	}
	t.Logf("%d transactions on %d pairs: %v", operations, len(w.all), outcomes)
}

// acknowledged returns the writes that were, by revision.
func (w *pairWorkload) acknowledged() []*pairOperation {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*pairOperation
	for _, all := range w.all {
		for _, o := range all {
			if o.outcome == answered && (o.kind == pairWrite || o.kind == pairHalf || o.kind == pairSwap && o.swapped) {
				out = append(out, o)
			}
		}
	}
	return out
}

// pairLinearizable tells what is wrong with the operations on one pair.
func pairLinearizable(all []*pairOperation) error {
	var events []porcupine.Operation
	for _, o := range all {
		if o.outcome == refused || o.kind == pairRead && o.outcome == unknown {
			continue
		}
		e := porcupine.Operation{ClientId: o.client, Input: o, Output: o, Call: int64(o.call), Return: int64(o.done)}
		if o.outcome == unknown {
			e.Return = math.MaxInt64 // it may take effect any time
		}
		events = append(events, e)
	}
	if result := porcupine.CheckOperationsTimeout(pairModel, events, checkTimeout); result != porcupine.Ok {
		return fmt.Errorf("not linearizable: %v", result)
	}
	return nil
}

// pairState is what a pair holds, and the revision of the last change that is known by one.
type pairState struct {
	values [2]string
	floor  uint64
}

func (s pairState) write(revision uint64, values [2]string) (bool, any) {
	if revision == 0 {
		return true, pairState{values, s.floor}
	}
	return revision > s.floor, pairState{values, revision}
}

var pairModel = porcupine.Model{
	Init: func() any { return pairState{} },
	Step: func(from, _, output any) (bool, any) {
		s, o := from.(pairState), output.(*pairOperation)
		both := [2]string{o.value, o.value}
		switch o.kind {
		case pairRead:
			return s.values == o.seen, s
		case pairWrite:
			return s.write(o.revision, both)
		case pairHalf:
			return s.write(o.revision, [2]string{o.value, s.values[1]})
		case pairRemove:
			if s.values == [2]string{} {
				return true, s // nothing is written, and the revision is that of others
			}
			return s.write(o.revision, [2]string{})
		}
		holds := s.values[0] == o.old
		switch {
		case o.outcome == unknown && !holds:
			return true, s
		case o.outcome == unknown:
			return s.write(0, both)
		case holds != o.swapped:
			return false, s
		case holds:
			return s.write(o.revision, both)
		}
		return s.values == o.seen, s
	},
}

func TestPairCheckerTellsRightFromWrong(t *testing.T) {
	at := func(from, to int, o pairOperation) *pairOperation {
		o.call, o.done = time.Duration(from), time.Duration(to)
		return &o
	}
	a := at(0, 1, pairOperation{kind: pairWrite, value: "a", revision: 2})
	for _, x := range []struct {
		name  string
		right bool
		all   []*pairOperation
	}{
		{"a read of both", true, []*pairOperation{a, at(2, 3, pairOperation{kind: pairRead, seen: [2]string{"a", "a"}})}},
		{"half of a write", false, []*pairOperation{a, at(2, 3, pairOperation{kind: pairRead, seen: [2]string{"a", ""}})}},
		{"half of each of two", false, []*pairOperation{
			a, at(2, 9, pairOperation{kind: pairWrite, value: "b", revision: 3}), at(3, 4, pairOperation{kind: pairRead, seen: [2]string{"a", "b"}})}},
		{"a put of one", true, []*pairOperation{
			a, at(2, 3, pairOperation{kind: pairHalf, value: "b", revision: 3}), at(4, 5, pairOperation{kind: pairRead, seen: [2]string{"b", "a"}})}},
		{"a swap that holds", true, []*pairOperation{a, at(2, 3, pairOperation{kind: pairSwap, old: "a", value: "b", swapped: true, revision: 3})}},
		{"a swap that fails and reads", true, []*pairOperation{a, at(2, 3, pairOperation{kind: pairSwap, old: "x", value: "b", seen: [2]string{"a", "a"}})}},
		{"a swap that fails for no reason", false, []*pairOperation{a, at(2, 3, pairOperation{kind: pairSwap, old: "a", value: "b", seen: [2]string{"a", "a"}})}},
		{"two swaps of one value", false, []*pairOperation{
			a, at(2, 9, pairOperation{kind: pairSwap, old: "a", value: "b", swapped: true, revision: 3}),
			at(2, 9, pairOperation{kind: pairSwap, old: "a", value: "c", swapped: true, revision: 4})}},
		{"a write of unknown outcome that is seen", true, []*pairOperation{
			at(0, 1, pairOperation{kind: pairWrite, value: "a", outcome: unknown}), at(2, 3, pairOperation{kind: pairRead, seen: [2]string{"a", "a"}})}},
		{"a refused one that is seen", false, []*pairOperation{
			at(0, 1, pairOperation{kind: pairWrite, value: "a", outcome: refused}), at(2, 3, pairOperation{kind: pairRead, seen: [2]string{"a", "a"}})}},
		{"a deletion of one half", false, []*pairOperation{
			a, at(2, 3, pairOperation{kind: pairRemove, revision: 3}), at(4, 5, pairOperation{kind: pairRead, seen: [2]string{"", "a"}})}},
		{"revisions that run backwards", false, []*pairOperation{a, at(2, 3, pairOperation{kind: pairWrite, value: "b", revision: 1})}},
	} {
		if err := pairLinearizable(x.all); (err == nil) != x.right {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}
