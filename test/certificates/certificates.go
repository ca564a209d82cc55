// Package certificates makes authorities and certificates for tests.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// lifetime is more than any test takes.
const lifetime = 24 * time.Hour

// Authority signs certificates.
type Authority struct {
	// File has the authority's own certificate, PEM.
	File string
	Pool *x509.CertPool

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair names the files of a certificate and its key, PEM.
type Pair struct {
	CertFile, KeyFile string
	Certificate       tls.Certificate
}

// New makes an authority.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{key: newKey(t), File: filepath.Join(t.TempDir(), "ca.pem"), Pool: x509.NewCertPool()}
	template := certificate(t, name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	der := must(x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key))(t)
	a.cert = must(x509.ParseCertificate(der))(t)
	a.Pool.AddCert(a.cert)
	write(t, a.File, "CERTIFICATE", der)
	return a
}

// Issue signs a certificate, of a client and of a server at localhost, 127.0.0.1 and the hosts of other addresses, and writes it to a directory, over what is there.
func (a *Authority) Issue(t testing.TB, dir, name string, addresses ...string) Pair {
	t.Helper()
	hosts := []string{"localhost", "127.0.0.1"}
	for _, address := range addresses {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, host)
	}
	return a.IssueFor(t, dir, name, hosts...)
}

// IssueFor is Issue for these hosts alone, names or IP addresses.
func (a *Authority) IssueFor(t testing.TB, dir, name string, hosts ...string) Pair {
	t.Helper()
	return a.issue(t, dir, name, hosts, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// IssueServer is IssueFor of a server that is no client.
func (a *Authority) IssueServer(t testing.TB, dir, name string, hosts ...string) Pair {
	t.Helper()
	return a.issue(t, dir, name, hosts, x509.ExtKeyUsageServerAuth)
}

func (a *Authority) issue(t testing.TB, dir, name string, hosts []string, usage ...x509.ExtKeyUsage) Pair {
	t.Helper()
	key, template := newKey(t), certificate(t, name)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, usage
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key))(t)
	p := Pair{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	write(t, p.CertFile, "CERTIFICATE", der)
	write(t, p.KeyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))(t))
	p.Certificate = must(tls.LoadX509KeyPair(p.CertFile, p.KeyFile))(t)
	return p
}

// Revoke writes the list of all certificates that the authority takes back to a file, PEM, over what is there.
func (a *Authority) Revoke(t testing.TB, path string, revoked ...Pair) {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-lifetime), NextUpdate: time.Now().Add(lifetime)}
	for _, p := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.Certificate.Leaf.SerialNumber, RevocationTime: time.Now().Add(-lifetime)})
	}
	write(t, path, "X509 CRL", must(x509.CreateRevocationList(rand.Reader, list, a.cert, a.key))(t))
}

func certificate(t testing.TB, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62)))(t), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-lifetime), NotAfter: time.Now().Add(lifetime),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
