package config

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// TLS is what listeners show of themselves, and ask of those who come.
type TLS struct {
	// CertFile and KeyFile are PEM; they are empty where there is no TLS.
	CertFile, KeyFile string
	// TrustedCAFile has the authorities, one of which must have signed the certificate of whoever comes; empty means that none is asked for.
	TrustedCAFile string
	// MinVersion and MaxVersion are those of crypto/tls; a MaxVersion of zero means the newest.
	MinVersion, MaxVersion uint16
	// CipherSuites are those of TLS 1.2; none means all that are safe.
	CipherSuites []uint16
}

// Enabled tells whether there is a certificate.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// versionNames are etcd's names of versions.
var versionNames = []string{"TLS1.2", "TLS1.3"}

var versions = map[string]uint16{"": 0, versionNames[0]: tls.VersionTLS12, versionNames[1]: tls.VersionTLS13}

// clientTLS decides on the TLS of clients. As with etcd, naming authorities is enough for clients to be asked for certificates.
func (r *reader) clientTLS(c *Config) {
	t := TLS{CertFile: r.text(keyCertFile), KeyFile: r.text(keyKeyFile), TrustedCAFile: r.text(keyTrustedCAFile)}
	ask, _ := r.flags.GetBool(keyClientCertAuth)
	withTLS := func(l Listen) bool { return l.TLS }
	forClients := slices.ContainsFunc(c.ListenClient, withTLS)
	encrypted := forClients || slices.ContainsFunc(c.ListenMetrics, withTLS)
	asked := ask || t.TrustedCAFile != ""
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		r.failf(keyCertFile, "a certificate and its key belong together: give both --%s and --%s", keyCertFile, keyKeyFile)
	case encrypted && !t.Enabled():
		r.failf(keyCertFile, "a listener with https:// needs a certificate: give --%s and --%s, or write http://", keyCertFile, keyKeyFile)
	case ask && t.TrustedCAFile == "":
		r.failf(keyClientCertAuth, "give --%s, the authorities whose certificates are let in", keyTrustedCAFile)
	case ask && !forClients:
		r.failf(keyClientCertAuth, "no client can be asked for a certificate: no URL of --%s begins with https://", keyListenClient)
	case !encrypted && (t.Enabled() || asked):
		c.Warnings = append(c.Warnings, fmt.Sprintf("the flags of TLS are without effect: no URL of --%s begins with https://", keyListenClient))
	case asked:
		for _, l := range c.ListenClient {
			if !l.TLS || l.Both {
				c.Warnings = append(c.Warnings, fmt.Sprintf("whoever reaches %s without TLS is let in without a certificate: leave that URL out of --%s if only holders of one are to come",
					l.Address, keyListenClient))
			}
		}
	}
	if at := slices.IndexFunc(c.ListenMetrics, func(l Listen) bool { return l.Both }); at >= 0 {
		r.failf(keyListenMetrics, "%s is given with https:// and with http://: metrics are served with one of them at an address", c.ListenMetrics[at].Address)
	}
	r.handshakes(&t)
	c.ClientTLS = t
}

// handshakes decides what is spoken.
func (r *reader) handshakes(t *TLS) {
	for _, x := range []struct {
		key     string
		version *uint16
	}{{keyTLSMinVersion, &t.MinVersion}, {keyTLSMaxVersion, &t.MaxVersion}} {
		v, known := versions[r.text(x.key)]
		if !known {
			r.failf(x.key, "%q: write %s", r.text(x.key), strings.Join(versionNames, " or "))
		}
		*x.version = v
	}
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	if t.MaxVersion != 0 && t.MaxVersion < t.MinVersion {
		r.failf(keyTLSMaxVersion, "%s is older than --%s", r.text(keyTLSMaxVersion), keyTLSMinVersion)
	}
	for _, name := range splitList(strings.Trim(r.text(keyCipherSuites), "[]")) {
		at := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if at < 0 {
			r.failf(keyCipherSuites, "%q is no suite that is safe and known here: leave it out", name)
			continue
		}
		t.CipherSuites = append(t.CipherSuites, tls.CipherSuites()[at].ID)
	}
	if len(t.CipherSuites) > 0 && t.MinVersion > tls.VersionTLS12 {
		r.failf(keyCipherSuites, "the suites of TLS 1.3 cannot be chosen: leave it out, or --%s", keyTLSMinVersion)
	}
}
