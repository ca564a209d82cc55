package server

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftkv/raftkv/server/admin"
)

// http2Opening is what a gRPC client says first: the preface, and settings of which there are none.
const http2Opening = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// knock connects as a gRPC client does and tells whether the node answers or hangs up.
func knock(t *testing.T, i *instance) bool {
	t.Helper()
	c, err := net.DialTimeout("tcp", i.client, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, http2Opening); err != nil {
		return false // it has hung up already
	}
	var first [1]byte
	_, err = c.Read(first[:])
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%s neither answers nor hangs up", i.name)
	}
	return err == nil
}

// TestGRPCClientsComeInWhenTheNodeIsReady and not before: they would take it for a member that serves.
func TestGRPCClientsComeInWhenTheNodeIsReady(t *testing.T) {
	i := newInstance(t, "demo-0")
	i.start()
	s := i.await("being empty", func(s admin.Status) bool { return s.State == admin.StateEmpty })
	if knock(t, i) {
		t.Error("a node without a store takes gRPC clients in")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := i.admin().Bootstrap(ctx, &admin.BootstrapRequest{ClusterID: 0xc1, Incarnation: s.Incarnation, Member: i.member(s.Incarnation)}); err != nil {
		t.Fatal(err)
	}
	i.awaitReady()
	if !knock(t, i) {
		t.Error("a node that is ready turns gRPC clients away")
	}
}

// TestAMemberWithoutALeaderTellsSoInTheEnd rather than turn clients away for ever: they may want its own state.
func TestAMemberWithoutALeaderTellsSoInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{}
		defer n.openLate().Stop()
		time.Sleep(doorPatience - time.Nanosecond)
		synctest.Wait()
		if n.open.Load() {
			t.Error("the door opens early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !n.open.Load() {
			t.Error("the door stays shut")
		}
	})
}
