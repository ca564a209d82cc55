package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestIssuedCertificateNamesItsHolderAndIsTrusted(t *testing.T) {
	folder := t.TempDir()
	authority, err := NewAuthority(folder)
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{
		File: "apiserver", User: "kube-apiserver", Groups: []string{"servers"},
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Names: []string{"kubernetes.default.svc"},
	}
	if err := authority.Issue(id); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "apiserver.crt"), filepath.Join(folder, "apiserver.key"))
	if err != nil {
		t.Fatal("the certificate and the key do not belong together:", err)
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(authority.CertFile())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no authority certificate in", authority.CertFile(), err)
	}
	for _, name := range []string{"127.0.0.1", "kubernetes.default.svc"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("as the server %s: %v", name, err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other.example"}); err == nil {
		t.Error("the certificate is good for a name that it was not issued for")
	}
	if pair.Leaf.Subject.CommonName != id.User || !slices.Equal(pair.Leaf.Subject.Organization, id.Groups) {
		t.Errorf("subject is %v, want user %s in groups %v", pair.Leaf.Subject, id.User, id.Groups)
	}
}

func TestClientCertificateCannotServe(t *testing.T) {
	folder := t.TempDir()
	authority, err := NewAuthority(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Issue(Identity{File: "admin", User: "admin"}); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "admin.crt"), filepath.Join(folder, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		t.Error("a client's certificate may be used by a server")
	}
	if info, err := os.Stat(filepath.Join(folder, "admin.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v; want 0600", info.Mode(), err)
	}
}
