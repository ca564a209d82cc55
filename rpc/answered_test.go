package rpc_test

import (
	"context"
	"errors"
	"testing"

	"github.com/raftkv/raftkv/rpc"
)

type answering struct {
	Ask func(context.Context, *echoReq) (*echoResp, error)
}

// TestAHandlerHearsThatItsAnswerHasLeft, and not before: nor when the call's own time is over, or its caller has given it up.
func TestAHandlerHearsThatItsAnswerHasLeft(t *testing.T) {
	heard, noted := make(chan string, 16), make(chan bool, 16)
	s := answering{Ask: func(ctx context.Context, r *echoReq) (*echoResp, error) {
		inner, cancel := context.WithCancel(ctx)
		noted <- rpc.OnAnswered(inner, func() { heard <- r.Text })
		cancel()
		select {
		case early := <-heard:
			t.Errorf("%q was heard of before it was answered", early)
		default:
		}
		if r.Fail != "" {
			return nil, errors.New(r.Fail)
		}
		return &echoResp{Text: r.Text}, nil
	}}
	for name, inline := range map[string]bool{"on its own": false, "inline": true} {
		t.Run(name, func(t *testing.T) {
			var opts []rpc.Option
			if inline {
				opts = append(opts, rpc.Inline())
			}
			_, address := serve(t, rpc.ServerOptions{}, s, opts...)
			stub := new(answering)
			if err := rpc.Bind(dial(t, address, rpc.ClientOptions{}), "test", stub); err != nil {
				t.Fatal(err)
			}
			for _, r := range []echoReq{{Text: "done"}, {Text: "failed", Fail: "failed"}} {
				_, _ = stub.Ask(t.Context(), &r) // what counts is that it was answered
				if <-noted == inline {
					t.Errorf("%s: who runs inline is told of nothing, and others are", r.Text)
				}
				if !inline && <-heard != r.Text {
					t.Error("another answer was heard of")
				}
			}
		})
	}
	if rpc.OnAnswered(t.Context(), func() {}) {
		t.Error("outside of a handler there is an answer")
	}
}

// TestWhoIsHungUpOnHearsIt as the end of its connection.
func TestWhoIsHungUpOnHearsIt(t *testing.T) {
	s := answering{Ask: func(ctx context.Context, _ *echoReq) (*echoResp, error) {
		info, _ := rpc.FromContext(ctx)
		info.HangUp()
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	_, address := serve(t, rpc.ServerOptions{}, s)
	client := dial(t, address, rpc.ClientOptions{})
	stub := new(answering)
	if err := rpc.Bind(client, "test", stub); err != nil {
		t.Fatal(err)
	}
	if _, err := stub.Ask(t.Context(), &echoReq{}); !errors.Is(err, rpc.CodeUnavailable) {
		t.Errorf("%v", err)
	}
	<-client.Done()
	rpc.Info{}.HangUp() // of no connection
}
