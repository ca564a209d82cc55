package server

import (
	"net"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/server/config"
	"github.com/raftkv/raftkv/test/loopback"
)

// TestAnAddressThatCannotBeOpened is told with what may be done about it, and none of the others stays open.
func TestAnAddressThatCannotBeOpened(t *testing.T) {
	free, taken := loopback.MustAddress(t), loopback.MustAddress(t)
	l, err := net.Listen("tcp", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for address, want := range map[string]string{taken: "another process listens there", "192.0.2.1:1": "none of this machine's"} {
		_, err := listen("peers", []config.Listen{{Address: free}, {Address: address}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "http://"+address) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	again, err := listen("peers", []config.Listen{{Address: free}})
	if err != nil {
		t.Fatal(err)
	}
	closeAll(again)
}
