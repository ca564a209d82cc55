package loopback

import (
	"net"
	"testing"
)

func TestAnAddressIsGivenOnce(t *testing.T) {
	given := map[string]bool{}
	for range 100 {
		a := MustAddress(t)
		if given[a] {
			t.Fatalf("%s twice", a)
		}
		given[a] = true
		for range 2 { // a server comes back
			l, err := net.Listen("tcp", a)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
