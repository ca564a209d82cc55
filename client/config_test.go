package client

import (
	"crypto/tls"
	"testing"
)

// TestAddressesMeanTheSameAgain: what Endpoints returns is given back to the client, which must not make another address of it.
func TestAddressesMeanTheSameAgain(t *testing.T) {
	for _, x := range []struct {
		tls            *tls.Config
		given, address string
	}{
		{nil, "a:1", "a:1"}, {nil, "http://a:1/", "a:1"}, {nil, "https://a:1/", "https://a:1"},
		{&tls.Config{}, "a:1", "https://a:1"}, {&tls.Config{}, "http://a:1", "http://a:1"}, {&tls.Config{}, "https://a:1", "https://a:1"},
	} {
		c := Config{TLS: x.tls}
		for given := x.given; ; given = x.address {
			if got, err := c.parseEndpoint(given); err != nil || got != x.address {
				t.Errorf("%q: %q, %v; want %q", given, got, err, x.address)
			}
			if given == x.address {
				break
			}
		}
	}
}
