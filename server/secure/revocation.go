package secure

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// revocations are the certificates that their issuers have taken back, by issuer and serial number, which is unique for an issuer (RFC 5280 §4.1.2.2).
type revocations map[string]struct{}

func revocation(issuer, serial fmt.Stringer) string { return serial.String() + " " + issuer.String() }

// revokedBy reads lists of revoked certificates (RFC 5280 §5): PEM, of which there may be several, or one of DER.
func revokedBy(path string) (revocations, []*x509.RevocationList, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the revoked certificates of TLS: %w", err)
	}
	var encoded [][]byte
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			encoded = append(encoded, block.Bytes)
		}
	}
	if len(encoded) == 0 {
		encoded = append(encoded, content)
	}
	out := revocations{}
	var lists []*x509.RevocationList
	for _, der := range encoded {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, nil, fmt.Errorf("%s is no list of revoked certificates: %w: give what the authority has signed, PEM or DER", path, err)
		}
		lists = append(lists, l)
		for _, x := range l.RevokedCertificateEntries {
			out[revocation(l.Issuer, x.SerialNumber)] = struct{}{}
		}
	}
	return out, lists, nil
}

// check refuses a certificate that was revoked, or whose authority's was.
func (r revocations) check(shown []*x509.Certificate) error {
	for _, c := range shown {
		if _, revoked := r[revocation(c.Issuer, c.SerialNumber)]; revoked {
			return fmt.Errorf("the certificate of %q, with the serial number %x, was revoked by %q", c.Subject.CommonName, c.SerialNumber, c.Issuer.CommonName)
		}
	}
	return nil
}
