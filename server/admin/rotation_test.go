package admin

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

// Who connected with a token goes a while after it was replaced, with the calls that it has under way; who has the new one, or needs none, stays. Time is virtual.
func TestAReplacedTokenEndsItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, "secret")
		connect := func(md rpc.Metadata) *rpc.Client {
			ours, theirs := net.Pipe()
			go func() { _ = b.server.ServeConn(theirs) }()
			c, err := rpc.NewClient(t.Context(), ours, rpc.ClientOptions{Metadata: md})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		bind := func(c *rpc.Client) *Service {
			var s Service
			if err := rpc.Bind(c, ServiceName, &s); err != nil {
				t.Fatal(err)
			}
			return &s
		}
		old, member := connect(rpc.Metadata{MetadataToken: "secret"}), connect(nil)
		service := bind(old)
		status, err := service.Status(t.Context(), &StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := service.WaitStatus(t.Context(), &WaitStatusRequest{Generation: status.Generation})
			waiting <- err
		}()
		time.Sleep(TokenGrace + 2*tokenCheck)
		if err := old.Err(); err != nil {
			t.Fatalf("nothing was replaced: %v", err)
		}

		write := func(token string) {
			if err := os.WriteFile(b.tokenFile, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("next")
		next := connect(rpc.Metadata{MetadataToken: "next"})
		after := bind(next)
		var refused Service
		if err := rpc.Bind(connect(rpc.Metadata{MetadataToken: "secret"}), ServiceName, &refused); !errors.Is(err, rpc.CodeUnauthenticated) {
			t.Errorf("the old token opens the service: %v", err)
		}
		time.Sleep(TokenGrace - tokenCheck)
		if _, err := service.Status(t.Context(), &StatusRequest{}); err != nil {
			t.Errorf("there is no time to come over: %v", err)
		}
		write("") // as while it is replaced
		time.Sleep(2 * tokenCheck)
		if err := old.Err(); err != nil {
			t.Errorf("a file without a token ends connections: %v", err)
		}
		write("next")
		time.Sleep(2 * tokenCheck)
		if err := old.Err(); !errors.Is(err, rpc.CodeUnauthenticated) {
			t.Errorf("the connection with the old token: %v", err)
		}
		select {
		case err := <-waiting:
			if err == nil {
				t.Error("a call with the old token was answered")
			}
		default:
			t.Error("a call with the old token goes on")
		}
		if _, err := after.Status(t.Context(), &StatusRequest{}); err != nil {
			t.Errorf("the connection with the new token: %v", err)
		}
		if err := errors.Join(next.Err(), member.Err()); err != nil {
			t.Errorf("others were ended: %v", err)
		}
	})
}
