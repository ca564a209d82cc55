package secure

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/test/certificates"
)

// names is a DNS.
type names struct {
	of map[string][]string // an address's names
	at map[string][]string // a name's addresses
}

var errNoSuchName = errors.New("no such name")

func (n names) LookupAddr(_ context.Context, address string) ([]string, error) {
	return found(n.of[address])
}

func (n names) LookupHost(_ context.Context, host string) ([]string, error) { return found(n.at[host]) }

func found(what []string) ([]string, error) {
	if what == nil {
		return nil, errNoSuchName
	}
	return what, nil
}

func TestWhereACertificateMayComeFrom(t *testing.T) {
	ca := certificates.New(t, "ca")
	dns := names{
		of: map[string][]string{"192.0.2.1": {"m-0.peers.example."}, "192.0.2.3": {"other.example."}},
		at: map[string][]string{"m-1.example": {"192.0.2.9", "192.0.2.2"}, "six.example": {"fd00::2"}},
	}
	for _, x := range []struct {
		hosts string
		from  string
		want  string // "" is taken
	}{
		{"", "203.0.113.1:1", ""},
		{"192.0.2.7 192.0.2.8", "192.0.2.8:1", ""},
		{"192.0.2.7", "[::ffff:192.0.2.7]:1", ""},
		{"fd00::1", "[fd00::1]:1", ""},
		{"fe80::1", "[fe80::1%eth0]:1", ""},
		{"192.0.2.7", "192.0.2.8:1", `for ["192.0.2.7"], and the caller's address is 192.0.2.8:`},
		{"m-1.example", "192.0.2.2:1", ""},
		{"gone.example m-1.example", "192.0.2.2:1", ""},
		{"six.example", "[fd00::2]:1", ""},
		{"m-1.example", "192.0.2.3:1", "the caller's address is 192.0.2.3:"},
		{"m-0.peers.example", "192.0.2.1:1", ""},
		{"*.peers.example", "192.0.2.1:1", ""},
		{"*.example", "192.0.2.1:1", "is 192.0.2.1:"}, // a star is one name, not several
		{"*.peers.example 192.0.2.9", "192.0.2.9:1", ""},
		{"gone.example", "192.0.2.3:1", "(no such name)"},
		{"m-1.example", "192.0.2.4:1", "(no such name)"},
	} {
		c := ca.IssueFor(t, t.TempDir(), "m", strings.Fields(x.hosts)...).Certificate.Leaf
		from, err := net.ResolveTCPAddr("tcp", x.from)
		if err != nil {
			t.Fatal(err)
		}
		err = comesFrom(t.Context(), dns, c, from)
		if (x.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%q from %s: %v, want %q", x.hosts, x.from, err, x.want)
		}
	}
	if err := comesFrom(t.Context(), dns, ca.IssueFor(t, t.TempDir(), "m", "h").Certificate.Leaf, &net.UnixAddr{Name: "s"}); err == nil {
		t.Error("who comes from no address")
	}
}
