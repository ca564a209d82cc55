package admin

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/raftkv/raftkv/rpc"
)

// FuzzCalls makes each call with whatever JSON decodes to its request, as rpc does. Requests mean the same after another
// trip over the wire, no call crashes, and a bootstrap that lacks something never reaches the node.
func FuzzCalls(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, `{"generation":"18446744073709551615"}`, `{"generation":1}`,
		`{"clusterID":"1f","incarnation":"5","member":{"name":"a","peerAddress":"a:2380"}}`,
		`{"clusterID":"ffffffffffffffff","incarnation":"0","member":null}`,
		`{"configIndex":"3","kind":"add-learner","member":{"id":"9","name":"b","incarnation":"x"}}`,
		`{"configIndex":"3","kind":1,"id":"2"}`, `{"to":"3"}`, `{"to":3}`, `[]`, `{"member":{"learner":true}}`,
	} {
		for call := range uint8(calls) {
			f.Add(call, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, call uint8, raw []byte) {
		node := &fakeNode{status: Status{Name: "a", State: StateEmpty, Incarnation: 5}}
		s := &service{node: node, board: NewBoard(), waiters: semaphore.NewWeighted(MaxWaiters)}
		s.fresh(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var answer any
		var err error
		switch call % calls {
		case 0:
			answer, err = fuzzCall(t, ctx, raw, s.status)
		case 1:
			answer, err = fuzzCall(t, ctx, raw, s.waitStatus)
		case 2:
			answer, err = fuzzCall(t, ctx, raw, s.bootstrap)
		case 3:
			answer, err = fuzzCall(t, ctx, raw, s.change)
		case 4:
			answer, err = fuzzCall(t, ctx, raw, s.transfer)
		}
		var refused *rpc.Error
		if err != nil && !errors.As(err, &refused) && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := json.Marshal(answer); err != nil {
			t.Fatal(err)
		}
		if node.status.State == StateMember && node.status.ClusterID == 0 {
			t.Fatal("bootstrapped without a cluster ID")
		}
	})
}

const calls = 5

// fuzzCall decodes a request and makes the call; the answer is nil when the bytes are no request.
func fuzzCall[Request, Answer any](t *testing.T, ctx context.Context, raw []byte, call func(context.Context, *Request) (*Answer, error)) (any, error) {
	t.Helper()
	var request, back Request
	if json.Unmarshal(raw, &request) != nil {
		return nil, nil
	}
	again, err := json.Marshal(&request)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &back); err != nil || !reflect.DeepEqual(request, back) {
		t.Fatalf("%+v became %+v, %v", request, back, err)
	}
	answer, err := call(ctx, &request)
	return answer, err
}

// FuzzToken reads token files of any bytes: a token that is accepted is one that a caller can be compared with.
func FuzzToken(f *testing.F) {
	f.Add([]byte("secret\n"))
	f.Add([]byte(" \n\t"))
	f.Add([]byte{0xff, 0, '\n'})
	path := filepath.Join(f.TempDir(), "token")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := ReadToken(path)
		if err != nil {
			return
		}
		if token == "" || token != strings.TrimSpace(string(raw)) {
			t.Fatalf("%q of %q", token, raw)
		}
		authorize := authorizer(path)
		if err := authorize(t.Context(), "", rpc.Metadata{MetadataToken: token}, nil); err != nil {
			t.Fatal(err)
		}
		if authorize(t.Context(), "", rpc.Metadata{MetadataToken: token + "x"}, nil) == nil {
			t.Fatal("another token is accepted")
		}
	})
}
