package etcd

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func TestURLsOfMembersAreToldAsTheyWereGiven(t *testing.T) {
	for given, want := range map[string]string{"http://h:1": "h:1", "https://h:1": "https://h:1", "https://[fd00::2]:1": "https://[fd00::2]:1"} {
		got, err := peerAddress([]string{given})
		if err != nil || got != want || memberURL(got) != given {
			t.Errorf("%s: %q, %q, %v", given, got, memberURL(got), err)
		}
	}
	for _, bad := range [][]string{
		nil, {"http://h:1", "http://g:1"}, {"h:1"}, {"http://"}, {"http://h"}, {"http://:1"}, {"http://h:1/x"}, {"http://h:1?x"}, {"ftp://h:1"}, {"unix://s"}, {"http://u@h:1"}, {"http://h:x"},
	} {
		if got, err := peerAddress(bad); !errors.Is(err, rpctypes.ErrGRPCMemberBadURLs) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}
