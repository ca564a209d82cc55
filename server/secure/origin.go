package secure

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// lookUpTimeout bounds the questions to the DNS about one caller.
const lookUpTimeout = 3 * time.Second

// resolver is *net.Resolver.
type resolver interface {
	LookupAddr(ctx context.Context, address string) ([]string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// comesFrom tells whether whoever shows a certificate calls from an address that it is for: one of its IP addresses, one of those of its names, or
// one whose own name it is for. A certificate that names none of them may be shown from anywhere. The rule is etcd's.
func comesFrom(ctx context.Context, dns resolver, c *x509.Certificate, remote net.Addr) error {
	if len(c.IPAddresses) == 0 && len(c.DNSNames) == 0 {
		return nil
	}
	at, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return fmt.Errorf("the caller has no address that could be looked up: %w", err)
	}
	caller := at.Addr().Unmap().WithZone("")
	for _, ip := range c.IPAddresses {
		if own, ok := netip.AddrFromSlice(ip); ok && own.Unmap() == caller {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	found, failed := named(ctx, dns, c, caller)
	if found {
		return nil
	}
	why := ""
	if failed != nil {
		why = " (" + failed.Error() + ")"
	}
	return fmt.Errorf("the certificate of %q is for %q, and the caller's address is %s%s: give it a certificate for that address, or this node --peer-skip-client-san-verification",
		c.Subject.CommonName, hostsOf(c), caller, why)
}

// named asks the DNS for the addresses of the certificate's names, and then for the names of the caller. failed is what it could not be asked.
func named(ctx context.Context, dns resolver, c *x509.Certificate, caller netip.Addr) (found bool, failed error) {
	for _, name := range c.DNSNames {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		addresses, err := dns.LookupHost(ctx, name)
		if err != nil {
			failed = err
		}
		for _, a := range addresses {
			if own, err := netip.ParseAddr(a); err == nil && own.Unmap().WithZone("") == caller {
				return true, nil
			}
		}
	}
	if len(c.DNSNames) == 0 {
		return false, nil
	}
	names, err := dns.LookupAddr(ctx, caller.String())
	if err != nil {
		failed = err
	}
	for _, name := range names {
		if c.VerifyHostname(strings.TrimSuffix(name, ".")) == nil {
			return true, nil
		}
	}
	return false, failed
}
