package secure

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/raftkv/raftkv/server/config"
)

// material is what was read, or made, at one time. It is not changed.
type material struct {
	files config.TLS
	// shown is what those who come see, dialled what those who are dialled do.
	shown, dialled tls.Certificate
	// trusted are nil where nobody is asked for a certificate.
	trusted *x509.CertPool
	revoked revocations
	// renewed is when a certificate that the node has made is made anew; zero means never.
	renewed  time.Time
	warnings []string
}

// outlived tells whether it is time for another certificate of the node's own.
func (m *material) outlived(now time.Time) bool { return !m.renewed.IsZero() && now.After(m.renewed) }

// read makes the material of what is in the files.
func read(files config.TLS) (*material, error) {
	m := &material{files: files}
	var err error
	if files.SelfSigned > 0 {
		if m.shown, err = selfSigned(files.Hosts, files.SelfSigned); err != nil {
			return nil, fmt.Errorf("make a certificate: %w", err)
		}
		m.renewed = m.shown.Leaf.NotAfter.Add(-files.SelfSigned / renewAt)
	} else if m.shown, err = pair(files.CertFile, files.KeyFile); err != nil {
		return nil, err
	}
	m.dialled = m.shown
	if files.ClientCertFile != "" {
		if m.dialled, err = pair(files.ClientCertFile, files.ClientKeyFile); err != nil {
			return nil, err
		}
	}
	m.warnings = outOfTime(time.Now(), m.shown, m.dialled)
	var known []*x509.Certificate
	if files.TrustedCAFile != "" {
		if m.trusted, known, err = authorities(files.TrustedCAFile); err != nil {
			return nil, err
		}
	}
	if files.CRLFile != "" {
		var lists []*x509.RevocationList
		if m.revoked, lists, err = revokedBy(files.CRLFile); err != nil {
			return nil, err
		}
		m.warnings = append(m.warnings, doubts(files, lists, known, time.Now())...)
	}
	return m, nil
}

func pair(certFile, keyFile string) (tls.Certificate, error) {
	for _, path := range []string{certFile, keyFile} {
		if _, err := os.ReadFile(path); err != nil {
			return tls.Certificate{}, fmt.Errorf("read a file of TLS: %w", err)
		}
	}
	p, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return p, fmt.Errorf("the certificate %s and the key %s are of no use together: %w: give the PEM of a certificate and of the key that it was made for",
			certFile, keyFile, err)
	}
	return p, nil
}

// authorities reads certificates, of which those that are of no use are passed over as long as there are others.
func authorities(path string) (*x509.CertPool, []*x509.Certificate, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the authorities of TLS: %w", err)
	}
	pool := x509.NewCertPool()
	var known []*x509.Certificate
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		pool.AddCert(c)
		known = append(known, c)
	}
	if len(known) == 0 {
		return nil, nil, errors.New(path + " has no certificate of an authority: give PEM")
	}
	return pool, known, nil
}

// outOfTime is about certificates that nobody who looks at the clock takes.
func outOfTime(now time.Time, shown ...tls.Certificate) []string {
	var out []string
	for _, c := range shown {
		if !now.Before(c.Leaf.NotBefore) && !now.After(c.Leaf.NotAfter) {
			continue
		}
		w := fmt.Sprintf("the certificate of %q is good from %s until %s, and it is %s: whoever is shown it refuses it", c.Leaf.Subject,
			c.Leaf.NotBefore.Format(time.RFC3339), c.Leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// doubts are about lists of revoked certificates that are used as they are.
func doubts(files config.TLS, lists []*x509.RevocationList, known []*x509.Certificate, now time.Time) []string {
	var out []string
	for _, l := range lists {
		if !slices.ContainsFunc(known, func(a *x509.Certificate) bool { return bytes.Equal(a.RawSubject, l.RawIssuer) }) {
			out = append(out, fmt.Sprintf("a list of revoked certificates in %s is of %q, which is none of the authorities in %s: it counts for certificates of that issuer only",
				files.CRLFile, l.Issuer, files.TrustedCAFile))
		}
		if !l.NextUpdate.IsZero() && now.After(l.NextUpdate) {
			out = append(out, fmt.Sprintf("the list of revoked certificates of %q in %s should have been renewed at %s: it is used as it is",
				l.Issuer, files.CRLFile, l.NextUpdate.Format(time.RFC3339)))
		}
	}
	return out
}

// verify is asked about the other side of a handshake after its certificate has been found to be of a trusted authority, where that is asked for.
func (m *material) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 || m.files.SelfSigned > 0 {
		return nil
	}
	if err := m.revoked.check(s.PeerCertificates); err != nil {
		return err
	}
	leaf := s.PeerCertificates[0]
	if names := m.files.AllowedNames; len(names) > 0 && !slices.Contains(names, leaf.Subject.CommonName) {
		return fmt.Errorf("the certificate is of %q, and only %q are let in", leaf.Subject.CommonName, names)
	}
	if hosts := m.files.AllowedHosts; len(hosts) > 0 &&
		!slices.ContainsFunc(hosts, func(host string) bool { return leaf.VerifyHostname(host) == nil }) {
		return fmt.Errorf("the certificate is of %q, for %q, and only those for one of %q are let in", leaf.Subject.CommonName, hostsOf(leaf), hosts)
	}
	return nil
}

// hostsOf are those that a certificate names.
func hostsOf(c *x509.Certificate) []string {
	out := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}
