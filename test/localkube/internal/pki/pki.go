// Package pki issues the certificates of one local cluster: one authority, and for each program a key and a certificate
// that say who it is. They live as long as the cluster's folder. Nothing is reused between clusters.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// lifetime is longer than any test cluster lives and short enough that a forgotten kubeconfig stops working.
const lifetime = 365 * 24 * time.Hour

// clockSlack lets a certificate be used on a machine whose clock is stepped back a little.
const clockSlack = time.Hour

// Authority signs the certificates of one cluster and keeps them in one folder as NAME.crt and NAME.key.
type Authority struct {
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

// Identity is what a certificate says of its holder.
type Identity struct {
	File   string // base name of the two files
	User   string // the Kubernetes user: the common name
	Groups []string
	// Addresses and Names make it a serving certificate too.
	Addresses []netip.Addr
	Names     []string
}

// NewAuthority makes the authority and its folder.
func NewAuthority(folder string) (*Authority, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "raftkv-localkube"},
		NotBefore: time.Now().Add(-clockSlack), NotAfter: time.Now().Add(lifetime),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &Authority{folder: folder, cert: cert, key: key}
	return a, write(a.CertFile(), "CERTIFICATE", der, 0o644)
}

// CertFile is the authority's own certificate: what everyone checks the others against.
func (a *Authority) CertFile() string { return filepath.Join(a.folder, "ca.crt") }

// Issue makes a key and a certificate for id and writes both.
func (a *Authority) Issue(id Identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: id.User, Organization: id.Groups},
		NotBefore:    time.Now().Add(-clockSlack), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames: id.Names,
	}
	for _, address := range id.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(address.AsSlice()))
	}
	if len(id.Addresses)+len(id.Names) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("issue a certificate for %s: %w", id.User, err)
	}
	if err := write(filepath.Join(a.folder, id.File+".crt"), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writeKey(filepath.Join(a.folder, id.File+".key"), key)
}

// SigningKey makes the key pair that signs service-account tokens: NAME.key and its public half NAME.pub.
func (a *Authority) SigningKey(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(a.folder, name+".key"), key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return write(filepath.Join(a.folder, name+".pub"), "PUBLIC KEY", public, 0o644)
}

// AuthorityKey writes the authority's own key, which the controller manager needs to sign certificate requests.
func (a *Authority) AuthorityKey() error {
	return writeKey(filepath.Join(a.folder, "ca.key"), a.key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return write(path, "EC PRIVATE KEY", der, 0o600)
}

func write(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
